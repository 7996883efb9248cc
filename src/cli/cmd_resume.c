/* lockstep resume: goes on from a checkpoint with the same bits. */
#include "cli/run_options.h"

static ls_status run_resume(const ls_cmd_call *call) {
    ls_cli_checkpoint checkpoint;
    LS_TRY(ls_cli_open_checkpoint(call->args[0], call, &checkpoint));
    const ls_status status =
        ls_cli_train(call, &checkpoint.config, checkpoint.values, checkpoint.path);
    ls_cli_close_checkpoint(&checkpoint);
    return status;
}

static const ls_cli_argument arguments[] = {
    {"DIR", "a run's folder (its latest checkpoint) or a checkpoint folder"},
    {"KEY=VALUE", "overrides a stored key, e.g. steps=2000 or threads=8"},
    {0},
};

const ls_cmd ls_cmd_resume = {
    .usage = "DIR [KEY=VALUE...]",
    .about = "Continues a run from its checkpoint: weights, optimizer state, data position and "
             "random keys are those of the\n"
             "run that was never stopped, bit for bit. Changing lanes, batch, seed or precision "
             "continues too, but the\n"
             "bits are then those of another run.",
    .arguments = arguments,
    .min_args = 1,
    .max_args = 1,
    .takes_config = 1,
    .options = ls_cli_train_option_table,
    .options_bytes = sizeof(ls_cli_train_options),
    .has_json = 1,
    .run = run_resume,
};
