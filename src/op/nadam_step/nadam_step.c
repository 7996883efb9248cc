/* NAdam (Dozat 2016), as PyTorch defines it, momentum_decay 0.004. States m, v. Uses beta1, beta2, eps, weight_decay.
 *     mu(k) = beta1 (1 - 0.96^(0.004 k) / 2)        g += weight_decay * p
 *     m = beta1 m + (1 - beta1) g        v = beta2 v + (1 - beta2) g^2
 *     n = g (1 - mu(t)) / (1 - prod_{k<=t} mu(k)) + m mu(t+1) / (1 - prod_{k<=t+1} mu(k))
 *     p -= lr * n / (sqrt(v / (1 - beta2^t)) + eps) */
#include "op/nadam_step/nadam_step.h"

#include <math.h>

#include "op/cpu_kernel.h"
#include "op/op.h"
#include "op/optim_step.h"

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    return ls_step_infer("nadam_step", attr, 2, n_in, in, n_out, out);
}

ls_nadam_weights ls_nadam_weigh(double beta1, double t) {
    const double ratio = pow(0.96, 0.004);
    double product = 1, power = 1;
    /* Below this the product is lost beside 1: long runs cost no more than short ones. */
    for (double k = 1; k <= t && product > 1e-18; k++) {
        power *= ratio;
        product *= beta1 * (1 - 0.5 * power);
    }
    const double now = beta1 * (1 - 0.5 * pow(ratio, t));
    const double next = beta1 * (1 - 0.5 * pow(ratio, t + 1));
    return (ls_nadam_weights){(1 - now) / (1 - product), next / (1 - product * next)};
}

static void update_ref(const ls_step_attr *a, const ls_step_scalars *s, double *p, double g,
                       double *state) {
    const ls_nadam_weights w = ls_nadam_weigh(a->beta1, s->t);
    g += a->weight_decay * *p;
    state[0] = a->beta1 * state[0] + (1 - a->beta1) * g;
    state[1] = a->beta2 * state[1] + (1 - a->beta2) * g * g;
    const double v = state[1] / (1 - pow(a->beta2, s->t));
    *p -= s->lr * (w.grad * g + w.m * state[0]) / (sqrt(v) + a->eps);
}

static ls_status launch_ref(const ls_launch *l) {
    return ls_step_reference(l, update_ref);
}

static const ls_kernel nadam_step_ref = {
    .name = "nadam_step_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};

LS_DECLARE_CPU_KERNELS(nadam_step)
static const ls_kernel *const kernels[] = {LS_CPU_KERNELS(nadam_step), &nadam_step_ref, NULL};

const ls_op ls_op_nadam_step = {
    .name = "nadam_step",
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
