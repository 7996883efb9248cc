/* Adagrad (Duchi, Hazan and Singer 2011), as PyTorch defines it. State: sum of squares v. Uses eps, weight_decay.
 *     g += weight_decay * p        v += g^2        p -= lr * g / (sqrt(v) + eps) */
#include <math.h>

#include "op/cpu_kernel.h"
#include "op/op.h"
#include "op/optim_step.h"

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    return ls_step_infer("adagrad_step", attr, 1, n_in, in, n_out, out);
}

static void update_ref(const ls_step_attr *a, const ls_step_scalars *s, double *p, double g,
                       double *state) {
    g += a->weight_decay * *p;
    state[0] += g * g;
    *p -= s->lr * g / (sqrt(state[0]) + a->eps);
}

static ls_status launch_ref(const ls_launch *l) {
    return ls_step_reference(l, update_ref);
}

static const ls_kernel adagrad_step_ref = {
    .name = "adagrad_step_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};

LS_DECLARE_CPU_KERNELS(adagrad_step)
static const ls_kernel *const kernels[] = {LS_CPU_KERNELS(adagrad_step), &adagrad_step_ref, NULL};

const ls_op ls_op_adagrad_step = {
    .name = "adagrad_step",
    .min_in = LS_STEP_STATE,
    .max_in = LS_STEP_STATE + 1,
    .attr_bytes = sizeof(ls_step_attr),
    .flags = LS_OP_UPDATE | LS_OP_KEEP_F32,
    .infer = infer,
    .shard = ls_step_shard,
    .cost = ls_step_cost,
    .print = ls_step_print,
    .alias = ls_step_alias,
    .kernels = kernels,
};
