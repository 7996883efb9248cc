#include "op/mul/mul.h"

#include "op/cast/cast.h"
#include "op/cpu_kernel.h"
#include "op/elementwise.h"
#include "op/op.h"
#include "op/reduce/reduce.h"

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    (void)attr;
    if (in[1].shape.n_dims != 0) return ls_elementwise_infer("mul", n_in, in, n_out, out);
    LS_TRY(ls_infer_float("mul", "a", &in[0]));
    LS_TRY(ls_infer_float("mul", "the scalar b", &in[1]));
    *n_out = 1;
    out[0] = in[0];
    return LS_OK;
}

/* The other factor, in the dtype that flows back. */
static ls_value factor(const ls_grad *g, int i) {
    return ls_cast(g->graph, g->in[i], ls_graph_dtype(g->graph, g->dout[0]));
}

static ls_status grad(ls_grad *g) {
    if (g->dout[0] == LS_VALUE_NONE) return LS_OK;
    const int scalar = g->sig->in[1].shape.n_dims == 0 && g->sig->in[0].shape.n_dims != 0;
    if (g->wants[0]) g->din[0] = ls_grad_fit(g, 0, ls_mul(g->graph, g->dout[0], factor(g, 1)));
    if (g->wants[1]) {
        ls_value db = ls_mul(g->graph, g->dout[0], factor(g, 0));
        if (scalar) db = ls_reduce(g->graph, db, LS_REDUCE_SUM, -1);
        g->din[1] = ls_grad_fit(g, 1, db);
    }
    return LS_OK;
}

/* A partial sum times a whole scalar stays a partial sum. */
static ls_status shard(const ls_sig *sig, const int *in_split, int *out_split) {
    const int scalar = sig->in[1].shape.n_dims == 0;
    if (!scalar || in_split[1] != LS_SHARD_REPLICATED)
        return ls_elementwise_shard(sig, in_split, out_split);
    out_split[0] = in_split[0];
    return LS_OK;
}

static void cost(const ls_sig *sig, ls_cost *out) {
    ls_elementwise_cost(sig, 1, out);
}

static void apply(const double *in, double *out, const void *attr) {
    (void)attr;
    out[0] = in[0] * in[1];
}

static ls_status launch_ref(const ls_launch *launch) {
    return ls_elementwise_ref(launch, apply);
}

LS_DECLARE_CPU_KERNELS(mul_fwd)
static const ls_kernel mul_fwd_ref = {
    .name = "mul_fwd_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};
static const ls_kernel *const kernels[] = {LS_CPU_KERNELS(mul_fwd), &mul_fwd_ref, NULL};

const ls_op ls_op_mul = {.name = "mul",
                         .min_in = 2,
                         .max_in = 2,
                         .flags = LS_OP_ELEMENTWISE,
                         .infer = infer,
                         .grad = grad,
                         .shard = shard,
                         .cost = cost,
                         .may_overwrite = 1,
                         .kernels = kernels};

ls_value ls_mul(ls_graph *graph, ls_value a, ls_value b) {
    const ls_value in[2] = {a, b};
    return ls_graph_node(graph, &ls_op_mul, NULL, in, 2, NULL);
}
