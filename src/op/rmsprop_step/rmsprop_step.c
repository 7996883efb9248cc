/* RMSprop (Hinton's lecture 6e; centered: Graves 2013), as PyTorch defines it. States: v, then a when centered, then u when momentum
 * is not 0. Uses beta2 (alpha), eps, momentum, weight_decay, centered.
 *     g += weight_decay * p        v = beta2 v + (1 - beta2) g^2        a = beta2 a + (1 - beta2) g
 *     d = g / (sqrt(v - a^2) + eps)        u = momentum u + d        p -= lr * u */
#include <math.h>

#include "op/cpu_kernel.h"
#include "op/op.h"
#include "op/optim_step.h"

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    const ls_step_attr *a = attr;
    return ls_step_infer("rmsprop_step", attr, 1 + (a->centered != 0) + (a->momentum > 0), n_in, in,
                         n_out, out);
}

static void update_ref(const ls_step_attr *a, const ls_step_scalars *s, double *p, double g,
                       double *state) {
    double *average = &state[1], *velocity = &state[a->centered ? 2 : 1];
    g += a->weight_decay * *p;
    state[0] = a->beta2 * state[0] + (1 - a->beta2) * g * g;
    double variance = state[0];
    if (a->centered) {
        *average = a->beta2 * *average + (1 - a->beta2) * g;
        variance = fmax(variance - *average * *average, 0);
    }
    double step = g / (sqrt(variance) + a->eps);
    if (a->momentum > 0) step = *velocity = a->momentum * *velocity + step;
    *p -= s->lr * step;
}

static ls_status launch_ref(const ls_launch *l) {
    return ls_step_reference(l, update_ref);
}

static const ls_kernel rmsprop_step_ref = {
    .name = "rmsprop_step_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};

LS_DECLARE_CPU_KERNELS(rmsprop_step)
static const ls_kernel *const kernels[] = {LS_CPU_KERNELS(rmsprop_step), &rmsprop_step_ref, NULL};

const ls_op ls_op_rmsprop_step = {
    .name = "rmsprop_step",
    .min_in = LS_STEP_STATE,
    .max_in = LS_STEP_STATE + 3,
    .attr_bytes = sizeof(ls_step_attr),
    .flags = LS_OP_UPDATE | LS_OP_KEEP_F32,
    .infer = infer,
    .shard = ls_step_shard,
    .cost = ls_step_cost,
    .print = ls_step_print,
    .alias = ls_step_alias,
    .kernels = kernels,
};
