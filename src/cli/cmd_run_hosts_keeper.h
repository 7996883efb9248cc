/* A host of an elastic run as its controller sees it: a keeper at the other end of a pipe, asked twice a second whether it is there.
 * Thread-safety: one thread; each living host has a thread of its own that asks. Local. */
#ifndef LS_CLI_CMD_RUN_HOSTS_KEEPER_H
#define LS_CLI_CMD_RUN_HOSTS_KEEPER_H
#include "cli/cmd_run_hosts.h"
#include <sys/types.h>

typedef enum ls_host_state { LS_HOST_DOWN, LS_HOST_STARTING, LS_HOST_UP } ls_host_state;

typedef struct ls_pulse ls_pulse;

typedef struct ls_run_host {
    ls_host_line line;
    int is_wanted;  /* stands in the file */
    int is_member;  /* has ranks of the job */
    int was_lost;   /* went from up to down since a job began */
    char lost[256]; /* why */
    ls_host_state state;
    pid_t agent; /* process that leads to the keeper; 0 = none */
    int to, from;
    char address[LS_HOST_NAME + 16]; /* HOST:PORT of the keeper */
    int64_t cpus;                    /* of the host; 0 = not known */
    int64_t keeper;                  /* the keeper's process there; 0 = not known */
    double since, next_try;          /* of this state; when to start a keeper again */
    int n_tries;
    char reason[256], said[256]; /* why it is down; and what of that was printed */
    double told;                 /* when it was told something last */
    int n_told, n_answered;      /* lines to the keeper, and its answers, in the same order */
    int n_old;                   /* of those lines: said for an attempt that is over */
    int n_ranks, n_sent;         /* from the last answer that has them */
    char refusal[256];           /* what the keeper could not do, old lines aside; "" = nothing */
    ls_pulse *pulse;
    char text[2048]; /* of a line that has not ended yet */
    size_t used;
} ls_run_host;

typedef struct ls_run_keepers {
    const char *agent;   /* NULL = ssh */
    const char *program; /* path of this program on every host */
    const char *offer;   /* "NAME COOKIE" of all keepers of the run */
} ls_run_keepers;

ls_status ls_run_host_create(const ls_host_line *line, ls_run_host **out);
/* Closes the keeper's pipe, so that it begins to end; the rest is left to ls_run_host_destroy. */
void ls_run_host_release(ls_run_host *host);
/* Takes the keeper's pipe away, which ends it; the agent gets a moment, then SIGKILL. NULL is fine. */
void ls_run_host_destroy(ls_run_host *host);

/* Begins to start a keeper: LS_HOST_STARTING. A failure leaves it down with a reason and a time for the next try. */
void ls_run_host_start(ls_run_host *host, const ls_run_keepers *keepers);
/* Reads what came through the pipe, and looks whether the agent, the keeper and the connection to it still live. Changes .state; for a
 * host that goes down .reason says why. */
void ls_run_host_check(ls_run_host *host, const ls_run_keepers *keepers);
/* Sends the keeper a line (cli/keep_pipe.h); its answer is counted in n_answered. */
void ls_run_host_tell(ls_run_host *host, const char *fmt, ...) LS_PRINTF(2, 3);
/* What was told so far is of no importance any more, answered or not: a keeper that was slow may refuse what others have overtaken. */
void ls_run_host_forget_told(ls_run_host *host);
/* Seconds since the keeper answered last; 0 for one that is not up. */
double ls_run_host_silence(const ls_run_host *host);

#endif
