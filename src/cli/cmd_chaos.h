/* What lockstep chaos does with one fault. Local. */
#ifndef LS_CLI_CMD_CHAOS_H
#define LS_CLI_CMD_CHAOS_H
#include "cli/cmd_run_supervise.h"
#include "comm/fault.h"

enum { LS_CHAOS_LINE = 600 };

/* What a rank said while it ended. */
typedef struct ls_chaos_voice {
    int n_errors;             /* lines that begin with "lockstep: error: " */
    int named;                /* rank that the first of them names first; -1 = none */
    char line[LS_CHAOS_LINE]; /* the first of them; without one, its last line */
} ls_chaos_voice;

/* One fault, what came of it, and the verdict. */
typedef struct ls_chaos_case {
    ls_fault fault;
    double
        seconds; /* from the fault to the end of the last rank that survived it; -1 = there was no fault */
    double limit; /* it may take */
    int exit_status, named_right, left_behind;
    char why[160];                /* it is not right; "" when it is */
    const ls_ranks_result *ended; /* NULL before the run, and when it is gone */
    ls_chaos_voice *voices;       /* [size] */
} ls_chaos_case;

/* ls_ranks_line_fn with the case's voices as user. */
void ls_chaos_listen(void *user, int rank, const char *line);
/* Reads the stamp and fills what follows the fault in the case. */
void ls_chaos_judge(ls_chaos_case *c, const ls_ranks_result *ended, int size);
/* The same for a fault that stops nothing: the run, of n_steps steps with hashes in folder `out`, is replayed. */
ls_status ls_chaos_judge_silent(ls_chaos_case *c, const ls_ranks_result *ended, const char *out,
                                int64_t n_steps);

#endif
