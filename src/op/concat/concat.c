#include "op/concat/concat.h"

#include "op/copy.h"
#include "op/elementwise.h"
#include "op/op.h"
#include "op/slice/slice.h"
#include <string.h>

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    const int64_t dim = ((const ls_concat_attr *)attr)->dim;
    char a[128], b[128];
    LS_TRY(ls_infer_dim("concat", &in[0], dim));
    ls_type y = in[0];
    for (int i = 1; i < n_in; i++) {
        int same = in[i].shape.n_dims == y.shape.n_dims && in[i].dtype == y.dtype;
        for (int d = 0; same && d < y.shape.n_dims; d++)
            same = d == dim || in[i].shape.dims[d] == y.shape.dims[d];
        if (!same)
            return LS_FAIL(LS_ERR_INVALID,
                           "op concat: inputs must be alike but for dim %lld, got %s %s and %s %s",
                           (long long)dim, ls_dtype_name(in[0].dtype),
                           ls_shape_print(&in[0].shape, a), ls_dtype_name(in[i].dtype),
                           ls_shape_print(&in[i].shape, b));
        y.shape.dims[dim] += in[i].shape.dims[dim];
    }
    *n_out = 1;
    out[0].dtype = y.dtype;
    return ls_shape_make(y.shape.n_dims, y.shape.dims, &out[0].shape);
}

static ls_status grad(ls_grad *g) {
    const int dim = (int)((const ls_concat_attr *)g->sig->attr)->dim;
    int64_t begin = 0;
    if (g->dout[0] == LS_VALUE_NONE) return LS_OK;
    for (int i = 0; i < g->sig->n_in; i++) {
        const int64_t end = begin + g->sig->in[i].shape.dims[dim];
        if (g->wants[i])
            g->din[i] = ls_grad_fit(g, i, ls_slice(g->graph, g->dout[0], dim, begin, end));
        begin = end;
    }
    return LS_OK;
}

static ls_status shard(const ls_sig *sig, const int *in_split, int *out_split) {
    return ls_shard_around(sig, (int)((const ls_concat_attr *)sig->attr)->dim, in_split, out_split);
}

static void print(const void *attr, ls_text *out) {
    ls_text_append(out, "dim=%lld", (long long)((const ls_concat_attr *)attr)->dim);
}

static ls_status launch_ref(const ls_launch *launch) {
    const int dim = (int)((const ls_concat_attr *)launch->sig->attr)->dim;
    const ls_dim_view y = ls_shape_around(&launch->out[0].shape, dim);
    const size_t size = ls_dtype_bytes(launch->out[0].dtype);
    int64_t begin = 0;
    for (int k = 0; k < launch->sig->n_in; k++) {
        const ls_dim_view x = ls_shape_around(&launch->in[k].shape, dim);
        for (int64_t i = 0; i < x.outer * x.n * x.inner; i++) {
            const int64_t outer = i / (x.n * x.inner), rest = i % (x.n * x.inner);
            memcpy((char *)launch->out[0].data +
                       (size_t)(outer * y.n * y.inner + begin * y.inner + rest) * size,
                   (const char *)launch->in[k].data + (size_t)i * size, size);
        }
        begin += x.n;
    }
    return LS_OK;
}

static ls_status launch_copy(const ls_launch *launch) {
    const int dim = (int)((const ls_concat_attr *)launch->sig->attr)->dim;
    const ls_dim_view y = ls_shape_around(&launch->out[0].shape, dim);
    const int64_t row = y.inner * (int64_t)ls_dtype_bytes(launch->out[0].dtype);
    char *at = launch->out[0].data;
    for (int k = 0; k < launch->sig->n_in; k++) {
        const int64_t bytes = launch->in[k].shape.dims[dim] * row;
        const ls_block_copy copy = {at,      launch->in[k].data, (size_t)bytes,
                                    y.outer, y.n * row,          bytes};
        LS_TRY(ls_copy_blocks(launch->pool, &copy));
        at += bytes;
    }
    return LS_OK;
}

static const ls_kernel concat_fwd_cpu_copy = {
    .name = "concat_fwd_cpu_copy", .device = LS_DEVICE_CPU, .launch = launch_copy};
static const ls_kernel concat_fwd_ref = {
    .name = "concat_fwd_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};
static const ls_kernel *const kernels[] = {&concat_fwd_cpu_copy, &concat_fwd_ref, NULL};

const ls_op ls_op_concat = {.name = "concat",
                            .min_in = 1,
                            .max_in = -1,
                            .attr_bytes = sizeof(ls_concat_attr),
                            .infer = infer,
                            .grad = grad,
                            .shard = shard,
                            .print = print,
                            .kernels = kernels};

ls_value ls_concat(ls_graph *graph, const ls_value *values, int n, int dim) {
    const ls_concat_attr attr = {dim};
    return ls_graph_node(graph, &ls_op_concat, &attr, values, n, NULL);
}
