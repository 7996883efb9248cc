/* The hosts of an elastic run: the file, looked at twice a second, and a keeper on each. Local. */
#ifndef LS_CLI_CMD_RUN_HOSTS_LIST_H
#define LS_CLI_CMD_RUN_HOSTS_LIST_H
#include "base/json.h"
#include "cli/cmd_run_hosts_keeper.h"
#include <sys/stat.h>

typedef struct ls_hosts_list {
    const char *path;
    ls_run_keepers keepers;
    struct stat stamp; /* of the file when it was read last */
    double next_look;
    ls_run_host **
        hosts; /* in the file's order; behind them those that were taken out of it and are still held */
    int n;
    int64_t n_changes; /* of the set of hosts that are up */
} ls_hosts_list;

/* Reads the file for the first time. `path` and `keepers` belong to the caller. */
ls_status ls_hosts_list_open(ls_hosts_list *list, const char *path, const ls_run_keepers *keepers);
void ls_hosts_list_close(ls_hosts_list *list);

/* To be called again and again: reads the file when it has changed, starts keepers where there are none, sees whom it has lost, and
 * says so on standard error, once for each reason (of members their job's watch says it). A file that cannot be read any more changes nothing. */
void ls_hosts_list_tend(ls_hosts_list *list);

/* The hosts that are up, in order (those that are to be used, with `wanted`); room for .n. */
int ls_hosts_list_up(const ls_hosts_list *list, int wanted, ls_run_host **out);
/* Is a host that is to be used still on its way, after less than so many seconds? */
int ls_hosts_list_is_settling(const ls_hosts_list *list, double seconds);
/* The living keepers' addresses, as LOCKSTEP_KEEPERS wants them. Free with ls_free. */
ls_status ls_hosts_list_addresses(const ls_hosts_list *list, char **out);
/* The newest step that the living keepers have together (`without` one of them; NULL = all); -1 = none. */
ls_status ls_hosts_list_best_step(const ls_hosts_list *list, const ls_run_host *without,
                                  int64_t *out);
/* Lets go of the hosts that were taken out of the file. */
void ls_hosts_list_drop(ls_hosts_list *list);

#endif
