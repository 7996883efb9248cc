/* lockstep chaos --hosts: an elastic run whose hosts are struck again and again must end with the weights of one that is not. Local. */
#ifndef LS_CLI_CMD_CHAOS_HOSTS_H
#define LS_CLI_CMD_CHAOS_HOSTS_H
#include "cli/cmd_chaos_link.h"
#include "cli/cmd_run.h"

typedef struct ls_chaos_hosts_options {
    const ls_cmd_call *call;
    const ls_hosts_options *hosts; /* as for lockstep run --hosts, without output and hooks */
    const ls_chaos_link *link;
    double longest; /* seconds that a link is down */
    int64_t n_kills, seed, zero;
    const char *kinds;           /* of ls_host_strike_names, parted by commas; NULL = all */
    const char *out;             /* folder of everything, which all hosts see */
    const ls_ranks_words *words; /* a train, without its `out` */
} ls_chaos_hosts_options;

/* LS_OK when every blow was recovered from, no step was lost that memory elsewhere covered, and every hash is that of the undisturbed
 * run. */
ls_status ls_chaos_hosts(const ls_chaos_hosts_options *options);

/* Before it: can the links of the file's hosts be cut, and slowed? Slow ones that nobody asked for are left out of the kinds, and it is
 * said. */
ls_status ls_chaos_hosts_check(const ls_chaos_hosts_options *options, uint32_t *kinds);

#endif
