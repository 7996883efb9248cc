#include "op/slice/slice.h"

#include "op/copy.h"
#include "op/elementwise.h"
#include "op/op.h"
#include <string.h>

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    const ls_slice_attr *a = attr;
    (void)n_in;
    LS_TRY(ls_infer_dim("slice", &in[0], a->dim));
    const int64_t n = in[0].shape.dims[a->dim];
    if (a->begin < 0 || a->begin > a->end || a->end > n)
        return LS_FAIL(
            LS_ERR_INVALID,
            "op slice: wants 0 <= begin <= end <= %lld (dim %lld), got begin %lld, end %lld",
            (long long)n, (long long)a->dim, (long long)a->begin, (long long)a->end);
    *n_out = 1;
    out[0] = in[0];
    out[0].shape.dims[a->dim] = a->end - a->begin;
    return LS_OK;
}

static ls_status infer_grad(const void *attr, int n_in, const ls_type *in, int *n_out,
                            ls_type *out) {
    const ls_slice_attr *a = attr;
    (void)n_in;
    LS_TRY(ls_infer_dim("slice_grad", &in[0], a->dim));
    if (a->begin < 0 || a->begin + in[0].shape.dims[a->dim] > a->end)
        return LS_FAIL(LS_ERR_INVALID, "op slice_grad: %lld elements do not fit at %lld of %lld",
                       (long long)in[0].shape.dims[a->dim], (long long)a->begin, (long long)a->end);
    *n_out = 1;
    out[0] = in[0];
    out[0].shape.dims[a->dim] = a->end;
    return LS_OK;
}

static ls_status grad(ls_grad *g) {
    const ls_slice_attr *a = g->sig->attr;
    const ls_slice_attr back = {a->dim, a->begin, g->sig->in[0].shape.dims[a->dim]};
    if (g->wants[0] && g->dout[0] != LS_VALUE_NONE)
        g->din[0] = ls_grad_fit(
            g, 0, ls_graph_node(g->graph, &ls_op_slice_grad, &back, &g->dout[0], 1, NULL));
    return LS_OK;
}

static ls_status shard(const ls_sig *sig, const int *in_split, int *out_split) {
    return ls_shard_around(sig, (int)((const ls_slice_attr *)sig->attr)->dim, in_split, out_split);
}

static void cost(const ls_sig *sig, ls_cost *out) {
    const double moved = (double)ls_type_bytes(&sig->out[0]);
    *out = (ls_cost){0, moved, moved};
}

static void print(const void *attr, ls_text *out) {
    const ls_slice_attr *a = attr;
    ls_text_append(out, "dim=%lld begin=%lld end=%lld", (long long)a->dim, (long long)a->begin,
                   (long long)a->end);
}

/* Element by element; `whole` is the larger tensor, `back` copies into it. */
static void copy_elements(const ls_launch *launch, int back) {
    const ls_slice_attr *a = launch->sig->attr;
    const ls_tensor *part = back ? &launch->in[0] : &launch->out[0];
    const ls_tensor *whole = back ? &launch->out[0] : &launch->in[0];
    const ls_dim_view p = ls_shape_around(&part->shape, (int)a->dim);
    const ls_dim_view w = ls_shape_around(&whole->shape, (int)a->dim);
    const size_t size = ls_dtype_bytes(part->dtype);
    for (int64_t o = 0; o < p.outer; o++)
        for (int64_t k = 0; k < p.n; k++)
            for (int64_t i = 0; i < p.inner; i++) {
                char *in_part = (char *)part->data + ((o * p.n + k) * p.inner + i) * (int64_t)size;
                char *in_whole =
                    (char *)whole->data + ((o * w.n + a->begin + k) * w.inner + i) * (int64_t)size;
                memcpy(back ? in_whole : in_part, back ? in_part : in_whole, size);
            }
}

static ls_status launch_ref(const ls_launch *launch) {
    copy_elements(launch, 0);
    return LS_OK;
}

static ls_status launch_grad_ref(const ls_launch *launch) {
    memset(launch->out[0].data, 0, ls_tensor_bytes(&launch->out[0]));
    copy_elements(launch, 1);
    return LS_OK;
}

static ls_status launch_copy(const ls_launch *launch) {
    const ls_slice_attr *a = launch->sig->attr;
    const ls_dim_view x = ls_shape_around(&launch->in[0].shape, (int)a->dim);
    const int64_t row = x.inner * (int64_t)ls_dtype_bytes(launch->in[0].dtype);
    const int64_t bytes = (a->end - a->begin) * row;
    const ls_block_copy copy = {launch->out[0].data,
                                (const char *)launch->in[0].data + a->begin * row,
                                (size_t)bytes,
                                x.outer,
                                bytes,
                                x.n * row};
    return ls_copy_blocks(launch->pool, &copy);
}

/* The zeros before and after are written as blocks too: every byte once. */
static ls_status launch_grad_copy(const ls_launch *launch) {
    const ls_slice_attr *a = launch->sig->attr;
    const ls_dim_view dy = ls_shape_around(&launch->in[0].shape, (int)a->dim);
    const int64_t row = dy.inner * (int64_t)ls_dtype_bytes(launch->in[0].dtype);
    const int64_t whole = a->end * row, begin = a->begin * row, end = begin + dy.n * row;
    char *dx = launch->out[0].data;
    const ls_block_copy before = {dx, NULL, (size_t)begin, dy.outer, whole, 0};
    const ls_block_copy middle = {dx + begin, launch->in[0].data, (size_t)(dy.n * row), dy.outer,
                                  whole,      dy.n * row};
    const ls_block_copy after = {dx + end, NULL, (size_t)(whole - end), dy.outer, whole, 0};
    LS_TRY(ls_copy_blocks(launch->pool, &before));
    LS_TRY(ls_copy_blocks(launch->pool, &middle));
    return ls_copy_blocks(launch->pool, &after);
}

static const ls_kernel slice_fwd_cpu_copy = {
    .name = "slice_fwd_cpu_copy", .device = LS_DEVICE_CPU, .launch = launch_copy};
static const ls_kernel slice_fwd_ref = {
    .name = "slice_fwd_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};
static const ls_kernel slice_bwd_cpu_copy = {
    .name = "slice_bwd_cpu_copy", .device = LS_DEVICE_CPU, .launch = launch_grad_copy};
static const ls_kernel slice_bwd_ref = {
    .name = "slice_bwd_ref", .device = LS_DEVICE_CPU, .launch = launch_grad_ref};
static const ls_kernel *const kernels[] = {&slice_fwd_cpu_copy, &slice_fwd_ref, NULL};
static const ls_kernel *const grad_kernels[] = {&slice_bwd_cpu_copy, &slice_bwd_ref, NULL};

const ls_op ls_op_slice = {.name = "slice",
                           .min_in = 1,
                           .max_in = 1,
                           .attr_bytes = sizeof(ls_slice_attr),
                           .infer = infer,
                           .grad = grad,
                           .shard = shard,
                           .cost = cost,
                           .print = print,
                           .kernels = kernels};

const ls_op ls_op_slice_grad = {.name = "slice_grad",
                                .min_in = 1,
                                .max_in = 1,
                                .attr_bytes = sizeof(ls_slice_attr),
                                .infer = infer_grad,
                                .shard = shard,
                                .print = print,
                                .kernels = grad_kernels};

ls_value ls_slice(ls_graph *graph, ls_value x, int dim, int64_t begin, int64_t end) {
    const ls_slice_attr attr = {dim, begin, end};
    return ls_graph_node(graph, &ls_op_slice, &attr, &x, 1, NULL);
}
