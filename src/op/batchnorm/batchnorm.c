#include "op/batchnorm/batchnorm.h"

#include <math.h>

#include "op/cpu_kernel.h"
#include "op/layernorm/norm_infer.h"

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    LS_TRY(ls_norm_infer_eps("batchnorm", ((const ls_batchnorm_attr *)attr)->eps));
    LS_TRY(ls_channels_infer("batchnorm", &in[0]));
    LS_TRY(ls_channels_infer_vector("batchnorm", "gamma", &in[1], &in[0]));
    LS_TRY(ls_channels_infer_vector("batchnorm", "beta", &in[2], &in[0]));
    LS_TRY(ls_batchnorm_infer_tail("batchnorm", attr, n_in, in, 3));
    *n_out = 4;
    out[0] = in[0];
    for (int i = 1; i < 4; i++) out[i] = (ls_type){ls_norm_stat_dtype(in[0].dtype), in[1].shape};
    return LS_OK;
}

static ls_status grad(ls_grad *g) {
    for (int i = 1; i < 4; i++)
        if (g->dout[i] != LS_VALUE_NONE)
            return LS_FAIL(LS_ERR_UNSUPPORTED,
                           "op batchnorm: a gradient may flow into y only, not into its "
                           "statistics");
    if (g->dout[0] == LS_VALUE_NONE) return LS_OK;
    const ls_batchnorm_attr *a = g->sig->attr;
    if (a->has_residual || a->relu)
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "op batchnorm: what the pass `fuse` made has no gradient; differentiate "
                       "before it");
    const ls_batchnorm_grad_attr attr = {.gamma_dtype = ls_graph_grad_dtype(g->graph, g->in[1]),
                                         .beta_dtype = ls_graph_grad_dtype(g->graph, g->in[2])};
    const ls_value in[] = {g->in[0], g->in[1], g->out[1], g->out[3], g->dout[0]};
    ls_value out[LS_MAX_OUT] = {LS_VALUE_NONE, LS_VALUE_NONE, LS_VALUE_NONE};
    ls_graph_node(g->graph, &ls_op_batchnorm_grad, &attr, in, 5, out);
    for (int i = 0; i < 3; i++) g->din[i] = out[i];
    return LS_OK;
}

/* Statistics are over the batch, so only channels may be split. */
static ls_status shard(const ls_sig *sig, const int *in_split, int *out_split) {
    const int whole = in_split[0] == LS_SHARD_REPLICATED, vector = whole ? LS_SHARD_REPLICATED : 0;
    if ((!whole && in_split[0] != sig->in[0].shape.n_dims - 1) || in_split[1] != vector ||
        in_split[2] != vector || (sig->n_in == 4 && in_split[3] != in_split[0]))
        return LS_FAIL(
            LS_ERR_UNSUPPORTED,
            "op batchnorm: x may be split along channels (the last dim) only, gamma and beta with "
            "it; got dim %d of x",
            in_split[0]);
    for (int i = 0; i < sig->n_out; i++) out_split[i] = i == 0 ? in_split[0] : vector;
    return LS_OK;
}

static void cost(const ls_sig *sig, ls_cost *out) {
    ls_cost_default(sig, out);
    out->flops = 8.0 * (double)ls_type_count(&sig->in[0]);
}

/* Two passes in double. */
static void measure_ref(const ls_tensor *x, int64_t c, double *mean, double *var) {
    const ls_channels n = ls_channels_of(&x->shape);
    const double count = (double)n.n_rows;
    *mean = *var = 0;
    for (int64_t i = 0; i < n.n_rows; i++) *mean += ls_tensor_get(x, i * n.n_channels + c) / count;
    for (int64_t i = 0; i < n.n_rows; i++) {
        const double d = ls_tensor_get(x, i * n.n_channels + c) - *mean;
        *var += d * d / count;
    }
}

static ls_status launch_ref(const ls_launch *l) {
    const ls_channels n = ls_channels_of(&l->in[0].shape);
    const double eps = ((const ls_batchnorm_attr *)l->sig->attr)->eps;
    for (int64_t c = 0; c < n.n_channels; c++) {
        double mean, var;
        measure_ref(&l->in[0], c, &mean, &var);
        const double rstd = 1.0 / sqrt(var + eps);
        for (int64_t i = 0; i < n.n_rows; i++) {
            const int64_t at = i * n.n_channels + c;
            const double unit = (ls_tensor_get(&l->in[0], at) - mean) * rstd;
            ls_batchnorm_finish(l, at,
                                unit * ls_tensor_get(&l->in[1], c) + ls_tensor_get(&l->in[2], c));
        }
        ls_tensor_set(&l->out[1], c, mean);
        ls_tensor_set(&l->out[2], c, var);
        ls_tensor_set(&l->out[3], c, rstd);
    }
    return LS_OK;
}

static const ls_kernel batchnorm_ref = {
    .name = "batchnorm_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};

LS_DECLARE_CPU_KERNELS(batchnorm)
static const ls_kernel *const kernels[] = {LS_CPU_KERNELS(batchnorm), &batchnorm_ref, NULL};

const ls_op ls_op_batchnorm = {
    .name = "batchnorm",
    .min_in = 3,
    .max_in = 4,
    .attr_bytes = sizeof(ls_batchnorm_attr),
    .infer = infer,
    .grad = grad,
    .shard = shard,
    .cost = cost,
    .print = ls_batchnorm_print,
    .may_overwrite = (1u << 0) | (1u << 3),
    .kernels = kernels,
};

ls_value ls_batchnorm(ls_graph *graph, ls_value x, ls_value gamma, ls_value beta, double eps) {
    const ls_batchnorm_attr attr = {.eps = eps};
    const ls_value in[3] = {x, gamma, beta};
    return ls_graph_node(graph, &ls_op_batchnorm, &attr, in, 3, NULL);
}
