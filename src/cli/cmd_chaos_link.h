/* lockstep chaos --hosts: commands on a host, and links that go down and come up again by themselves. Local. */
#ifndef LS_CLI_CMD_CHAOS_LINK_H
#define LS_CLI_CMD_CHAOS_LINK_H
#include "cli/cmd_run_hosts.h"
#include <sys/types.h>

/* How a link is cut. Commands of one's own run here and not on the host, which they name by %h. */
typedef struct ls_chaos_link {
    const char *agent;     /* NULL = ssh */
    const char *device;    /* of the host's link */
    const char *down, *up; /* NULL = `ip link set DEVICE down` on the host */
} ls_chaos_link;

/* Shell texts; free with ls_free. A blow's process ignores whoever wants it to end, and leaves its caller's session: what it took away it
 * gives back, whatever becomes of lockstep chaos. */
ls_status ls_chaos_link_drop_text(const ls_chaos_link *link, const char *host, double seconds,
                                  char **out);
ls_status ls_chaos_link_slow_text(const ls_chaos_link *link, double seconds, char **out);
/* Does no harm, and fails where the texts above would. */
ls_status ls_chaos_link_check_drop_text(const ls_chaos_link *link, const char *host, char **out);
ls_status ls_chaos_link_check_slow_text(const ls_chaos_link *link, char **out);

/* --- a command --- */

typedef struct ls_chaos_command {
    pid_t pid; /* 0 = none runs */
    double since;
} ls_chaos_command;

/* Starts a shell text on a host through the agent; `host` NULL, or this machine: here. */
ls_status ls_chaos_command_start(ls_chaos_command *command, const char *agent, const char *host,
                                 const char *text);
/* 1 when it is over (it is killed after 10 s); *status_out: its exit status, 128 + N after signal N. */
int ls_chaos_command_is_over(ls_chaos_command *command, int *status_out);
/* Waits for it. */
int ls_chaos_command_await(ls_chaos_command *command);

#endif
