/* M rows (all leading dims), N columns. */
#include "op/softmax/softmax.h"

#include "op/copy.h"
#include "op/cpu_kernel.h"
#include "op/elementwise.h"
#include "op/op.h"
#include <math.h>

static ls_status infer_rows(const char *op, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    const int last = in[0].shape.n_dims - 1;
    char shape[128];
    LS_TRY(ls_elementwise_infer(op, n_in, in, n_out, out));
    if (last < 0 || in[0].shape.dims[last] == 0)
        return LS_FAIL(LS_ERR_INVALID, "op %s: wants a last dim of at least 1, got shape %s", op,
                       ls_shape_print(&in[0].shape, shape));
    return LS_OK;
}

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    (void)attr;
    return infer_rows("softmax", n_in, in, n_out, out);
}

static ls_status infer_grad(const void *attr, int n_in, const ls_type *in, int *n_out,
                            ls_type *out) {
    (void)attr;
    return infer_rows("softmax_grad", n_in, in, n_out, out);
}

static ls_status grad(ls_grad *g) {
    const ls_value in[2] = {g->out[0], g->dout[0]};
    if (g->wants[0] && g->dout[0] != LS_VALUE_NONE)
        g->din[0] = ls_graph_node(g->graph, &ls_op_softmax_grad, NULL, in, 2, NULL);
    return LS_OK;
}

static ls_status shard(const ls_sig *sig, const int *in_split, int *out_split) {
    LS_TRY(ls_elementwise_shard(sig, in_split, out_split));
    return ls_shard_around(sig, sig->in[0].shape.n_dims - 1, in_split, out_split);
}

static void cost(const ls_sig *sig, ls_cost *out) {
    ls_elementwise_cost(sig, 15, out);
}

static void row_ref(const ls_tensor *x, ls_tensor *y, int64_t at, int64_t n) {
    double largest = -INFINITY, sum = 0;
    for (int64_t j = 0; j < n; j++) {
        const double value = ls_tensor_get(x, at + j);
        if (value > largest || isnan(value)) largest = value;
        if (isnan(largest)) break;
    }
    for (int64_t j = 0; j < n; j++) sum += exp(ls_tensor_get(x, at + j) - largest);
    for (int64_t j = 0; j < n; j++)
        ls_tensor_set(y, at + j, exp(ls_tensor_get(x, at + j) - largest) / sum);
}

static ls_status launch_ref(const ls_launch *launch) {
    const ls_shape *x = &launch->in[0].shape;
    const int64_t n = x->dims[x->n_dims - 1], count = ls_shape_count(x);
    for (int64_t at = 0; at < count; at += n) row_ref(&launch->in[0], &launch->out[0], at, n);
    return LS_OK;
}

static ls_status launch_grad_ref(const ls_launch *launch) {
    const ls_shape *shape = &launch->in[0].shape;
    const ls_tensor *y = &launch->in[0], *dy = &launch->in[1];
    const int64_t n = shape->dims[shape->n_dims - 1], count = ls_shape_count(shape);
    for (int64_t at = 0; at < count; at += n) {
        double dot = 0;
        for (int64_t j = at; j < at + n; j++) dot += ls_tensor_get(y, j) * ls_tensor_get(dy, j);
        for (int64_t j = at; j < at + n; j++)
            ls_tensor_set(&launch->out[0], j, ls_tensor_get(y, j) * (ls_tensor_get(dy, j) - dot));
    }
    return LS_OK;
}

LS_DECLARE_CPU_KERNELS(softmax_fwd)
LS_DECLARE_CPU_KERNELS(softmax_bwd)
#ifdef LS_X86
extern const ls_kernel ls_kernel_softmax_fwd_avx512bf16, ls_kernel_softmax_bwd_avx512bf16;
#endif
static const ls_kernel softmax_fwd_ref = {
    .name = "softmax_fwd_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};
static const ls_kernel softmax_bwd_ref = {
    .name = "softmax_bwd_ref", .device = LS_DEVICE_CPU, .launch = launch_grad_ref};
static const ls_kernel *const kernels[] = {
#ifdef LS_X86
    &ls_kernel_softmax_fwd_avx512bf16,
#endif
    LS_CPU_KERNELS(softmax_fwd), &softmax_fwd_ref, NULL};
static const ls_kernel *const grad_kernels[] = {
#ifdef LS_X86
    &ls_kernel_softmax_bwd_avx512bf16,
#endif
    LS_CPU_KERNELS(softmax_bwd), &softmax_bwd_ref, NULL};

const ls_op ls_op_softmax = {.name = "softmax",
                             .min_in = 1,
                             .max_in = 1,
                             .infer = infer,
                             .grad = grad,
                             .shard = shard,
                             .cost = cost,
                             .kernels = kernels};

const ls_op ls_op_softmax_grad = {.name = "softmax_grad",
                                  .min_in = 2,
                                  .max_in = 2,
                                  .infer = infer_grad,
                                  .shard = shard,
                                  .cost = cost,
                                  .may_overwrite = 3,
                                  .kernels = grad_kernels};

ls_value ls_softmax(ls_graph *graph, ls_value x) {
    return ls_graph_node(graph, &ls_op_softmax, NULL, &x, 1, NULL);
}
