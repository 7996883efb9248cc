/* lockstep eval: the loss of a checkpoint on a part of its data. */
#include <math.h>
#include <string.h>

#include "cli/run_options.h"

typedef struct eval_options {
    const char *part;
} eval_options;

static ls_status parse_part(const char *name, ls_split *out) {
    static const char *const names[] = {"train", "stop", "held"};
    for (int i = 0; i < 3; i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (ls_split)(LS_SPLIT_TRAIN + i);
            return LS_OK;
        }
    return LS_FAIL(LS_ERR_INVALID,
                   "--part %s: the parts are train, stop (early stopping) and held (held out)",
                   name);
}

static ls_status report(const ls_cmd_call *call, const ls_cli_checkpoint *checkpoint,
                        const ls_eval_result *r) {
    if (call->json)
        return ls_cli_print_json(
            call,
            json_pack("{s:s,s:o,s:o,s:o,s:I,s:I,s:o}", "checkpoint", checkpoint->path, "loss",
                      ls_cli_json_real(r->loss), "bits_per_byte",
                      ls_cli_json_real(r->bits_per_byte), "accuracy", ls_cli_json_real(r->accuracy),
                      "targets", (json_int_t)r->n_targets, "bytes", (json_int_t)r->n_bytes,
                      "seconds", ls_cli_json_real(r->seconds)));
    fprintf(call->out, "%s: loss %.6f over %lld targets", checkpoint->path, r->loss,
            (long long)r->n_targets);
    if (isfinite(r->bits_per_byte))
        fprintf(call->out, ", %.4f bits per byte over %lld bytes", r->bits_per_byte,
                (long long)r->n_bytes);
    if (isfinite(r->accuracy)) fprintf(call->out, ", accuracy %.2f %%", 100 * r->accuracy);
    fprintf(call->out, " (%.2f s)\n", r->seconds);
    return LS_OK;
}

static ls_status run_eval(const ls_cmd_call *call) {
    const eval_options *options = call->options;
    ls_split part;
    LS_TRY(parse_part(options->part, &part));
    ls_cli_checkpoint checkpoint;
    LS_TRY(ls_cli_open_checkpoint(call->args[0], call, &checkpoint));
    ls_eval_result result;
    ls_status status = ls_eval_checkpoint(&checkpoint.config, checkpoint.path, part, &result);
    if (status == LS_OK) status = report(call, &checkpoint, &result);
    ls_cli_close_checkpoint(&checkpoint);
    return status;
}

static const ls_cli_option options[] = {
    {.name = "part",
     .letter = 'p',
     .type = LS_CLI_STRING,
     .offset = offsetof(eval_options, part),
     .value = "PART",
     .help = "train, stop or held (default held)"},
    {0},
};
static const eval_options defaults = {"held"};

const ls_cmd ls_cmd_eval = {
    .usage = "DIR [KEY=VALUE...]",
    .about = "Loss, and bits per byte for text or accuracy for images, of a checkpoint on its "
             "run's data.",
    .min_args = 1,
    .max_args = 1,
    .takes_config = 1,
    .has_json = 1,
    .options = options,
    .options_bytes = sizeof(eval_options),
    .defaults = &defaults,
    .run = run_eval,
};
