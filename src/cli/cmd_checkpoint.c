/* lockstep checkpoint: look at, hash, verify, convert and compare checkpoints. */
#include "cli/cmd_checkpoint.h"
#include <math.h>

ls_status ls_cli_checkpoint_open(const ls_cmd_call *call, int i, ls_ckpt **out) {
    char *path = NULL;
    LS_TRY(ls_ckpt_find_latest(call->args[i], &path));
    const ls_status status = ls_ckpt_open(path, out);
    ls_free(path);
    return status;
}

json_t *ls_cli_checkpoint_shape(const int64_t *dims, int n) {
    json_t *shape = json_array();
    for (int d = 0; shape && d < n; d++)
        if (json_array_append_new(shape, json_integer(dims[d])) != 0) {
            json_decref(shape);
            return NULL;
        }
    return shape;
}

static ls_status run_hash(const ls_cmd_call *call) {
    ls_ckpt *ckpt = NULL;
    char hash[65];
    LS_TRY(ls_cli_checkpoint_open(call, 0, &ckpt));
    const ls_status status = ls_ckpt_hash_weights(ckpt, hash);
    ls_ckpt_close(ckpt);
    LS_TRY(status);
    if (call->json) return ls_cli_print_json(call, json_pack("{s:s}", "weights_sha256", hash));
    fprintf(call->out, "weights sha256:%s\n", hash);
    return LS_OK;
}

static ls_status run_verify(const ls_cmd_call *call) {
    ls_ckpt *ckpt = NULL;
    LS_TRY(ls_cli_checkpoint_open(call, 0, &ckpt));
    const ls_status status = ls_ckpt_verify(ckpt);
    const int n = ls_ckpt_count(ckpt), n_files = ls_ckpt_file_count(ckpt);
    const int64_t bytes = ls_ckpt_bytes_read(ckpt);
    ls_ckpt_close(ckpt);
    LS_TRY(status);
    if (call->json)
        return ls_cli_print_json(call, json_pack("{s:b,s:i,s:i,s:I}", "ok", 1, "tensors", n,
                                                 "files", n_files, "bytes", (json_int_t)bytes));
    fprintf(call->out, "%s: %d files, %d tensors, %lld bytes: every hash is right\n", call->args[0],
            n_files, n, (long long)bytes);
    return LS_OK;
}

static int64_t tensor_bytes(const ls_ckpt_tensor_info *t) {
    return ls_shape_count(&t->shape) * (int64_t)ls_dtype_bytes(t->dtype);
}

static json_t *slices_json(const ls_ckpt *ckpt, int i) {
    json_t *slices = json_array();
    for (int s = 0; slices && s < ls_ckpt_tensor(ckpt, i).n_slices; s++) {
        const ls_ckpt_slice_info slice = ls_ckpt_slice_at(ckpt, i, s);
        const int n = slice.shape.n_dims;
        json_t *item = json_pack("{s:s,s:o,s:o,s:I}", "file", slice.file, "start",
                                 ls_cli_checkpoint_shape(slice.start, n), "shape",
                                 ls_cli_checkpoint_shape(slice.shape.dims, n), "blocks",
                                 (json_int_t)slice.n_blocks);
        if (json_array_append_new(slices, item) == 0) continue;
        json_decref(slices);
        return NULL;
    }
    return slices;
}

static json_t *tensors_json(const ls_ckpt *ckpt) {
    json_t *tensors = json_array();
    for (int i = 0; tensors && i < ls_ckpt_count(ckpt); i++) {
        const ls_ckpt_tensor_info t = ls_ckpt_tensor(ckpt, i);
        json_t *item =
            json_pack("{s:s,s:s,s:o,s:I,s:o}", "name", t.name, "dtype", ls_dtype_name(t.dtype),
                      "shape", ls_cli_checkpoint_shape(t.shape.dims, t.shape.n_dims), "bytes",
                      (json_int_t)tensor_bytes(&t), "slices", slices_json(ckpt, i));
        if (json_array_append_new(tensors, item) == 0) continue;
        json_decref(tensors);
        return NULL;
    }
    return tensors;
}

static json_t *files_json(const ls_ckpt *ckpt) {
    json_t *files = json_array();
    for (int i = 0; files && i < ls_ckpt_file_count(ckpt); i++) {
        const ls_ckpt_file_info f = ls_ckpt_file_at(ckpt, i);
        json_t *item = json_pack("{s:s,s:I,s:i}", "name", f.name, "bytes", (json_int_t)f.bytes,
                                 "tensors", f.n_tensors > 0 ? f.n_tensors : 0);
        if (json_array_append_new(files, item) == 0) continue;
        json_decref(files);
        return NULL;
    }
    return files;
}

static json_t *inspect_json(const ls_ckpt *ckpt) {
    char seed[32];
    (void)snprintf(seed, sizeof seed, "%llu", (unsigned long long)ls_ckpt_seed(ckpt));
    return json_pack("{s:s,s:I,s:s,s:s,s:i,s:o,s:o,s:o}", "dir", ls_ckpt_dir(ckpt), "step",
                     (json_int_t)ls_ckpt_step(ckpt), "seed", seed, "written_by",
                     ls_ckpt_written_by(ckpt), "lanes", ls_ckpt_lanes(ckpt), "score",
                     ls_cli_json_real(ls_ckpt_score(ckpt)), "files", files_json(ckpt), "tensors",
                     tensors_json(ckpt));
}

static void print_slices(const ls_cmd_call *call, const ls_ckpt *ckpt, int i) {
    const ls_ckpt_tensor_info t = ls_ckpt_tensor(ckpt, i);
    for (int s = 0; s < t.n_slices; s++) {
        const ls_ckpt_slice_info slice = ls_ckpt_slice_at(ckpt, i, s);
        ls_shape start = {.n_dims = t.shape.n_dims};
        char at[128], shape[128];
        for (int d = 0; d < t.shape.n_dims; d++) start.dims[d] = slice.start[d];
        fprintf(call->out, "      %s of %s from %s, %lld blocks\n",
                ls_shape_print(&slice.shape, shape), slice.file, ls_shape_print(&start, at),
                (long long)slice.n_blocks);
    }
}

static void print_inspection(const ls_cmd_call *call, const ls_ckpt *ckpt) {
    const double score = ls_ckpt_score(ckpt);
    fprintf(call->out, "%s: step %lld, seed %llu, %d lanes, written by lockstep %s\n",
            ls_ckpt_dir(ckpt), (long long)ls_ckpt_step(ckpt),
            (unsigned long long)ls_ckpt_seed(ckpt), ls_ckpt_lanes(ckpt), ls_ckpt_written_by(ckpt));
    if (isfinite(score)) fprintf(call->out, "score %.6g\n", score);
    fprintf(call->out, "%d files\n", ls_ckpt_file_count(ckpt));
    for (int i = 0; i < ls_ckpt_file_count(ckpt); i++) {
        const ls_ckpt_file_info f = ls_ckpt_file_at(ckpt, i);
        fprintf(call->out, "  %-50s %12lld bytes", f.name, (long long)f.bytes);
        if (f.n_tensors >= 0) fprintf(call->out, ", %d tensors", f.n_tensors);
        fprintf(call->out, "\n");
    }
    fprintf(call->out, "%d tensors\n", ls_ckpt_count(ckpt));
    for (int i = 0; i < ls_ckpt_count(ckpt); i++) {
        const ls_ckpt_tensor_info t = ls_ckpt_tensor(ckpt, i);
        char shape[128];
        fprintf(call->out, "  %-50s %-5s %-18s %12lld bytes\n", t.name, ls_dtype_name(t.dtype),
                ls_shape_print(&t.shape, shape), (long long)tensor_bytes(&t));
        print_slices(call, ckpt, i);
    }
}

static ls_status run_inspect(const ls_cmd_call *call) {
    ls_ckpt *ckpt = NULL;
    LS_TRY(ls_cli_checkpoint_open(call, 0, &ckpt));
    ls_status status = LS_OK;
    if (call->json)
        status = ls_cli_print_json(call, inspect_json(ckpt));
    else
        print_inspection(call, ckpt);
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
    ACTION(verify, "read everything and compare sizes and every hash", run_verify);
static const ls_cmd inspect_action = ACTION(
    inspect, "step, seed, version, files, tensors and the slices they are stored in", run_inspect);
static const ls_cmd *const actions[] = {&ls_cmd_checkpoint_convert,
                                        &ls_cmd_checkpoint_diff,
                                        &hash_action,
                                        &inspect_action,
                                        &verify_action,
                                        NULL};

const ls_cmd ls_cmd_checkpoint = {
    .about = "DIR is a checkpoint folder, or a run's folder (its latest checkpoint).",
    .actions = actions,
};
