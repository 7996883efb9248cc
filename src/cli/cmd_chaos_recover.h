/* lockstep chaos --recover: a run that is struck again and again must end with the weights of one that is not. Local. */
#ifndef LS_CLI_CMD_CHAOS_RECOVER_H
#define LS_CLI_CMD_CHAOS_RECOVER_H
#include "cli/cmd_run.h"

typedef struct ls_chaos_recover_options {
    const ls_cmd_call *call;
    int size;
    int64_t n_kills, seed, n_steps;
    const char *kinds;           /* of ls_strike_names, parted by commas; NULL = all */
    const char *out;             /* folder of everything */
    const ls_ranks_words *words; /* of a rank: a train, without its `out` */
} ls_chaos_recover_options;

/* LS_OK when every blow was recovered from, no step was lost and every hash is that of the undisturbed run. */
ls_status ls_chaos_recover(const ls_chaos_recover_options *options);

#endif
