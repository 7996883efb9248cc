/* M rows (all leading dims), N columns. */
#include "op/bias/bias.h"

#include "op/cpu_kernel.h"
#include "op/elementwise.h"
#include "op/op.h"
#include "op/reduce_rows/reduce_rows.h"

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    char x[128], b[128];
    (void)attr, (void)n_in;
    LS_TRY(ls_infer_float("bias", "x", &in[0]));
    LS_TRY(ls_infer_float("bias", "b", &in[1]));
    LS_TRY(ls_infer_dims("bias", "b", &in[1], 1));
    const int last = in[0].shape.n_dims - 1;
    if (last < 0 || in[0].shape.dims[last] != in[1].shape.dims[0])
        return LS_FAIL(LS_ERR_INVALID,
                       "op bias: b must be as long as x's last dim, got x %s and b %s",
                       ls_shape_print(&in[0].shape, x), ls_shape_print(&in[1].shape, b));
    *n_out = 1;
    out[0] = in[0];
    return LS_OK;
}

static ls_status grad(ls_grad *g) {
    if (g->dout[0] == LS_VALUE_NONE) return LS_OK;
    if (g->wants[0]) g->din[0] = ls_grad_fit(g, 0, g->dout[0]);
    if (g->wants[1])
        g->din[1] = ls_reduce_rows(g->graph, g->dout[0], ls_graph_grad_dtype(g->graph, g->in[1]));
    return LS_OK;
}

/* Columns split together, rows split with a whole b. */
static ls_status shard(const ls_sig *sig, const int *in_split, int *out_split) {
    const int last = sig->in[0].shape.n_dims - 1;
    const int want = in_split[0] == last ? 0 : LS_SHARD_REPLICATED;
    if (in_split[0] == LS_SHARD_PARTIAL || in_split[1] != want)
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "op bias: x split as %d needs b split as %d and no partial sums, got %d",
                       in_split[0], want, in_split[1]);
    out_split[0] = in_split[0];
    return LS_OK;
}

static void cost(const ls_sig *sig, ls_cost *out) {
    ls_elementwise_cost(sig, 1, out);
}

static ls_status launch_ref(const ls_launch *launch) {
    const int64_t n = ls_type_count(&launch->sig->in[1]);
    const int64_t count = ls_type_count(&launch->sig->out[0]);
    for (int64_t i = 0; i < count; i++)
        ls_tensor_set(&launch->out[0], i,
                      ls_tensor_get(&launch->in[0], i) + ls_tensor_get(&launch->in[1], i % n));
    return LS_OK;
}

LS_DECLARE_CPU_KERNELS(bias_fwd)
static const ls_kernel bias_fwd_ref = {
    .name = "bias_fwd_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};
static const ls_kernel *const kernels[] = {LS_CPU_KERNELS(bias_fwd), &bias_fwd_ref, NULL};

const ls_op ls_op_bias = {.name = "bias",
                          .min_in = 2,
                          .max_in = 2,
                          .infer = infer,
                          .grad = grad,
                          .shard = shard,
                          .cost = cost,
                          .may_overwrite = 1,
                          .kernels = kernels};

ls_value ls_bias(ls_graph *graph, ls_value x, ls_value b) {
    const ls_value in[2] = {x, b};
    return ls_graph_node(graph, &ls_op_bias, NULL, in, 2, NULL);
}
