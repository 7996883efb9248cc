#include "op/gelu/gelu.h"

#include "op/cpu_kernel.h"
#include "op/elementwise.h"
#include "op/op.h"
#include <math.h>

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    (void)attr;
    return ls_elementwise_infer("gelu", n_in, in, n_out, out);
}

static ls_status infer_grad(const void *attr, int n_in, const ls_type *in, int *n_out,
                            ls_type *out) {
    (void)attr;
    return ls_elementwise_infer("gelu_grad", n_in, in, n_out, out);
}

static ls_status grad(ls_grad *g) {
    const ls_value in[2] = {g->in[0], g->dout[0]};
    if (g->wants[0] && g->dout[0] != LS_VALUE_NONE)
        g->din[0] = ls_graph_node(g->graph, &ls_op_gelu_grad, g->sig->attr, in, 2, NULL);
    return LS_OK;
}

static void cost(const ls_sig *sig, ls_cost *out) {
    ls_elementwise_cost(sig, 20, out);
}

static void print(const void *attr, ls_text *out) {
    ls_text_append(out, "form=%s", ((const ls_gelu_attr *)attr)->tanh_form ? "tanh" : "erf");
}

static const double sqrt_2_over_pi = 0.79788456080286535588;
static const double sqrt_half = 0.70710678118654752440;

static void apply(const double *in, double *out, const void *attr) {
    const double x = in[0];
    if (((const ls_gelu_attr *)attr)->tanh_form)
        out[0] = 0.5 * x * (1 + tanh(sqrt_2_over_pi * (x + 0.044715 * x * x * x)));
    else
        out[0] = 0.5 * x * (1 + erf(x * sqrt_half));
}

static void apply_grad(const double *in, double *out, const void *attr) {
    const double x = in[0], dy = in[1];
    if (((const ls_gelu_attr *)attr)->tanh_form) {
        const double t = tanh(sqrt_2_over_pi * (x + 0.044715 * x * x * x));
        const double du = sqrt_2_over_pi * (1 + 3 * 0.044715 * x * x);
        out[0] = dy * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * du);
    } else {
        const double density = 0.5 * sqrt_2_over_pi * exp(-0.5 * x * x);
        out[0] = dy * (0.5 * (1 + erf(x * sqrt_half)) + x * density);
    }
}

static ls_status launch_ref(const ls_launch *launch) {
    return ls_elementwise_ref(launch, apply);
}

static ls_status launch_grad_ref(const ls_launch *launch) {
    return ls_elementwise_ref(launch, apply_grad);
}

LS_DECLARE_CPU_KERNELS(gelu_fwd)
LS_DECLARE_CPU_KERNELS(gelu_bwd)
static const ls_kernel gelu_fwd_ref = {
    .name = "gelu_fwd_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};
static const ls_kernel gelu_bwd_ref = {
    .name = "gelu_bwd_ref", .device = LS_DEVICE_CPU, .launch = launch_grad_ref};
static const ls_kernel *const kernels[] = {LS_CPU_KERNELS(gelu_fwd), &gelu_fwd_ref, NULL};
static const ls_kernel *const grad_kernels[] = {LS_CPU_KERNELS(gelu_bwd), &gelu_bwd_ref, NULL};

const ls_op ls_op_gelu = {.name = "gelu",
                          .min_in = 1,
                          .max_in = 1,
                          .attr_bytes = sizeof(ls_gelu_attr),
                          .flags = LS_OP_ELEMENTWISE,
                          .infer = infer,
                          .grad = grad,
                          .shard = ls_elementwise_shard,
                          .cost = cost,
                          .print = print,
                          .may_overwrite = 1,
                          .kernels = kernels};

const ls_op ls_op_gelu_grad = {.name = "gelu_grad",
                               .min_in = 2,
                               .max_in = 2,
                               .attr_bytes = sizeof(ls_gelu_attr),
                               .flags = LS_OP_ELEMENTWISE,
                               .infer = infer_grad,
                               .shard = ls_elementwise_shard,
                               .cost = cost,
                               .print = print,
                               .may_overwrite = 3,
                               .kernels = grad_kernels};

ls_value ls_gelu(ls_graph *graph, ls_value x, int tanh_form) {
    const ls_gelu_attr attr = {tanh_form != 0};
    return ls_graph_node(graph, &ls_op_gelu, &attr, &x, 1, NULL);
}
