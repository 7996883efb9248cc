#include <math.h>

#include "op/batchnorm/batchnorm.h"
#include "op/cpu_kernel.h"
#include "op/layernorm/norm_infer.h"

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    static const char *const names[] = {"gamma", "beta", "mean", "var"};
    LS_TRY(ls_norm_infer_eps("batchnorm_eval", ((const ls_batchnorm_attr *)attr)->eps));
    LS_TRY(ls_channels_infer("batchnorm_eval", &in[0]));
    for (int i = 1; i < 5; i++)
        LS_TRY(ls_channels_infer_vector("batchnorm_eval", names[i - 1], &in[i], &in[0]));
    LS_TRY(ls_batchnorm_infer_tail("batchnorm_eval", attr, n_in, in, 5));
    *n_out = 1;
    out[0] = in[0];
    return LS_OK;
}

/* Any dim of x may be split; the vectors go with its channels. */
static ls_status shard(const ls_sig *sig, const int *in_split, int *out_split) {
    const int last = sig->in[0].shape.n_dims - 1;
    const int vector = in_split[0] == last ? 0 : LS_SHARD_REPLICATED;
    for (int i = 1; i < sig->n_in; i++)
        if (in_split[i] != (i < 5 ? vector : in_split[0]) || in_split[0] == LS_SHARD_PARTIAL)
            return LS_FAIL(LS_ERR_UNSUPPORTED,
                           "op batchnorm_eval: with x split along %d the vectors must be split "
                           "along %d (-1: whole), got %d",
                           in_split[0], vector, in_split[i]);
    out_split[0] = in_split[0];
    return LS_OK;
}

static void cost(const ls_sig *sig, ls_cost *out) {
    ls_cost_default(sig, out);
    out->flops = 2.0 * (double)ls_type_count(&sig->in[0]);
}

static ls_status launch_ref(const ls_launch *l) {
    const ls_channels n = ls_channels_of(&l->in[0].shape);
    const double eps = ((const ls_batchnorm_attr *)l->sig->attr)->eps;
    for (int64_t at = 0; at < n.n_rows * n.n_channels; at++) {
        const int64_t c = at % n.n_channels;
        const double unit = (ls_tensor_get(&l->in[0], at) - ls_tensor_get(&l->in[3], c)) /
                            sqrt(ls_tensor_get(&l->in[4], c) + eps);
        ls_batchnorm_finish(l, at,
                            unit * ls_tensor_get(&l->in[1], c) + ls_tensor_get(&l->in[2], c));
    }
    return LS_OK;
}

static const ls_kernel batchnorm_eval_ref = {
    .name = "batchnorm_eval_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};

LS_DECLARE_CPU_KERNELS(batchnorm_eval)
static const ls_kernel *const kernels[] = {LS_CPU_KERNELS(batchnorm_eval), &batchnorm_eval_ref,
                                           NULL};

const ls_op ls_op_batchnorm_eval = {
    .name = "batchnorm_eval",
    .min_in = 5,
    .max_in = 6,
    .attr_bytes = sizeof(ls_batchnorm_attr),
    .infer = infer,
    .shard = shard,
    .cost = cost,
    .print = ls_batchnorm_print,
    .may_overwrite = (1u << 0) | (1u << 5),
    .kernels = kernels,
};

ls_value ls_batchnorm_eval(ls_graph *graph, ls_value x, ls_value gamma, ls_value beta,
                           ls_value mean, ls_value var, double eps) {
    const ls_batchnorm_attr attr = {.eps = eps};
    const ls_value in[5] = {x, gamma, beta, mean, var};
    return ls_graph_node(graph, &ls_op_batchnorm_eval, &attr, in, 5, NULL);
}
