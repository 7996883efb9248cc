#include "op/swiglu/swiglu.h"

#include "op/cpu_kernel.h"
#include "op/elementwise.h"
#include "op/op.h"
#include <math.h>

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    (void)attr;
    return ls_elementwise_infer("swiglu", n_in, in, n_out, out);
}

static ls_status infer_grad(const void *attr, int n_in, const ls_type *in, int *n_out,
                            ls_type *out) {
    (void)attr;
    LS_TRY(ls_elementwise_infer("swiglu_grad", n_in, in, n_out, out));
    *n_out = 2;
    out[1] = in[1];
    return LS_OK;
}

static ls_status grad(ls_grad *g) {
    const ls_value in[3] = {g->in[0], g->in[1], g->dout[0]};
    ls_value out[LS_MAX_OUT];
    if (g->dout[0] == LS_VALUE_NONE) return LS_OK;
    ls_graph_node(g->graph, &ls_op_swiglu_grad, NULL, in, 3, out);
    LS_TRY(ls_graph_status(g->graph));
    for (int i = 0; i < 2; i++)
        if (g->wants[i]) g->din[i] = out[i];
    return LS_OK;
}

static void cost(const ls_sig *sig, ls_cost *out) {
    ls_elementwise_cost(sig, 13, out);
}

static void apply(const double *in, double *out, const void *attr) {
    (void)attr;
    out[0] = in[0] / (1 + exp(-in[0])) * in[1];
}

static void apply_grad(const double *in, double *out, const void *attr) {
    (void)attr;
    const double gate = in[0], up = in[1], dy = in[2];
    const double s = 1 / (1 + exp(-gate));
    out[0] = dy * up * s * (1 + gate * (1 - s));
    out[1] = dy * gate * s;
}

static ls_status launch_ref(const ls_launch *launch) {
    return ls_elementwise_ref(launch, apply);
}

static ls_status launch_grad_ref(const ls_launch *launch) {
    return ls_elementwise_ref(launch, apply_grad);
}

LS_DECLARE_CPU_KERNELS(swiglu_fwd)
LS_DECLARE_CPU_KERNELS(swiglu_bwd)
#ifdef LS_X86
extern const ls_kernel ls_kernel_swiglu_fwd_avx512bf16, ls_kernel_swiglu_bwd_avx512bf16;
#endif
static const ls_kernel swiglu_fwd_ref = {
    .name = "swiglu_fwd_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};
static const ls_kernel swiglu_bwd_ref = {
    .name = "swiglu_bwd_ref", .device = LS_DEVICE_CPU, .launch = launch_grad_ref};
static const ls_kernel *const kernels[] = {
#ifdef LS_X86
    &ls_kernel_swiglu_fwd_avx512bf16,
#endif
    LS_CPU_KERNELS(swiglu_fwd), &swiglu_fwd_ref, NULL};
static const ls_kernel *const grad_kernels[] = {
#ifdef LS_X86
    &ls_kernel_swiglu_bwd_avx512bf16,
#endif
    LS_CPU_KERNELS(swiglu_bwd), &swiglu_bwd_ref, NULL};

const ls_op ls_op_swiglu = {.name = "swiglu",
                            .min_in = 2,
                            .max_in = 2,
                            .flags = LS_OP_ELEMENTWISE,
                            .infer = infer,
                            .grad = grad,
                            .shard = ls_elementwise_shard,
                            .cost = cost,
                            .may_overwrite = 3,
                            .kernels = kernels};

const ls_op ls_op_swiglu_grad = {.name = "swiglu_grad",
                                 .min_in = 3,
                                 .max_in = 3,
                                 .flags = LS_OP_ELEMENTWISE,
                                 .infer = infer_grad,
                                 .shard = ls_elementwise_shard,
                                 .cost = cost,
                                 .may_overwrite = 7,
                                 .kernels = grad_kernels};

ls_value ls_swiglu(ls_graph *graph, ls_value gate, ls_value up) {
    const ls_value in[2] = {gate, up};
    return ls_graph_node(graph, &ls_op_swiglu, NULL, in, 2, NULL);
}
