/* lockstep checkpoint: look at, hash and verify checkpoints. */
#include "cli/run_options.h"

static ls_status open_checkpoint(const ls_cmd_call *call, ls_ckpt **out) {
    char *path = NULL;
    LS_TRY(ls_ckpt_find_latest(call->args[0], &path));
    const ls_status status = ls_ckpt_open(path, out);
    ls_free(path);
    return status;
}

static ls_status run_hash(const ls_cmd_call *call) {
    ls_ckpt *ckpt = NULL;
    char hash[65];
    LS_TRY(open_checkpoint(call, &ckpt));
    const ls_status status = ls_ckpt_hash_weights(ckpt, hash);
    ls_ckpt_close(ckpt);
    LS_TRY(status);
    if (call->json) return ls_cli_print_json(call, json_pack("{s:s}", "weights_sha256", hash));
    fprintf(call->out, "weights sha256:%s\n", hash);
    return LS_OK;
}

static ls_status run_verify(const ls_cmd_call *call) {
    ls_ckpt *ckpt = NULL;
    LS_TRY(open_checkpoint(call, &ckpt));
    const ls_status status = ls_ckpt_verify(ckpt);
    const int n = ls_ckpt_count(ckpt);
    ls_ckpt_close(ckpt);
    LS_TRY(status);
    if (call->json) return ls_cli_print_json(call, json_pack("{s:b,s:i}", "ok", 1, "tensors", n));
    fprintf(call->out, "%s: %d tensors, every hash is right\n", call->args[0], n);
    return LS_OK;
}

static int64_t tensor_bytes(const ls_ckpt_tensor_info *t) {
    return ls_shape_count(&t->shape) * (int64_t)ls_dtype_bytes(t->dtype);
}

static json_t *tensor_json(const ls_ckpt_tensor_info *t) {
    json_t *shape = json_array();
    int failed = shape == NULL;
    for (int d = 0; !failed && d < t->shape.n_dims; d++)
        failed = json_array_append_new(shape, json_integer(t->shape.dims[d]));
    if (failed) {
        json_decref(shape);
        return NULL;
    }
    return json_pack("{s:s,s:s,s:o,s:I,s:i}", "name", t->name, "dtype", ls_dtype_name(t->dtype),
                     "shape", shape, "bytes", (json_int_t)tensor_bytes(t), "slices", t->n_slices);
}

static json_t *inspect_json(const ls_ckpt *ckpt) {
    json_t *tensors = json_array();
    int failed = tensors == NULL;
    for (int i = 0; !failed && i < ls_ckpt_count(ckpt); i++) {
        const ls_ckpt_tensor_info t = ls_ckpt_tensor(ckpt, i);
        failed = json_array_append_new(tensors, tensor_json(&t));
    }
    if (failed) {
        json_decref(tensors);
        return NULL;
    }
    return json_pack("{s:s,s:I,s:o}", "dir", ls_ckpt_dir(ckpt), "step",
                     (json_int_t)ls_ckpt_step(ckpt), "tensors", tensors);
}

static ls_status run_inspect(const ls_cmd_call *call) {
    ls_ckpt *ckpt = NULL;
    LS_TRY(open_checkpoint(call, &ckpt));
    ls_status status = LS_OK;
    if (call->json) {
        status = ls_cli_print_json(call, inspect_json(ckpt));
    } else {
        fprintf(call->out, "%s: step %lld, seed %llu, %d tensors\n", ls_ckpt_dir(ckpt),
                (long long)ls_ckpt_step(ckpt), (unsigned long long)ls_ckpt_seed(ckpt),
                ls_ckpt_count(ckpt));
        for (int i = 0; i < ls_ckpt_count(ckpt); i++) {
            const ls_ckpt_tensor_info t = ls_ckpt_tensor(ckpt, i);
            char shape[128];
            fprintf(call->out, "  %-50s %-5s %-18s %12lld bytes\n", t.name, ls_dtype_name(t.dtype),
                    ls_shape_print(&t.shape, shape), (long long)tensor_bytes(&t));
        }
    }
    ls_ckpt_close(ckpt);
    return status;
}

#define ACTION(word, words, function)                                                              \
    {                                                                                              \
        .name = #word, .help = words, .usage = "DIR", .min_args = 1, .max_args = 1, .has_json = 1, \
        .run = function                                                                            \
    }
static const ls_cmd hash_action = ACTION(
    hash, "one SHA-256 over the logical weights, whatever the layout of the files", run_hash);
static const ls_cmd verify_action =
    ACTION(verify, "read everything and compare every hash", run_verify);
static const ls_cmd inspect_action = ACTION(inspect, "list step, seed and tensors", run_inspect);
static const ls_cmd *const actions[] = {&hash_action, &inspect_action, &verify_action, NULL};

const ls_cmd ls_cmd_checkpoint = {
    .about = "DIR is a checkpoint folder, or a run's folder (its latest checkpoint).",
    .actions = actions,
};
