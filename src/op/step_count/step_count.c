/* t = t + 1, in place, unless `scale` is negative or NaN (a skipped step). f32: exact up to 2^24 steps, where it stays; bias
 * corrections are 1 long before. Scalars only: the reference kernel is the kernel. */
#include "op/step_count/step_count.h"

#include "op/optim_step.h"

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    (void)attr;
    (void)n_in;
    LS_TRY(ls_step_infer_scalar("step_count", "count", &in[0]));
    LS_TRY(ls_step_infer_scalar("step_count", "scale", &in[1]));
    *n_out = 1;
    out[0] = in[0];
    return LS_OK;
}

static int alias(const ls_sig *sig, int i) {
    (void)sig;
    return i;
}

static ls_status launch(const ls_launch *l) {
    const double count = ls_tensor_get(&l->in[0], 0);
    const int applied = ls_tensor_get(&l->in[1], 0) >= 0;
    ls_tensor_set(&l->out[0], 0, count + applied);
    return LS_OK;
}

static const ls_kernel step_count_ref = {
    .name = "step_count_ref", .device = LS_DEVICE_CPU, .launch = launch};
static const ls_kernel *const kernels[] = {&step_count_ref, NULL};

const ls_op ls_op_step_count = {
    .name = "step_count",
    .min_in = 2,
    .max_in = 2,
    .flags = LS_OP_UPDATE | LS_OP_KEEP_F32,
    .infer = infer,
    .alias = alias,
    .kernels = kernels,
};

ls_value ls_step_count(ls_graph *graph, ls_value state, ls_value scale) {
    const ls_value in[] = {state, scale};
    return ls_graph_node(graph, &ls_op_step_count, NULL, in, 2, NULL);
}
