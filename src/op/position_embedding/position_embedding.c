#include "op/position_embedding/position_embedding.h"

#include "op/cpu_kernel.h"
#include "op/elementwise.h"
#include "op/op.h"

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    char x[128], table[128];
    (void)attr;
    (void)n_in;
    LS_TRY(ls_infer_float("position_embedding", "x", &in[0]));
    LS_TRY(ls_infer_float("position_embedding", "table", &in[1]));
    LS_TRY(ls_infer_dims("position_embedding", "x [B, T, D]", &in[0], 3));
    LS_TRY(ls_infer_dims("position_embedding", "table [C, D]", &in[1], 2));
    if (in[0].shape.dims[2] != in[1].shape.dims[1] || in[0].shape.dims[1] > in[1].shape.dims[0])
        return LS_FAIL(LS_ERR_INVALID,
                       "op position_embedding: x [B, T, D] needs a table [C, D] with C >= T, got x "
                       "%s and table %s",
                       ls_shape_print(&in[0].shape, x), ls_shape_print(&in[1].shape, table));
    *n_out = 1;
    out[0] = in[0];
    return LS_OK;
}

static ls_status infer_grad(const void *attr, int n_in, const ls_type *in, int *n_out,
                            ls_type *out) {
    const ls_position_embedding_grad_attr *a = attr;
    (void)n_in;
    LS_TRY(ls_infer_float("position_embedding_grad", "dy", &in[0]));
    LS_TRY(ls_infer_dims("position_embedding_grad", "dy [B, T, D]", &in[0], 3));
    if (a->n_rows < in[0].shape.dims[1] || !ls_dtype_is_float((ls_dtype)a->dtype))
        return LS_FAIL(LS_ERR_INVALID,
                       "op position_embedding_grad: a float table of at least %lld rows is needed, "
                       "got %lld rows",
                       (long long)in[0].shape.dims[1], (long long)a->n_rows);
    *n_out = 1;
    out[0].dtype = (ls_dtype)a->dtype;
    const int64_t dims[2] = {a->n_rows, in[0].shape.dims[2]};
    return ls_shape_make(2, dims, &out[0].shape);
}

static ls_status grad(ls_grad *g) {
    const ls_position_embedding_grad_attr attr = {(int)ls_graph_grad_dtype(g->graph, g->in[1]),
                                                  g->sig->in[1].shape.dims[0]};
    if (g->dout[0] == LS_VALUE_NONE) return LS_OK;
    if (g->wants[0]) g->din[0] = g->dout[0];
    if (g->wants[1])
        g->din[1] =
            ls_graph_node(g->graph, &ls_op_position_embedding_grad, &attr, g->dout, 1, NULL);
    return LS_OK;
}

/* Batch (0) of x alone, or the width of both. */
static ls_status shard(const ls_sig *sig, const int *in_split, int *out_split) {
    (void)sig;
    const int batch = in_split[0] == 0 && in_split[1] == LS_SHARD_REPLICATED;
    const int width = in_split[0] == 2 && in_split[1] == 1;
    const int whole = in_split[0] == LS_SHARD_REPLICATED && in_split[1] == LS_SHARD_REPLICATED;
    if (!batch && !width && !whole)
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "op position_embedding: x may be split along batch (0) with a whole table, "
                       "or along width with the table; got %d and %d",
                       in_split[0], in_split[1]);
    out_split[0] = in_split[0];
    return LS_OK;
}

static ls_status shard_grad(const ls_sig *sig, const int *in_split, int *out_split) {
    (void)sig;
    if (in_split[0] == 1)
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "op position_embedding_grad: dy may not be split along positions (1)");
    out_split[0] = in_split[0] == 0 ? LS_SHARD_PARTIAL : in_split[0] == 2 ? 1 : in_split[0];
    return LS_OK;
}

static void cost(const ls_sig *sig, ls_cost *out) {
    ls_cost_default(sig, out);
    out->flops = (double)ls_type_count(&sig->in[0]);
}

static void print_grad(const void *attr, ls_text *out) {
    const ls_position_embedding_grad_attr *a = attr;
    ls_text_append(out, "dtype=%s n_rows=%lld", ls_dtype_name((ls_dtype)a->dtype),
                   (long long)a->n_rows);
}

/* y[b, t, d] = x[b, t, d] + table[t, d] */
static ls_status launch_ref(const ls_launch *l) {
    const int64_t n = ls_type_count(&l->sig->in[0]);
    const int64_t plane = l->in[0].shape.dims[1] * l->in[0].shape.dims[2];
    for (int64_t i = 0; i < n; i++)
        ls_tensor_set(&l->out[0], i,
                      ls_tensor_get(&l->in[0], i) + ls_tensor_get(&l->in[1], i % plane));
    return LS_OK;
}

/* dtable[t, d] = sum over b of dy[b, t, d] */
static ls_status launch_grad_ref(const ls_launch *l) {
    const int64_t n = ls_type_count(&l->sig->out[0]), n_batch = l->in[0].shape.dims[0];
    const int64_t plane = l->in[0].shape.dims[1] * l->in[0].shape.dims[2];
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;
        for (int64_t b = 0; i < plane && b < n_batch; b++)
            sum += ls_tensor_get(&l->in[0], b * plane + i);
        ls_tensor_set(&l->out[0], i, sum);
    }
    return LS_OK;
}

LS_DECLARE_CPU_KERNELS(position_embedding_fwd)
LS_DECLARE_CPU_KERNELS(position_embedding_bwd)
static const ls_kernel position_embedding_fwd_ref = {
    .name = "position_embedding_fwd_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};
static const ls_kernel position_embedding_bwd_ref = {
    .name = "position_embedding_bwd_ref", .device = LS_DEVICE_CPU, .launch = launch_grad_ref};
static const ls_kernel *const kernels[] = {LS_CPU_KERNELS(position_embedding_fwd),
                                           &position_embedding_fwd_ref, NULL};
static const ls_kernel *const grad_kernels[] = {LS_CPU_KERNELS(position_embedding_bwd),
                                                &position_embedding_bwd_ref, NULL};

const ls_op ls_op_position_embedding = {.name = "position_embedding",
                                        .min_in = 2,
                                        .max_in = 2,
                                        .infer = infer,
                                        .grad = grad,
                                        .shard = shard,
                                        .cost = cost,
                                        .may_overwrite = 1u << 0,
                                        .kernels = kernels};

const ls_op ls_op_position_embedding_grad = {.name = "position_embedding_grad",
                                             .min_in = 1,
                                             .max_in = 1,
                                             .attr_bytes = sizeof(ls_position_embedding_grad_attr),
                                             .infer = infer_grad,
                                             .shard = shard_grad,
                                             .cost = cost,
                                             .print = print_grad,
                                             .kernels = grad_kernels};

ls_value ls_position_embedding(ls_graph *graph, ls_value x, ls_value table) {
    const ls_value in[2] = {x, table};
    return ls_graph_node(graph, &ls_op_position_embedding, NULL, in, 2, NULL);
}
