#include "op/scale/scale.h"

#include "op/cpu_kernel.h"
#include "op/elementwise.h"
#include "op/op.h"

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    (void)attr;
    return ls_elementwise_infer("scale", n_in, in, n_out, out);
}

static ls_status grad(ls_grad *g) {
    const double factor = ((const ls_scale_attr *)g->sig->attr)->factor;
    if (g->wants[0] && g->dout[0] != LS_VALUE_NONE)
        g->din[0] = ls_grad_fit(g, 0, ls_scale(g->graph, g->dout[0], factor));
    return LS_OK;
}

static void cost(const ls_sig *sig, ls_cost *out) {
    ls_elementwise_cost(sig, 1, out);
}

static void print(const void *attr, ls_text *out) {
    ls_text_append(out, "factor=%.17g", ((const ls_scale_attr *)attr)->factor);
}

static void apply(const double *in, double *out, const void *attr) {
    out[0] = in[0] * ((const ls_scale_attr *)attr)->factor;
}

static ls_status launch_ref(const ls_launch *launch) {
    return ls_elementwise_ref(launch, apply);
}

LS_DECLARE_CPU_KERNELS(scale_fwd)
static const ls_kernel scale_fwd_ref = {
    .name = "scale_fwd_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};
static const ls_kernel *const kernels[] = {LS_CPU_KERNELS(scale_fwd), &scale_fwd_ref, NULL};

const ls_op ls_op_scale = {.name = "scale",
                           .min_in = 1,
                           .max_in = 1,
                           .attr_bytes = sizeof(ls_scale_attr),
                           .flags = LS_OP_ELEMENTWISE,
                           .infer = infer,
                           .grad = grad,
                           .shard = ls_shard_elementwise,
                           .cost = cost,
                           .print = print,
                           .may_overwrite = 1,
                           .kernels = kernels};

ls_value ls_scale(ls_graph *graph, ls_value x, double factor) {
    const ls_scale_attr attr = {factor};
    return ls_graph_node(graph, &ls_op_scale, &attr, &x, 1, NULL);
}
