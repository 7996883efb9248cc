#include "op/transpose/transpose.h"

#include "op/copy.h"
#include "op/elementwise.h"
#include "op/op.h"
#include "op/transpose/transpose_copy.h"
#include <string.h>

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    const ls_transpose_attr *a = attr;
    unsigned seen = 0;
    char shape[128];
    (void)n_in;
    for (int i = 0; i < a->n_dims && i < LS_MAX_DIMS; i++)
        if (a->perm[i] >= 0 && a->perm[i] < a->n_dims) seen |= 1u << a->perm[i];
    if (a->n_dims != in[0].shape.n_dims || seen != (1u << a->n_dims) - 1)
        return LS_FAIL(LS_ERR_INVALID, "op transpose: wants a permutation of the %d dims of %s",
                       in[0].shape.n_dims, ls_shape_print(&in[0].shape, shape));
    *n_out = 1;
    out[0] = in[0];
    for (int i = 0; i < a->n_dims; i++) out[0].shape.dims[i] = in[0].shape.dims[a->perm[i]];
    return LS_OK;
}

static ls_status grad(ls_grad *g) {
    const ls_transpose_attr *a = g->sig->attr;
    int back[LS_MAX_DIMS] = {0};
    for (int i = 0; i < a->n_dims; i++) back[a->perm[i]] = i;
    if (g->wants[0] && g->dout[0] != LS_VALUE_NONE)
        g->din[0] = ls_grad_fit(g, 0, ls_transpose(g->graph, g->dout[0], back));
    return LS_OK;
}

static ls_status shard(const ls_sig *sig, const int *in_split, int *out_split) {
    const ls_transpose_attr *a = sig->attr;
    out_split[0] = in_split[0];
    for (int i = 0; in_split[0] >= 0 && i < a->n_dims; i++)
        if (a->perm[i] == in_split[0]) out_split[0] = i;
    return LS_OK;
}

static void print(const void *attr, ls_text *out) {
    const ls_transpose_attr *a = attr;
    ls_text_append(out, "perm=");
    for (int i = 0; i < a->n_dims; i++) ls_text_append(out, i ? ",%d" : "%d", (int)a->perm[i]);
}

/* Element by element: y's index taken apart, x's index put together. */
static ls_status launch_ref(const ls_launch *launch) {
    const ls_transpose_attr *a = launch->sig->attr;
    const ls_shape *x = &launch->in[0].shape, *y = &launch->out[0].shape;
    const size_t size = ls_dtype_bytes(launch->in[0].dtype);
    const int64_t count = ls_shape_count(y);
    int64_t stride[LS_MAX_DIMS] = {0}, step = 1;
    for (int i = x->n_dims - 1; i >= 0; i--) {
        stride[i] = step;
        step *= x->dims[i];
    }
    for (int64_t to = 0; to < count; to++) {
        int64_t rest = to, from = 0;
        for (int i = y->n_dims - 1; i >= 0; i--) {
            from += rest % y->dims[i] * stride[a->perm[i]];
            rest /= y->dims[i];
        }
        memcpy((char *)launch->out[0].data + (size_t)to * size,
               (const char *)launch->in[0].data + (size_t)from * size, size);
    }
    return LS_OK;
}

static const ls_kernel transpose_fwd_cpu_tiles = {
    .name = "transpose_fwd_cpu_tiles", .device = LS_DEVICE_CPU, .launch = ls_transpose_tiles};
static const ls_kernel transpose_fwd_ref = {
    .name = "transpose_fwd_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};
static const ls_kernel *const kernels[] = {&transpose_fwd_cpu_tiles, &transpose_fwd_ref, NULL};

const ls_op ls_op_transpose = {.name = "transpose",
                               .min_in = 1,
                               .max_in = 1,
                               .attr_bytes = sizeof(ls_transpose_attr),
                               .infer = infer,
                               .grad = grad,
                               .shard = shard,
                               .print = print,
                               .kernels = kernels};

ls_value ls_transpose(ls_graph *graph, ls_value x, const int *perm) {
    ls_transpose_attr attr = {.n_dims = ls_graph_shape(graph, x).n_dims};
    for (int i = 0; i < attr.n_dims; i++) attr.perm[i] = perm[i];
    return ls_graph_node(graph, &ls_op_transpose, &attr, &x, 1, NULL);
}
