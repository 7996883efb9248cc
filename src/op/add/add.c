#include "op/add/add.h"

#include "op/cpu_kernel.h"
#include "op/elementwise.h"
#include "op/op.h"

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    (void)attr;
    return ls_elementwise_infer("add", n_in, in, n_out, out);
}

static ls_status grad(ls_grad *g) {
    for (int i = 0; i < 2; i++)
        if (g->wants[i]) g->din[i] = ls_grad_fit(g, i, g->dout[0]);
    return LS_OK;
}

static void cost(const ls_sig *sig, ls_cost *out) {
    ls_elementwise_cost(sig, 1, out);
}

static void apply(const double *in, double *out, const void *attr) {
    (void)attr;
    out[0] = in[0] + in[1];
}

static ls_status launch_ref(const ls_launch *launch) {
    return ls_elementwise_ref(launch, apply);
}

LS_DECLARE_CPU_KERNELS(add_fwd)
static const ls_kernel add_fwd_ref = {
    .name = "add_fwd_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};
static const ls_kernel *const kernels[] = {LS_CPU_KERNELS(add_fwd), &add_fwd_ref, NULL};

/* Two partial sums add up to a partial sum. */
const ls_op ls_op_add = {.name = "add",
                         .min_in = 2,
                         .max_in = 2,
                         .flags = LS_OP_ELEMENTWISE,
                         .infer = infer,
                         .grad = grad,
                         .shard = ls_shard_elementwise,
                         .cost = cost,
                         .may_overwrite = 3,
                         .kernels = kernels};

ls_value ls_add(ls_graph *graph, ls_value a, ls_value b) {
    const ls_value in[2] = {a, b};
    return ls_graph_node(graph, &ls_op_add, NULL, in, 2, NULL);
}
