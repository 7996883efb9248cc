/* Stochastic gradient descent, as PyTorch defines it. State: velocity u, when momentum is not 0. Uses momentum, nesterov, weight_decay.
 *     g += weight_decay * p        u = momentum u + g
 *     p -= lr * (nesterov ? g + momentum u : u) */
#include "op/cpu_kernel.h"
#include "op/op.h"
#include "op/optim_step.h"

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    const ls_step_attr *a = attr;
    return ls_step_infer("sgd_step", attr, a->momentum > 0, n_in, in, n_out, out);
}

static void update_ref(const ls_step_attr *a, const ls_step_scalars *s, double *p, double g,
                       double *state) {
    g += a->weight_decay * *p;
    state[0] = a->momentum * state[0] + g;
    *p -= s->lr * (a->nesterov ? g + a->momentum * state[0] : state[0]);
}

static ls_status launch_ref(const ls_launch *l) {
    return ls_step_reference(l, update_ref);
}

static const ls_kernel sgd_step_ref = {
    .name = "sgd_step_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};

LS_DECLARE_CPU_KERNELS(sgd_step)
static const ls_kernel *const kernels[] = {LS_CPU_KERNELS(sgd_step), &sgd_step_ref, NULL};

const ls_op ls_op_sgd_step = {
    .name = "sgd_step",
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
