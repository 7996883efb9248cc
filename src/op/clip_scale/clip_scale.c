/* The factor on all gradients of a step.
 *     base = static_count / count / loss_scale        true_norm = base * norm
 *     scale = base * min(1, max_norm / (true_norm + 1e-6))
 * scale is -1, "skip this step", when true_norm is not finite (overflow, NaN) or nothing was counted. Scalars only: the
 * reference kernel is the kernel. */
#include "op/clip_scale/clip_scale.h"

#include <math.h>

#include "op/optim_step.h"

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    const ls_clip_scale_attr *a = attr;
    static const char *const names[] = {"norm", "count or loss scale", "loss scale"};
    if (n_in != 1 + (a->has_count != 0) + (a->has_loss_scale != 0))
        return LS_FAIL(LS_ERR_INVALID,
                       "op clip_scale: has_count=%d has_loss_scale=%d but %d inputs", a->has_count,
                       a->has_loss_scale, n_in);
    if (!(a->max_norm >= 0) || !(a->static_count > 0) || isinf(a->static_count))
        return LS_FAIL(LS_ERR_INVALID,
                       "op clip_scale: max_norm must be 0 (off) or positive and static_count "
                       "positive, got %g and %g",
                       a->max_norm, a->static_count);
    for (int i = 0; i < n_in; i++) LS_TRY(ls_step_infer_scalar("clip_scale", names[i], &in[i]));
    *n_out = 2;
    out[0] = out[1] = (ls_type){LS_DTYPE_F32, {0}};
    return LS_OK;
}

static void print(const void *attr, ls_text *out) {
    const ls_clip_scale_attr *a = attr;
    ls_text_append(out, "max_norm=%.17g static_count=%.17g has_count=%d has_loss_scale=%d",
                   a->max_norm, a->static_count, a->has_count, a->has_loss_scale);
}

static ls_status launch(const ls_launch *l) {
    const ls_clip_scale_attr *a = l->sig->attr;
    double base = 1;
    if (a->has_count) base = a->static_count / ls_tensor_get(&l->in[1], 0);
    if (a->has_loss_scale) base /= ls_tensor_get(&l->in[1 + (a->has_count != 0)], 0);
    const double norm = base * ls_tensor_get(&l->in[0], 0);
    double scale = base;
    if (a->max_norm > 0) scale *= fmin(1, a->max_norm / (norm + 1e-6));
    const int good = isfinite(norm) && isfinite(base) && base >= 0;
    ls_tensor_set(&l->out[0], 0, good ? scale : -1);
    ls_tensor_set(&l->out[1], 0, norm);
    return LS_OK;
}

static const ls_kernel clip_scale_ref = {
    .name = "clip_scale_ref", .device = LS_DEVICE_CPU, .launch = launch};
static const ls_kernel *const kernels[] = {&clip_scale_ref, NULL};

const ls_op ls_op_clip_scale = {
    .name = "clip_scale",
    .min_in = 1,
    .max_in = 3,
    .attr_bytes = sizeof(ls_clip_scale_attr),
    .flags = LS_OP_KEEP_F32,
    .infer = infer,
    .print = print,
    .kernels = kernels,
};

ls_value ls_clip_scale(ls_graph *graph, const ls_value in[3], double max_norm, double static_count,
                       ls_value *true_norm_out) {
    const ls_clip_scale_attr attr = {max_norm, static_count, in[1] != LS_VALUE_NONE,
                                     in[2] != LS_VALUE_NONE};
    ls_value used[3], out[LS_MAX_OUT] = {LS_VALUE_NONE, LS_VALUE_NONE};
    int n_in = 0;
    for (int i = 0; i < 3; i++)
        if (i == 0 || in[i] != LS_VALUE_NONE) used[n_in++] = in[i];
    ls_graph_node(graph, &ls_op_clip_scale, &attr, used, n_in, out);
    *true_norm_out = out[1];
    return out[0];
}
