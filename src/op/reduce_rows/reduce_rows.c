/* M rows (all leading dims), N columns. */
#include "op/reduce_rows/reduce_rows.h"

#include "op/broadcast/broadcast.h"
#include "op/cpu_kernel.h"
#include "op/elementwise.h"
#include "op/op.h"
#include "op/reduce/reduce_cpu.h"
#include "op/reduce_rows/reduce_rows_view.h"
#include "op/reshape/reshape.h"

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    const ls_reduce_rows_attr *a = attr;
    (void)n_in;
    LS_TRY(ls_infer_float("reduce_rows", "x", &in[0]));
    if (in[0].shape.n_dims < 1)
        return LS_FAIL(LS_ERR_INVALID, "op reduce_rows: x needs at least one dim, got a scalar");
    if (a->dtype < 0 || a->dtype >= LS_DTYPE_COUNT || !ls_dtype_is_float((ls_dtype)a->dtype))
        return LS_FAIL(LS_ERR_INVALID, "op reduce_rows: the result must be of a float dtype");
    *n_out = 1;
    out[0] = (ls_type){(ls_dtype)a->dtype, {1, {in[0].shape.dims[in[0].shape.n_dims - 1]}}};
    return LS_OK;
}

static ls_status grad(ls_grad *g) {
    const ls_type *x = &g->sig->in[0];
    if (!g->wants[0] || g->dout[0] == LS_VALUE_NONE) return LS_OK;
    const ls_value rows =
        ls_broadcast(g->graph, ls_grad_fit(g, 0, g->dout[0]), 0, reduce_rows_view(g->sig).n);
    g->din[0] = ls_reshape(g->graph, rows, x->shape);
    return LS_OK;
}

static ls_status shard(const ls_sig *sig, const int *in_split, int *out_split) {
    const int last = sig->in[0].shape.n_dims - 1;
    out_split[0] = in_split[0] == last ? 0 : in_split[0] >= 0 ? LS_SHARD_PARTIAL : in_split[0];
    return LS_OK;
}

static void cost(const ls_sig *sig, ls_cost *out) {
    ls_cost_default(sig, out);
    out->flops = (double)ls_type_count(&sig->in[0]);
}

static void print(const void *attr, ls_text *out) {
    ls_text_append(out, "dtype=%s",
                   ls_dtype_name((ls_dtype)((const ls_reduce_rows_attr *)attr)->dtype));
}

static ls_status launch_ref(const ls_launch *launch) {
    const ls_dim_view v = reduce_rows_view(launch->sig);
    for (int64_t j = 0; j < v.inner; j++) {
        double sum = 0;
        for (int64_t i = 0; i < v.n; i++) sum += ls_tensor_get(&launch->in[0], i * v.inner + j);
        ls_tensor_set(&launch->out[0], j, sum);
    }
    return LS_OK;
}

size_t ls_reduce_rows_workspace(const ls_sig *sig, int n_threads) {
    (void)n_threads;
    const ls_dim_view v = reduce_rows_view(sig);
    return ls_reduce_partial_bytes(&v);
}

LS_DECLARE_CPU_KERNELS(reduce_rows_fwd)
static const ls_kernel reduce_rows_fwd_ref = {
    .name = "reduce_rows_fwd_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};
static const ls_kernel *const kernels[] = {LS_CPU_KERNELS(reduce_rows_fwd), &reduce_rows_fwd_ref,
                                           NULL};

const ls_op ls_op_reduce_rows = {.name = "reduce_rows",
                                 .min_in = 1,
                                 .max_in = 1,
                                 .attr_bytes = sizeof(ls_reduce_rows_attr),
                                 .infer = infer,
                                 .grad = grad,
                                 .shard = shard,
                                 .cost = cost,
                                 .print = print,
                                 .kernels = kernels};

ls_value ls_reduce_rows(ls_graph *graph, ls_value x, ls_dtype out) {
    const ls_reduce_rows_attr attr = {(int32_t)out};
    return ls_graph_node(graph, &ls_op_reduce_rows, &attr, &x, 1, NULL);
}
