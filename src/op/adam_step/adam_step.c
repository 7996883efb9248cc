/* Adam and AdamW (Kingma and Ba 2015; Loshchilov and Hutter 2019). States m, v. Uses beta1, beta2, eps, weight_decay, decoupled.
 *     g += weight_decay * p   (Adam)    or    p *= 1 - lr * weight_decay   (AdamW, decoupled)
 *     m = beta1 m + (1 - beta1) g        v = beta2 v + (1 - beta2) g^2
 *     p -= lr * m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps) */
#include <math.h>

#include "op/cpu_kernel.h"
#include "op/op.h"
#include "op/optim_step.h"

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    return ls_step_infer("adam_step", attr, 2, n_in, in, n_out, out);
}

static void update_ref(const ls_step_attr *a, const ls_step_scalars *s, double *p, double g,
                       double *state) {
    if (a->decoupled)
        *p *= 1 - s->lr * a->weight_decay;
    else
        g += a->weight_decay * *p;
    state[0] = a->beta1 * state[0] + (1 - a->beta1) * g;
    state[1] = a->beta2 * state[1] + (1 - a->beta2) * g * g;
    const double m = state[0] / (1 - pow(a->beta1, s->t));
    const double v = state[1] / (1 - pow(a->beta2, s->t));
    *p -= s->lr * m / (sqrt(v) + a->eps);
}

static ls_status launch_ref(const ls_launch *l) {
    return ls_step_reference(l, update_ref);
}

static const ls_kernel adam_step_ref = {
    .name = "adam_step_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};

LS_DECLARE_CPU_KERNELS(adam_step)
static const ls_kernel *const kernels[] = {LS_CPU_KERNELS(adam_step), &adam_step_ref, NULL};

const ls_op ls_op_adam_step = {
    .name = "adam_step",
    .min_in = LS_STEP_STATE,
    .max_in = LS_STEP_STATE + 2,
    .attr_bytes = sizeof(ls_step_attr),
    .flags = LS_OP_UPDATE | LS_OP_KEEP_F32,
    .infer = infer,
    .shard = ls_step_shard,
    .cost = ls_step_cost,
    .print = ls_step_print,
    .alias = ls_step_alias,
    .kernels = kernels,
};
