/* The actions of lockstep checkpoint. */
#ifndef LS_CLI_CMD_CHECKPOINT_H
#define LS_CLI_CMD_CHECKPOINT_H
#include "cli/run_options.h"

/* Argument i: a checkpoint folder, or a run's folder (its latest). */
ls_status ls_cli_checkpoint_open(const ls_cmd_call *call, int i, ls_ckpt **out);
json_t *ls_cli_checkpoint_shape(const int64_t *dims, int n);
extern const ls_cmd ls_cmd_checkpoint_convert, ls_cmd_checkpoint_diff;

#endif
