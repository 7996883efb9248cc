#include "op/broadcast/broadcast.h"

#include "op/copy.h"
#include "op/elementwise.h"
#include "op/op.h"
#include "op/reduce/reduce.h"
#include <string.h>

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    const ls_broadcast_attr *a = attr;
    const ls_shape *x = &in[0].shape;
    char text[128];
    (void)n_in;
    if (a->dim < 0 || a->dim > x->n_dims || a->n < 0 || x->n_dims == LS_MAX_DIMS)
        return LS_FAIL(
            LS_ERR_INVALID,
            "op broadcast: wants a dim from 0 to %d, at most %d dims in all and n >= 0, got "
            "dim %lld, n %lld for shape %s",
            x->n_dims, LS_MAX_DIMS, (long long)a->dim, (long long)a->n, ls_shape_print(x, text));
    int64_t dims[LS_MAX_DIMS];
    for (int i = 0; i <= x->n_dims; i++)
        dims[i] = i < a->dim ? x->dims[i] : i == a->dim ? a->n : x->dims[i - 1];
    *n_out = 1;
    out[0].dtype = in[0].dtype;
    return ls_shape_make(x->n_dims + 1, dims, &out[0].shape);
}

static ls_status grad(ls_grad *g) {
    const ls_broadcast_attr *a = g->sig->attr;
    if (g->wants[0] && g->dout[0] != LS_VALUE_NONE)
        g->din[0] = ls_grad_fit(g, 0, ls_reduce(g->graph, g->dout[0], LS_REDUCE_SUM, (int)a->dim));
    return LS_OK;
}

static ls_status shard(const ls_sig *sig, const int *in_split, int *out_split) {
    const ls_broadcast_attr *a = sig->attr;
    out_split[0] = in_split[0] >= a->dim ? in_split[0] + 1 : in_split[0];
    return LS_OK;
}

static void print(const void *attr, ls_text *out) {
    const ls_broadcast_attr *a = attr;
    ls_text_append(out, "dim=%lld n=%lld", (long long)a->dim, (long long)a->n);
}

static ls_dim_view view_of(const ls_sig *sig) {
    return ls_shape_around(&sig->out[0].shape, (int)((const ls_broadcast_attr *)sig->attr)->dim);
}

static ls_status launch_ref(const ls_launch *launch) {
    const ls_dim_view v = view_of(launch->sig);
    const int64_t size = (int64_t)ls_dtype_bytes(launch->in[0].dtype);
    const char *x = launch->in[0].data;
    char *y = launch->out[0].data;
    for (int64_t o = 0; o < v.outer; o++)
        for (int64_t k = 0; k < v.n; k++)
            for (int64_t i = 0; i < v.inner; i++)
                memcpy(y + ((o * v.n + k) * v.inner + i) * size, x + (o * v.inner + i) * size,
                       (size_t)size);
    return LS_OK;
}

/* Fills row o with one element, doubling what is there. */
static void fill_row(char *row, const char *element, size_t size, size_t bytes) {
    memcpy(row, element, size);
    for (size_t done = size; done < bytes; done *= 2)
        memcpy(row + done, row, done < bytes - done ? done : bytes - done);
}

static ls_status launch_copy(const ls_launch *launch) {
    const ls_dim_view v = view_of(launch->sig);
    const size_t size = ls_dtype_bytes(launch->in[0].dtype);
    const char *x = launch->in[0].data;
    char *y = launch->out[0].data;
    if (v.n == 0 || v.inner == 0) return LS_OK;
    for (int64_t o = 0; o < v.outer; o++) {
        const size_t row = (size_t)v.inner * size;
        if (v.inner == 1) {
            fill_row(y + o * v.n * (int64_t)size, x + o * (int64_t)size, size, (size_t)v.n * size);
            continue;
        }
        const ls_block_copy copy = {
            y + o * v.n * (int64_t)row, x + o * (int64_t)row, row, v.n, (int64_t)row, 0};
        LS_TRY(ls_copy_blocks(launch->pool, &copy));
    }
    return LS_OK;
}

static const ls_kernel broadcast_fwd_cpu_copy = {
    .name = "broadcast_fwd_cpu_copy", .device = LS_DEVICE_CPU, .launch = launch_copy};
static const ls_kernel broadcast_fwd_ref = {
    .name = "broadcast_fwd_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};
static const ls_kernel *const kernels[] = {&broadcast_fwd_cpu_copy, &broadcast_fwd_ref, NULL};

const ls_op ls_op_broadcast = {.name = "broadcast",
                               .min_in = 1,
                               .max_in = 1,
                               .attr_bytes = sizeof(ls_broadcast_attr),
                               .infer = infer,
                               .grad = grad,
                               .shard = shard,
                               .print = print,
                               .kernels = kernels};

ls_value ls_broadcast(ls_graph *graph, ls_value x, int dim, int64_t n) {
    const ls_broadcast_attr attr = {n, dim};
    return ls_graph_node(graph, &ls_op_broadcast, &attr, &x, 1, NULL);
}
