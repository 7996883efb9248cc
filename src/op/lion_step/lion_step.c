/* Lion (Chen et al. 2023, "Symbolic discovery of optimization algorithms"). State: m. Uses beta1, beta2, weight_decay (decoupled).
 *     p -= lr * (sign(beta1 m + (1 - beta1) g) + weight_decay * p)        m = beta2 m + (1 - beta2) g */
#include "op/cpu_kernel.h"
#include "op/op.h"
#include "op/optim_step.h"

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    return ls_step_infer("lion_step", attr, 1, n_in, in, n_out, out);
}

static void update_ref(const ls_step_attr *a, const ls_step_scalars *s, double *p, double g,
                       double *state) {
    const double blend = a->beta1 * state[0] + (1 - a->beta1) * g;
    const double sign = (blend > 0) - (blend < 0);
    *p -= s->lr * (sign + a->weight_decay * *p);
    state[0] = a->beta2 * state[0] + (1 - a->beta2) * g;
}

static ls_status launch_ref(const ls_launch *l) {
    return ls_step_reference(l, update_ref);
}

static const ls_kernel lion_step_ref = {
    .name = "lion_step_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};

LS_DECLARE_CPU_KERNELS(lion_step)
static const ls_kernel *const kernels[] = {LS_CPU_KERNELS(lion_step), &lion_step_ref, NULL};

const ls_op ls_op_lion_step = {
    .name = "lion_step",
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
