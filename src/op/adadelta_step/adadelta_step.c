/* Adadelta (Zeiler 2012), as PyTorch defines it. States: v of gradients, d of steps. Uses beta2 (rho), eps, weight_decay.
 *     g += weight_decay * p        v = beta2 v + (1 - beta2) g^2
 *     x = g * sqrt(d + eps) / sqrt(v + eps)        d = beta2 d + (1 - beta2) x^2        p -= lr * x */
#include <math.h>

#include "op/cpu_kernel.h"
#include "op/op.h"
#include "op/optim_step.h"

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    return ls_step_infer("adadelta_step", attr, 2, n_in, in, n_out, out);
}

static void update_ref(const ls_step_attr *a, const ls_step_scalars *s, double *p, double g,
                       double *state) {
    g += a->weight_decay * *p;
    state[0] = a->beta2 * state[0] + (1 - a->beta2) * g * g;
    const double x = g * sqrt(state[1] + a->eps) / sqrt(state[0] + a->eps);
    state[1] = a->beta2 * state[1] + (1 - a->beta2) * x * x;
    *p -= s->lr * x;
}

static ls_status launch_ref(const ls_launch *l) {
    return ls_step_reference(l, update_ref);
}

static const ls_kernel adadelta_step_ref = {
    .name = "adadelta_step_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};

LS_DECLARE_CPU_KERNELS(adadelta_step)
static const ls_kernel *const kernels[] = {LS_CPU_KERNELS(adadelta_step), &adadelta_step_ref, NULL};

const ls_op ls_op_adadelta_step = {
    .name = "adadelta_step",
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
