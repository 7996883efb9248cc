/* lockstep train: a run from the start. */
#include "cli/run_options.h"

static ls_status run_train(const ls_cmd_call *call) {
    ls_train_config config;
    ls_config *values = NULL;
    LS_TRY(ls_cli_load_config(call, &config, &values));
    const ls_status status = ls_cli_train(call, &config, values, NULL);
    ls_config_destroy(values);
    return status;
}

static const ls_cli_argument arguments[] = {
    {"CONFIG", "YAML file of the run"},
    {"KEY=VALUE", "overrides a key of the file (lockstep config show CONFIG lists them)"},
    {0},
};

const ls_cmd ls_cmd_train = {
    .usage = "CONFIG [KEY=VALUE...]",
    .about =
        "Trains a model and leaves checkpoints, metrics.jsonl, TensorBoard events and "
        "loss.svg in the folder `out`. The\n"
        "result is a pure function of configuration and data: thread count and interruptions "
        "do not change a bit.\n"
        "SIGINT or SIGTERM finishes the step and saves; `lockstep resume OUT` goes on from there. "
        "The exit status is\n"
        "0 after SIGINT, 75 (EX_TEMPFAIL: run it again) after SIGTERM.\n"
        "The last line is \"weights sha256:HASH\".",
    .arguments = arguments,
    .min_args = 1,
    .max_args = 1,
    .takes_config = 1,
    .options = ls_cli_train_option_table,
    .options_bytes = sizeof(ls_cli_train_options),
    .has_json = 1,
    .run = run_train,
};
