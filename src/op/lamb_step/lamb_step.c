/* LAMB (You et al. 2020, "Large batch optimization for deep learning"), phi the identity. States m, v. Uses beta1, beta2, eps,
 * weight_decay.
 *     m = beta1 m + (1 - beta1) g        v = beta2 v + (1 - beta2) g^2
 *     u = m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay * p
 *     p -= lr * (|p| / |u|) * u          with 1 for the ratio when either norm is 0 */
#include <math.h>

#include "op/cpu_kernel.h"
#include "op/op.h"
#include "op/optim_step.h"

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    return ls_step_infer("lamb_step", attr, 2, n_in, in, n_out, out);
}

/* The norms need the whole tensor. */
static ls_status shard(const ls_sig *sig, const int *in_split, int *out_split) {
    for (int i = 0; i < sig->n_in; i++)
        if (in_split[i] != LS_SHARD_REPLICATED)
            return LS_FAIL(LS_ERR_UNSUPPORTED,
                           "op lamb_step: input %d is split, but the trust ratio needs the norm of "
                           "the whole parameter; keep it whole or use adam_step",
                           i);
    for (int i = 0; i < sig->n_out; i++) out_split[i] = LS_SHARD_REPLICATED;
    return LS_OK;
}

/* No parameter may be written before the norm of all of u is known: parameter and averages are read twice. */
static void cost(const ls_sig *sig, ls_cost *out) {
    ls_step_cost(sig, out);
    for (int i = 0; i < sig->n_out; i++) out->bytes_read += (double)ls_type_bytes(&sig->out[i]);
}

/* u of element i, in double, from the updated averages. */
static double direction_ref(const ls_launch *l, const ls_step_scalars *s, int64_t i) {
    const ls_step_attr *a = l->sig->attr;
    const double m = ls_tensor_get(&l->out[1], i) / (1 - pow(a->beta1, s->t));
    const double v = ls_tensor_get(&l->out[2], i) / (1 - pow(a->beta2, s->t));
    return m / (sqrt(v) + a->eps) + a->weight_decay * ls_tensor_get(&l->out[0], i);
}

static ls_status launch_ref(const ls_launch *l) {
    const ls_step_attr *a = l->sig->attr;
    const int64_t count = ls_shape_count(&l->out[0].shape);
    ls_step_scalars s;
    if (!ls_step_begin(l, &s)) return LS_OK;
    ls_step_copy(l);
    double p2 = 0, u2 = 0;
    for (int64_t i = 0; i < count; i++) {
        const double g = ls_tensor_get(&l->in[LS_STEP_GRAD], i) * s.scale;
        const double m = ls_tensor_get(&l->out[1], i), v = ls_tensor_get(&l->out[2], i);
        const double p = ls_tensor_get(&l->out[0], i);
        ls_tensor_set(&l->out[1], i, a->beta1 * m + (1 - a->beta1) * g);
        ls_tensor_set(&l->out[2], i, a->beta2 * v + (1 - a->beta2) * g * g);
        const double u = direction_ref(l, &s, i);
        p2 += p * p;
        u2 += u * u;
    }
    const double trust = p2 > 0 && u2 > 0 ? sqrt(p2 / u2) : 1;
    for (int64_t i = 0; i < count; i++)
        ls_tensor_set(&l->out[0], i,
                      ls_tensor_get(&l->out[0], i) - s.lr * trust * direction_ref(l, &s, i));
    return LS_OK;
}

static const ls_kernel lamb_step_ref = {
    .name = "lamb_step_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};

LS_DECLARE_CPU_KERNELS(lamb_step)
static const ls_kernel *const kernels[] = {LS_CPU_KERNELS(lamb_step), &lamb_step_ref, NULL};

const ls_op ls_op_lamb_step = {
    .name = "lamb_step",
    .min_in = LS_STEP_STATE,
    .max_in = LS_STEP_STATE + 2,
    .attr_bytes = sizeof(ls_step_attr),
    .flags = LS_OP_UPDATE | LS_OP_KEEP_F32,
    .infer = infer,
    .shard = shard,
    .cost = cost,
    .print = ls_step_print,
    .alias = ls_step_alias,
    .kernels = kernels,
};
