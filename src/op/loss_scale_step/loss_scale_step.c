/* Dynamic loss scaling (Micikevicius et al. 2018), in place. After a skipped step (scale negative or NaN) the loss scale is halved,
 * good_steps starts again and skipped counts one more; after growth_interval good steps in a row it doubles. It stays in
 * [min, max]. Scalars only: the reference kernel is the kernel. */
#include "op/loss_scale_step/loss_scale_step.h"

#include <math.h>

#include "op/optim_step.h"

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    const ls_loss_scale_attr *a = attr;
    static const char *const names[] = {"loss_scale", "good_steps", "skipped", "scale"};
    if (a->growth_interval < 0 || !(a->min > 0) || !(a->max >= a->min) || isinf(a->max))
        return LS_FAIL(
            LS_ERR_INVALID,
            "op loss_scale_step: want growth_interval >= 0 and 0 < min <= max, got %lld, "
            "%g and %g",
            (long long)a->growth_interval, a->min, a->max);
    for (int i = 0; i < n_in; i++)
        LS_TRY(ls_step_infer_scalar("loss_scale_step", names[i], &in[i]));
    *n_out = 3;
    for (int i = 0; i < 3; i++) out[i] = in[i];
    return LS_OK;
}

static void print(const void *attr, ls_text *out) {
    const ls_loss_scale_attr *a = attr;
    ls_text_append(out, "growth_interval=%lld min=%.17g max=%.17g", (long long)a->growth_interval,
                   a->min, a->max);
}

static int alias(const ls_sig *sig, int i) {
    (void)sig;
    return i;
}

static ls_status launch(const ls_launch *l) {
    const ls_loss_scale_attr *a = l->sig->attr;
    double loss_scale = ls_tensor_get(&l->in[0], 0), good = ls_tensor_get(&l->in[1], 0) + 1;
    const int skip = !(ls_tensor_get(&l->in[3], 0) >= 0);
    const double skipped = ls_tensor_get(&l->in[2], 0) + skip;
    const int grow = !skip && a->growth_interval > 0 && good >= (double)a->growth_interval;
    if (skip) loss_scale *= 0.5;
    if (grow) loss_scale *= 2;
    ls_tensor_set(&l->out[0], 0, fmin(fmax(loss_scale, a->min), a->max));
    ls_tensor_set(&l->out[1], 0, skip || grow ? 0 : good);
    ls_tensor_set(&l->out[2], 0, skipped);
    return LS_OK;
}

static const ls_kernel loss_scale_step_ref = {
    .name = "loss_scale_step_ref", .device = LS_DEVICE_CPU, .launch = launch};
static const ls_kernel *const kernels[] = {&loss_scale_step_ref, NULL};

const ls_op ls_op_loss_scale_step = {
    .name = "loss_scale_step",
    .min_in = 4,
    .max_in = 4,
    .attr_bytes = sizeof(ls_loss_scale_attr),
    .flags = LS_OP_UPDATE | LS_OP_KEEP_F32,
    .infer = infer,
    .print = print,
    .alias = alias,
    .kernels = kernels,
};

ls_value ls_loss_scale_step(ls_graph *graph, const ls_loss_scale_state *state, ls_value scale,
                            const ls_loss_scale_attr *attr, ls_value *skipped_out) {
    const ls_value in[] = {state->loss_scale, state->good_steps, state->skipped, scale};
    ls_value out[LS_MAX_OUT] = {LS_VALUE_NONE, LS_VALUE_NONE, LS_VALUE_NONE};
    ls_graph_node(graph, &ls_op_loss_scale_step, attr, in, 4, out);
    *skipped_out = out[2];
    return out[0];
}
