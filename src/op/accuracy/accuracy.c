#include "op/accuracy/accuracy.h"

#include "op/op.h"

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    char logits[128], targets[128];
    (void)attr;
    (void)n_in;
    LS_TRY(ls_infer_float("accuracy", "logits", &in[0]));
    if (in[1].dtype != LS_DTYPE_I32)
        return LS_FAIL(LS_ERR_INVALID, "op accuracy: targets must be i32, got %s",
                       ls_dtype_name(in[1].dtype));
    int same = in[0].shape.n_dims == in[1].shape.n_dims + 1;
    for (int d = 0; same && d < in[1].shape.n_dims; d++)
        same = in[0].shape.dims[d] == in[1].shape.dims[d];
    if (!same)
        return LS_FAIL(LS_ERR_INVALID,
                       "op accuracy: targets need the shape of the logits less the last dim, got "
                       "logits %s and targets %s",
                       ls_shape_print(&in[0].shape, logits), ls_shape_print(&in[1].shape, targets));
    *n_out = 1;
    out[0] = (ls_type){LS_DTYPE_F32, {0}};
    return LS_OK;
}

/* Rows may be split: each rank then holds a part of the count. */
static ls_status shard(const ls_sig *sig, const int *in_split, int *out_split) {
    if (in_split[0] != in_split[1] || in_split[0] == LS_SHARD_PARTIAL ||
        in_split[0] == sig->in[0].shape.n_dims - 1)
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "op accuracy: logits and targets may be split along the same row dim only, "
                       "got %d and %d",
                       in_split[0], in_split[1]);
    out_split[0] = in_split[0] == LS_SHARD_REPLICATED ? LS_SHARD_REPLICATED : LS_SHARD_PARTIAL;
    return LS_OK;
}

static void cost(const ls_sig *sig, ls_cost *out) {
    ls_cost_default(sig, out);
    out->flops = (double)ls_type_count(&sig->in[0]);
}

static int64_t find_largest(const ls_tensor *logits, int64_t row, int64_t n) {
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (ls_tensor_get(logits, row * n + i) > ls_tensor_get(logits, row * n + best)) best = i;
    return best;
}

/* A few thousand logits a step: plain loops are enough. */
static ls_status launch_ref(const ls_launch *l) {
    const ls_shape *shape = &l->in[0].shape;
    const int64_t n = shape->dims[shape->n_dims - 1];
    const int64_t n_rows = ls_shape_count(&l->in[1].shape);
    const int32_t *targets = l->in[1].data;
    int64_t n_correct = 0;
    for (int64_t row = 0; row < n_rows; row++)
        n_correct += n > 0 && targets[row] == find_largest(&l->in[0], row, n);
    ls_tensor_set(&l->out[0], 0, (double)n_correct);
    return LS_OK;
}

static const ls_kernel accuracy_ref = {
    .name = "accuracy_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};
static const ls_kernel *const kernels[] = {&accuracy_ref, NULL};

const ls_op ls_op_accuracy = {.name = "accuracy",
                              .min_in = 2,
                              .max_in = 2,
                              .infer = infer,
                              .shard = shard,
                              .cost = cost,
                              .kernels = kernels};

ls_value ls_accuracy(ls_graph *graph, ls_value logits, ls_value targets) {
    const ls_value in[2] = {logits, targets};
    return ls_graph_node(graph, &ls_op_accuracy, NULL, in, 2, NULL);
}
