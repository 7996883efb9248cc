#include "op/batchnorm/ema_step.h"

#include <math.h>

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    const ls_ema_step_attr *a = attr;
    (void)n_in;
    LS_TRY(ls_infer_float("ema_step", "value", &in[1]));
    LS_TRY(ls_infer_same_shape("ema_step", &in[0], &in[1]));
    if (in[0].dtype != LS_DTYPE_F32 && in[0].dtype != LS_DTYPE_F64)
        return LS_FAIL(LS_ERR_INVALID, "op ema_step: state must be f32, got %s",
                       ls_dtype_name(in[0].dtype));
    if (!(a->momentum >= 0 && a->momentum <= 1) || !isfinite(a->scale))
        return LS_FAIL(
            LS_ERR_INVALID,
            "op ema_step: momentum must lie in [0, 1] and scale be finite, got %g and %g",
            a->momentum, a->scale);
    *n_out = 1;
    out[0] = in[0];
    return LS_OK;
}

static void cost(const ls_sig *sig, ls_cost *out) {
    ls_cost_default(sig, out);
    out->flops = 3.0 * (double)ls_type_count(&sig->in[0]);
}

static void print(const void *attr, ls_text *out) {
    const ls_ema_step_attr *a = attr;
    ls_text_append(out, "momentum=%.17g scale=%.17g", a->momentum, a->scale);
}

static int alias(const ls_sig *sig, int i) {
    (void)sig;
    return i == 0 ? 0 : -1;
}

/* A few numbers a channel: plain loops in double are the only kernel. */
static ls_status launch_ref(const ls_launch *l) {
    const ls_ema_step_attr *a = l->sig->attr;
    for (int64_t i = 0; i < ls_shape_count(&l->in[0].shape); i++)
        ls_tensor_set(&l->out[0], i,
                      (1 - a->momentum) * ls_tensor_get(&l->in[0], i) +
                          a->momentum * a->scale * ls_tensor_get(&l->in[1], i));
    return LS_OK;
}

static const ls_kernel ema_step_ref = {
    .name = "ema_step_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};
static const ls_kernel *const kernels[] = {&ema_step_ref, NULL};

const ls_op ls_op_ema_step = {
    .name = "ema_step",
    .min_in = 2,
    .max_in = 2,
    .attr_bytes = sizeof(ls_ema_step_attr),
    .flags = LS_OP_UPDATE,
    .infer = infer,
    .shard = ls_shard_elementwise,
    .cost = cost,
    .print = print,
    .alias = alias,
    .kernels = kernels,
};

ls_value ls_ema_step(ls_graph *graph, ls_value state, ls_value value, double momentum,
                     double scale) {
    const ls_ema_step_attr attr = {momentum, scale};
    const ls_value in[2] = {state, value};
    return ls_graph_node(graph, &ls_op_ema_step, &attr, in, 2, NULL);
}
