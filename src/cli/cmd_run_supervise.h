/* Ranks as processes of this host: starts them, passes on what they say, ends what is left when one has failed.
 *
 * The ranks are one process group of their own, so that a terminal's Ctrl-C reaches them once, through the supervisor, and so that
 * nothing of them can be left behind. A supervisor that dies takes them along. Local; one at a time in a process. */
#ifndef LS_CLI_CMD_RUN_SUPERVISE_H
#define LS_CLI_CMD_RUN_SUPERVISE_H
#include "cli/cli.h"
#include "comm/job.h"
#include <signal.h>
#include <sys/types.h>

/* A rank that ends so was asked to end (SIGTERM), and has saved: the same command goes on from there (EX_TEMPFAIL). */
enum { LS_RANKS_AGAIN = 75 };

/* A line of a rank's standard error, without its newline. */
typedef void (*ls_ranks_line_fn)(void *user, int rank, const char *line);

/* Called while ranks run. Returns how many seconds later it wants to be called again; below 0 = not any more. It may kill ranks. */
typedef struct ls_ranks_view ls_ranks_view;
typedef double (*ls_ranks_tick_fn)(void *user, const ls_ranks_view *view);

/* Of the environment of ranks; value NULL = not there. */
typedef struct ls_ranks_variable {
    const char *name, *value;
} ls_ranks_variable;

typedef struct ls_ranks_options {
    int size;
    const char *name;         /* of the job, for `lockstep top` */
    const char *const *words; /* verb and arguments of a rank */
    int n_words;
    const char *fault; /* LOCKSTEP_FAULT of the ranks; NULL = what it is here */
    const ls_ranks_variable *variables;
    int n_variables;
    double grace_seconds; /* from the first failure until the rest is killed */
    /* There will be another attempt: when a signal has killed a rank the others are killed at once; when all stand still they are
     * killed too. */
    int is_recoverable;
    int holds_signals; /* SIGINT and SIGTERM are passed on once every rank catches them; a second one at once */
    int output; /* rank 0's standard output goes to this descriptor; -1 = nowhere */
    ls_ranks_line_fn line;
    void *user;
    ls_ranks_tick_fn tick; /* NULL = none */
    void *tick_user;
} ls_ranks_options;

typedef struct ls_ranks_end {
    pid_t pid;
    int has_ended;
    int exit_status;       /* of exit(), or -1 */
    int signal;            /* that ended it, or 0 */
    int was_stopped;       /* stood still (SIGSTOP) when the others failed */
    int was_killed;        /* by the supervisor, after the grace */
    double seconds;        /* ls_clock_seconds when its end was seen */
    ls_rank_report report; /* what it said last on the board */
} ls_ranks_end;

typedef struct ls_ranks_result {
    int size;
    int culprit; /* rank that failed first, as far as can be told; -1 = none */
    int interrupted; /* the signal that was passed on, SIGINT or SIGTERM (SIGHUP is passed on as SIGTERM); 0 = none */
    int left_behind; /* processes of the group outlived the ranks; they were killed */
    double began;    /* ls_clock_seconds */
    ls_ranks_end ends[];
} ls_ranks_result;

struct ls_ranks_view {
    const ls_job *job;
    const ls_ranks_result *result; /* of ends: pid, has_ended */
    double seconds;                /* since the ranks were started */
};

/* Runs the job to its end. LS_OK says that it was run; how the ranks ended stands in *out (free with ls_free). */
ls_status ls_ranks_supervise(const ls_ranks_options *options, ls_ranks_result **out);
/* The signals that a supervisor takes from a descriptor, and so must be blocked in every thread of its process. */
void ls_ranks_signals(sigset_t *out);
/* Who failed first: whom the ranks blamed; else as far as the ends tell. -1 = nobody failed. */
int ls_ranks_find_culprit(const ls_job *job, const ls_ranks_result *result);
/* 0, or the exit status that tells of the culprit (128 + n for signal n). A rank that SIGTERM ended before it could save anything
 * gives LS_RANKS_AGAIN, as one that has saved does. */
int ls_ranks_exit_status(const ls_ranks_result *result);
/* "rank 3 was killed by signal 9 (SIGKILL) at step 12, op reduce_scatter in h.1" */
void ls_ranks_describe(const ls_ranks_end *end, int rank, char *out, size_t out_bytes);

/* Becomes rank `rank`: for the child, between fork and exec. `streams` are standard output (-1 = nowhere) and error, `group` the
 * process group (0 = a new one). Returns only when it fails, with the reason recorded. */
typedef struct ls_ranks_child {
    ls_job *job;
    int rank, streams[2];
    pid_t parent, group;
    const ls_ranks_options *options;
} ls_ranks_child;
ls_status ls_ranks_become_rank(const ls_ranks_child *child);

#endif
