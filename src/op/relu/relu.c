#include "op/relu/relu.h"

#include "op/cpu_kernel.h"
#include "op/elementwise.h"
#include "op/op.h"

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    (void)attr;
    return ls_elementwise_infer("relu", n_in, in, n_out, out);
}

static ls_status infer_grad(const void *attr, int n_in, const ls_type *in, int *n_out,
                            ls_type *out) {
    (void)attr;
    return ls_elementwise_infer("relu_grad", n_in, in, n_out, out);
}

static ls_status grad(ls_grad *g) {
    /* y is 0 exactly where x <= 0, and somebody keeps y anyway. */
    const ls_value in[2] = {g->out[0], g->dout[0]};
    if (g->wants[0] && g->dout[0] != LS_VALUE_NONE)
        g->din[0] = ls_graph_node(g->graph, &ls_op_relu_grad, NULL, in, 2, NULL);
    return LS_OK;
}

static void cost(const ls_sig *sig, ls_cost *out) {
    ls_elementwise_cost(sig, 1, out);
}

static void apply(const double *in, double *out, const void *attr) {
    (void)attr;
    out[0] = in[0] <= 0 ? 0 : in[0];
}

static void apply_grad(const double *in, double *out, const void *attr) {
    (void)attr;
    out[0] = in[0] <= 0 ? 0 : in[1];
}

static ls_status launch_ref(const ls_launch *launch) {
    return ls_elementwise_ref(launch, apply);
}

static ls_status launch_grad_ref(const ls_launch *launch) {
    return ls_elementwise_ref(launch, apply_grad);
}

LS_DECLARE_CPU_KERNELS(relu_fwd)
LS_DECLARE_CPU_KERNELS(relu_bwd)
static const ls_kernel relu_fwd_ref = {
    .name = "relu_fwd_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};
static const ls_kernel relu_bwd_ref = {
    .name = "relu_bwd_ref", .device = LS_DEVICE_CPU, .launch = launch_grad_ref};
static const ls_kernel *const kernels[] = {LS_CPU_KERNELS(relu_fwd), &relu_fwd_ref, NULL};
static const ls_kernel *const grad_kernels[] = {LS_CPU_KERNELS(relu_bwd), &relu_bwd_ref, NULL};

const ls_op ls_op_relu = {.name = "relu",
                          .min_in = 1,
                          .max_in = 1,

                          .flags = LS_OP_ELEMENTWISE,
                          .infer = infer,
                          .grad = grad,
                          .shard = ls_elementwise_shard,
                          .cost = cost,

                          .may_overwrite = 1,
                          .kernels = kernels};

const ls_op ls_op_relu_grad = {.name = "relu_grad",
                               .min_in = 2,
                               .max_in = 2,

                               .flags = LS_OP_ELEMENTWISE,
                               .infer = infer_grad,
                               .shard = ls_elementwise_shard,
                               .cost = cost,

                               .may_overwrite = 3,
                               .kernels = grad_kernels};

ls_value ls_relu(ls_graph *graph, ls_value x) {
    return ls_graph_node(graph, &ls_op_relu, NULL, &x, 1, NULL);
}
