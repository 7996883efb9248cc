#include "op/rmsnorm/rmsnorm.h"

#include <math.h>

#include "op/cpu_kernel.h"
#include "op/layernorm/norm_infer.h"

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    (void)n_in;
    LS_TRY(ls_norm_infer_eps("rmsnorm", ((const ls_rmsnorm_attr *)attr)->eps));
    LS_TRY(ls_norm_infer_rows("rmsnorm", &in[0], &out[1]));
    LS_TRY(ls_norm_infer_vector("rmsnorm", "gamma", &in[1], &in[0]));
    *n_out = 2;
    out[0] = in[0];
    return LS_OK;
}

static ls_status grad(ls_grad *g) {
    if (g->dout[1] != LS_VALUE_NONE)
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "op rmsnorm: a gradient may flow into y only, not into rstd");
    if (g->dout[0] == LS_VALUE_NONE) return LS_OK;
    const ls_rmsnorm_grad_attr attr = {.gamma_dtype = ls_graph_grad_dtype(g->graph, g->in[1])};
    const ls_value in[] = {g->in[0], g->in[1], g->out[1], g->dout[0]};
    ls_value out[LS_MAX_OUT] = {LS_VALUE_NONE, LS_VALUE_NONE};
    ls_graph_node(g->graph, &ls_op_rmsnorm_grad, &attr, in, 4, out);
    g->din[0] = out[0];
    g->din[1] = out[1];
    return LS_OK;
}

/* Rows may be split; the normalised dim and gamma must be whole. */
static ls_status shard(const ls_sig *sig, const int *in_split, int *out_split) {
    const int last = sig->in[0].shape.n_dims - 1;
    if (in_split[0] == last || in_split[0] == LS_SHARD_PARTIAL ||
        in_split[1] != LS_SHARD_REPLICATED)
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "op rmsnorm: only the leading dims of x may be split; its last dim (%d) and "
                       "gamma must be whole",
                       last);
    out_split[0] = out_split[1] = in_split[0];
    return LS_OK;
}

static void cost(const ls_sig *sig, ls_cost *out) {
    ls_cost_default(sig, out);
    out->flops = 4.0 * (double)ls_type_count(&sig->in[0]);
}

static void print(const void *attr, ls_text *out) {
    ls_text_append(out, "eps=%.17g", ((const ls_rmsnorm_attr *)attr)->eps);
}

static ls_status launch_ref(const ls_launch *l) {
    const double eps = ((const ls_rmsnorm_attr *)l->sig->attr)->eps;
    const int64_t n = ls_shape_count(&l->in[1].shape), n_rows = ls_shape_count(&l->out[1].shape);
    for (int64_t row = 0; row < n_rows; row++) {
        double squares = 0;
        for (int64_t i = 0; i < n; i++) {
            const double x = ls_tensor_get(&l->in[0], row * n + i);
            squares += x * x;
        }
        const double rstd = 1.0 / sqrt(squares / (double)n + eps);
        for (int64_t i = 0; i < n; i++) {
            const double unit = ls_tensor_get(&l->in[0], row * n + i) * rstd;
            ls_tensor_set(&l->out[0], row * n + i, unit * ls_tensor_get(&l->in[1], i));
        }
        ls_tensor_set(&l->out[1], row, rstd);
    }
    return LS_OK;
}

static const ls_kernel rmsnorm_ref = {
    .name = "rmsnorm_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};

LS_DECLARE_CPU_KERNELS(rmsnorm)
#ifdef LS_X86
extern const ls_kernel ls_kernel_rmsnorm_avx512bf16;
#endif
static const ls_kernel *const kernels[] = {
#ifdef LS_X86
    &ls_kernel_rmsnorm_avx512bf16,
#endif
    LS_CPU_KERNELS(rmsnorm), &rmsnorm_ref, NULL};

const ls_op ls_op_rmsnorm = {
    .name = "rmsnorm",
    .min_in = 2,
    .max_in = 2,
    .attr_bytes = sizeof(ls_rmsnorm_attr),
    .infer = infer,
    .grad = grad,
    .shard = shard,
    .cost = cost,
    .print = print,
    .may_overwrite = 1u << 0,
    .kernels = kernels,
};

ls_value ls_rmsnorm(ls_graph *graph, ls_value x, ls_value gamma, double eps) {
    const ls_rmsnorm_attr attr = {eps};
    const ls_value in[2] = {x, gamma};
    return ls_graph_node(graph, &ls_op_rmsnorm, &attr, in, 2, NULL);
}
