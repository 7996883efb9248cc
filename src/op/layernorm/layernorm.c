#include "op/layernorm/layernorm.h"

#include <math.h>

#include "op/cpu_kernel.h"
#include "op/layernorm/norm_infer.h"

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    LS_TRY(ls_norm_infer_eps("layernorm", ((const ls_layernorm_attr *)attr)->eps));
    LS_TRY(ls_norm_infer_rows("layernorm", &in[0], &out[1]));
    LS_TRY(ls_norm_infer_vector("layernorm", "gamma", &in[1], &in[0]));
    if (n_in == 3) LS_TRY(ls_norm_infer_vector("layernorm", "beta", &in[2], &in[0]));
    *n_out = 3;
    out[0] = in[0];
    out[2] = out[1];
    return LS_OK;
}

static ls_status grad(ls_grad *g) {
    if (g->dout[1] != LS_VALUE_NONE || g->dout[2] != LS_VALUE_NONE)
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "op layernorm: a gradient may flow into y only, not into mean or rstd");
    if (g->dout[0] == LS_VALUE_NONE) return LS_OK;
    const int has_beta = g->sig->n_in == 3;
    const ls_layernorm_grad_attr attr = {
        .gamma_dtype = ls_graph_grad_dtype(g->graph, g->in[1]),
        .beta_dtype = has_beta ? (int)ls_graph_grad_dtype(g->graph, g->in[2]) : -1};
    const ls_value in[] = {g->in[0], g->in[1], g->out[1], g->out[2], g->dout[0]};
    ls_value out[LS_MAX_OUT] = {LS_VALUE_NONE, LS_VALUE_NONE, LS_VALUE_NONE};
    ls_graph_node(g->graph, &ls_op_layernorm_grad, &attr, in, 5, out);
    for (int i = 0; i < g->sig->n_in; i++) g->din[i] = out[i];
    return LS_OK;
}

/* Rows may be split; the normalised dim and the vectors must be whole. */
static ls_status shard(const ls_sig *sig, const int *in_split, int *out_split) {
    const int last = sig->in[0].shape.n_dims - 1;
    int bad = in_split[0] == last || in_split[0] == LS_SHARD_PARTIAL;
    for (int i = 1; i < sig->n_in; i++) bad |= in_split[i] != LS_SHARD_REPLICATED;
    if (bad)
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "op layernorm: only the leading dims of x may be split; its last dim (%d), "
                       "gamma and beta must be whole",
                       last);
    for (int i = 0; i < sig->n_out; i++) out_split[i] = in_split[0];
    return LS_OK;
}

static void cost(const ls_sig *sig, ls_cost *out) {
    ls_cost_default(sig, out);
    out->flops = 8.0 * (double)ls_type_count(&sig->in[0]);
}

static void print(const void *attr, ls_text *out) {
    ls_text_append(out, "eps=%.17g", ((const ls_layernorm_attr *)attr)->eps);
}

/* One row of D elements, in double, two passes. */
static void normalize_row_ref(const ls_launch *l, int64_t row, int64_t n) {
    const double eps = ((const ls_layernorm_attr *)l->sig->attr)->eps;
    double mean = 0, variance = 0;
    for (int64_t i = 0; i < n; i++) mean += ls_tensor_get(&l->in[0], row * n + i);
    mean /= (double)n;
    for (int64_t i = 0; i < n; i++) {
        const double centered = ls_tensor_get(&l->in[0], row * n + i) - mean;
        variance += centered * centered;
    }
    const double rstd = 1.0 / sqrt(variance / (double)n + eps);
    for (int64_t i = 0; i < n; i++) {
        const double unit = (ls_tensor_get(&l->in[0], row * n + i) - mean) * rstd;
        const double beta = l->sig->n_in == 3 ? ls_tensor_get(&l->in[2], i) : 0;
        ls_tensor_set(&l->out[0], row * n + i, unit * ls_tensor_get(&l->in[1], i) + beta);
    }
    ls_tensor_set(&l->out[1], row, mean);
    ls_tensor_set(&l->out[2], row, rstd);
}

static ls_status launch_ref(const ls_launch *l) {
    const int64_t n = ls_shape_count(&l->in[1].shape), n_rows = ls_shape_count(&l->out[1].shape);
    for (int64_t row = 0; row < n_rows; row++) normalize_row_ref(l, row, n);
    return LS_OK;
}

static const ls_kernel layernorm_ref = {
    .name = "layernorm_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};

LS_DECLARE_CPU_KERNELS(layernorm)
#ifdef LS_X86
extern const ls_kernel ls_kernel_layernorm_avx512bf16;
#endif
static const ls_kernel *const kernels[] = {
#ifdef LS_X86
    &ls_kernel_layernorm_avx512bf16,
#endif
    LS_CPU_KERNELS(layernorm), &layernorm_ref, NULL};

const ls_op ls_op_layernorm = {
    .name = "layernorm",
    .min_in = 2,
    .max_in = 3,
    .attr_bytes = sizeof(ls_layernorm_attr),
    .infer = infer,
    .grad = grad,
    .shard = shard,
    .cost = cost,
    .print = print,
    .may_overwrite = 1u << 0,
    .kernels = kernels,
};

ls_value ls_layernorm(ls_graph *graph, ls_value x, ls_value gamma, ls_value beta, double eps) {
    const ls_layernorm_attr attr = {eps};
    const ls_value in[3] = {x, gamma, beta};
    return ls_graph_node(graph, &ls_op_layernorm, &attr, in, beta == LS_VALUE_NONE ? 2 : 3, NULL);
}
