/* Attempt after attempt: ranks that die are started again from the last step that all of them committed (docs/recovery.md).
 *
 * One attempt is ls_ranks_supervise. Between attempts the keeper (keep/keeper.h) of this process holds the ranks' memory. Rank 0's
 * standard output is kept back until the last attempt is over, so that a report appears once. Local; one at a time in a process. */
#ifndef LS_CLI_CMD_RUN_RECOVER_H
#define LS_CLI_CMD_RUN_RECOVER_H
#include "cli/cmd_run_supervise.h"
#include "keep/keeper.h"

/* An attempt that begins. */
typedef struct ls_recover_attempt {
    int64_t number;          /* 0, 1, ... */
    int64_t base;            /* the step it goes on from; -1 = the start */
    const ls_keeper *keeper; /* NULL = none */
} ls_recover_attempt;

/* For `lockstep chaos`: told before the ranks start and after they ended. */
typedef struct ls_recover_hooks {
    void (*begin)(void *user, const ls_recover_attempt *attempt);
    void (*end)(void *user, const ls_recover_attempt *attempt, const ls_ranks_result *result);
    void *user;
} ls_recover_hooks;

typedef struct ls_recover_options {
    ls_ranks_options ranks; /* variables, is_recoverable and holds_signals are filled in here */
    int has_keeper;
    const char *
        out; /* the run's folder; a checkpoint that is there before the first attempt is not this run's */
    int64_t first; /* step of the checkpoint that the words name; -1 = none */
    int64_t most_restarts;
    int64_t most_stuck; /* attempts in a row without a new step */
    double pause,
        longest_pause; /* seconds before an attempt after one without a new step; doubled each time */
    void (*tell)(const char *line);
    ls_recover_hooks hooks;
} ls_recover_options;

typedef enum ls_recover_why {
    LS_RECOVER_DONE,        /* every rank's status is 0 */
    LS_RECOVER_INTERRUPTED, /* a signal was passed on */
    LS_RECOVER_HOPELESS,    /* what went wrong would come again */
    LS_RECOVER_LIMIT,       /* most_restarts */
    LS_RECOVER_STUCK        /* most_stuck */
} ls_recover_why;

/* How an attempt ended that did not end well. */
typedef struct ls_recover_record {
    int64_t number, unix_ms, base;
    double seconds;
    char how[256];
} ls_recover_record;

enum { LS_RECOVER_RECORDS = 32 };

typedef struct ls_recover_result {
    ls_recover_why why;
    int64_t n_restarts, n_stuck;
    ls_ranks_result *last; /* of the last attempt */
    ls_recover_record
        records[LS_RECOVER_RECORDS]; /* the newest; record i is of attempt i modulo their number */
    int64_t n_records;
} ls_recover_result;

/* LS_OK says that the ranks were run; how it ended stands in *out (free with ls_recover_result_destroy). */
ls_status ls_recover_run(const ls_recover_options *options, ls_recover_result **out);
void ls_recover_result_destroy(ls_recover_result *result); /* NULL is fine */

/* Can another attempt end better? Not when a rank refused its configuration, its data or its numbers. */
int ls_recover_can_help(const ls_ranks_result *result);
/* The pause before the attempt that follows `n_stuck` ones without a new step. */
double ls_recover_pause(const ls_recover_options *options, int64_t n_stuck);
/* A line for each record, oldest first. */
void ls_recover_tell_records(const ls_recover_result *result, void (*tell)(const char *line));

#endif
