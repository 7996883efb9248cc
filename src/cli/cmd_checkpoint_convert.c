/* lockstep checkpoint convert: other files, or the weights alone for other programs. */
#include "cli/cmd_checkpoint.h"
#include <string.h>

typedef struct convert_options {
    int64_t shard_bytes;
    int one_file, weights_only;
    const char *dtype;
} convert_options;

static ls_status run_convert(const ls_cmd_call *call) {
    const convert_options *o = call->options;
    ls_ckpt_convert_options options = {
        .shard_bytes = o->shard_bytes, .weights_only = o->weights_only, .dtype = -1};
    if (o->one_file && o->shard_bytes)
        return LS_FAIL(LS_ERR_INVALID, "give --one-file or --shard-bytes, not both");
    if (o->one_file) options.shard_bytes = INT64_MAX;
    if (o->dtype) {
        ls_dtype dtype;
        LS_TRY(ls_dtype_parse(o->dtype, &dtype));
        if (dtype != LS_DTYPE_F32 && dtype != LS_DTYPE_BF16 && dtype != LS_DTYPE_F16)
            return LS_FAIL(LS_ERR_INVALID, "--dtype must be f32, bf16 or f16, got '%s'", o->dtype);
        if (!o->weights_only)
            return LS_FAIL(LS_ERR_INVALID,
                           "--dtype goes with --weights-only: a run goes on from its "
                           "exact weights only");
        options.dtype = (int)dtype;
    }
    ls_ckpt *ckpt = NULL;
    LS_TRY(ls_cli_checkpoint_open(call, 0, &ckpt));
    const ls_status status = ls_ckpt_convert(ckpt, call->args[1], &options);
    const int64_t step = ls_ckpt_step(ckpt);
    ls_ckpt_close(ckpt);
    LS_TRY(status);
    if (call->json)
        return ls_cli_print_json(
            call, json_pack("{s:s,s:I}", "dir", call->args[1], "step", (json_int_t)step));
    fprintf(call->out, "%s: written, %s of step %lld\n", call->args[1],
            o->weights_only ? "the model" : "the checkpoint", (long long)step);
    return LS_OK;
}

#define FIELD(member) offsetof(convert_options, member)
static const ls_cli_option options[] = {
    {"one-file", '1', LS_CLI_FLAG, FIELD(one_file), NULL, "all weights in one file", 0, 0},
    {"shard-bytes", 0, LS_CLI_INT, FIELD(shard_bytes), "N",
     "largest tensor file in bytes (1073741824); a larger tensor has a file of its own", 1, 1e15},
    {"weights-only", 'w', LS_CLI_FLAG, FIELD(weights_only), NULL,
     "a plain model folder: weights, config.json, tokenizer.json; no optimizer, no manifest", 0, 0},
    {"dtype", 0, LS_CLI_STRING, FIELD(dtype), "TYPE",
     "with --weights-only: weights as f32, bf16 or f16", 0, 0},
    {0}};
static const ls_cli_argument arguments[] = {
    {"DIR", "checkpoint, or a run's folder"}, {"OUT", "folder to make"}, {0}};
const ls_cmd ls_cmd_checkpoint_convert = {
    .name = "convert",
    .help = "write it again: other files, or the weights alone",
    .usage = "DIR OUT",
    .arguments = arguments,
    .min_args = 2,
    .max_args = 2,
    .has_json = 1,
    .options = options,
    .options_bytes = sizeof(convert_options),
    .run = run_convert,
};
