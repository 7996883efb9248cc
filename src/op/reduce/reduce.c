#include "op/reduce/reduce.h"

#include "op/broadcast/broadcast.h"
#include "op/copy.h"
#include "op/cpu_kernel.h"
#include "op/elementwise.h"
#include "op/op.h"
#include "op/reduce/reduce_cpu.h"
#include "op/reshape/reshape.h"
#include "op/scale/scale.h"
#include <math.h>

static const char *kind_name(int32_t kind) {
    static const char *const names[] = {"sum", "mean", "max"};
    return kind >= 0 && kind <= LS_REDUCE_MAX ? names[kind] : "unknown";
}

static ls_dim_view view_of(const ls_reduce_attr *a, const ls_shape *x) {
    if (a->dim >= 0) return ls_shape_around(x, a->dim);
    return (ls_dim_view){1, ls_shape_count(x), 1};
}

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    const ls_reduce_attr *a = attr;
    const ls_shape *x = &in[0].shape;
    (void)n_in;
    LS_TRY(ls_infer_float("reduce", "x", &in[0]));
    if (a->kind < 0 || a->kind > LS_REDUCE_MAX)
        return LS_FAIL(LS_ERR_INVALID, "op reduce: kind must be sum, mean or max, got %d",
                       (int)a->kind);
    if (a->dim != -1) LS_TRY(ls_infer_dim("reduce", &in[0], a->dim));
    if (a->kind != LS_REDUCE_SUM && view_of(a, x).n == 0)
        return LS_FAIL(LS_ERR_INVALID, "op reduce: the %s of no elements is not defined",
                       kind_name(a->kind));
    ls_shape y = {0};
    for (int i = 0; a->dim >= 0 && i < x->n_dims; i++)
        if (i != a->dim) y.dims[y.n_dims++] = x->dims[i];
    *n_out = 1;
    out[0] = (ls_type){in[0].dtype, y};
    return LS_OK;
}

static ls_status infer_max_grad(const void *attr, int n_in, const ls_type *in, int *n_out,
                                ls_type *out) {
    ls_type y;
    LS_TRY(infer(attr, 1, in, n_out, &y));
    for (int i = 1; i < n_in; i++) LS_TRY(ls_infer_same_shape("reduce_max_grad", &y, &in[i]));
    out[0] = in[0];
    return LS_OK;
}

static ls_status grad(ls_grad *g) {
    const ls_reduce_attr *a = g->sig->attr;
    const ls_type *x = &g->sig->in[0];
    const ls_dim_view v = view_of(a, &x->shape);
    if (!g->wants[0] || g->dout[0] == LS_VALUE_NONE) return LS_OK;
    if (a->kind == LS_REDUCE_MAX) {
        const ls_value in[3] = {g->in[0], g->out[0], g->dout[0]};
        g->din[0] = ls_graph_node(g->graph, &ls_op_reduce_max_grad, a, in, 3, NULL);
        return LS_OK;
    }
    ls_value dy = g->dout[0];
    if (a->kind == LS_REDUCE_MEAN) dy = ls_scale(g->graph, dy, 1.0 / (double)v.n);
    dy = ls_broadcast(g->graph, dy, a->dim < 0 ? 0 : a->dim, v.n);
    g->din[0] = ls_grad_fit(g, 0, ls_reshape(g->graph, dy, x->shape));
    return LS_OK;
}

static ls_status shard(const ls_sig *sig, const int *in_split, int *out_split) {
    const ls_reduce_attr *a = sig->attr;
    const int split = in_split[0];
    const int inside = split >= 0 && (a->dim < 0 || split == a->dim);
    if ((inside && a->kind != LS_REDUCE_SUM) ||
        (split == LS_SHARD_PARTIAL && a->kind == LS_REDUCE_MAX))
        return LS_FAIL(LS_ERR_UNSUPPORTED, "op reduce: the %s over a split dim needs communication",
                       kind_name(a->kind));
    out_split[0] = inside ? LS_SHARD_PARTIAL : split > a->dim && a->dim >= 0 ? split - 1 : split;
    return LS_OK;
}

static void cost(const ls_sig *sig, ls_cost *out) {
    ls_cost_default(sig, out);
    out->flops = (double)ls_type_count(&sig->in[0]);
}

static void print(const void *attr, ls_text *out) {
    const ls_reduce_attr *a = attr;
    ls_text_append(out, "kind=%s dim=%d", kind_name(a->kind), (int)a->dim);
}

static double reduce_line(const ls_tensor *x, const ls_dim_view *v, int64_t first, int32_t kind) {
    double sum = 0, largest = -INFINITY;
    for (int64_t k = 0; k < v->n; k++) {
        const double value = ls_tensor_get(x, first + k * v->inner);
        sum += value;
        if (value > largest || isnan(value)) largest = value;
        if (isnan(largest)) break;
    }
    if (kind == LS_REDUCE_MAX) return largest;
    if (isnan(largest)) return largest;
    return kind == LS_REDUCE_MEAN ? sum / (double)v->n : sum;
}

static ls_status launch_ref(const ls_launch *launch) {
    const ls_reduce_attr *a = launch->sig->attr;
    const ls_dim_view v = view_of(a, &launch->in[0].shape);
    for (int64_t o = 0; o < v.outer; o++)
        for (int64_t i = 0; i < v.inner; i++)
            ls_tensor_set(&launch->out[0], o * v.inner + i,
                          reduce_line(&launch->in[0], &v, o * v.n * v.inner + i, a->kind));
    return LS_OK;
}

/* dy at the first element of a line that equals the maximum (or is NaN where the maximum is), 0 elsewhere. */
static ls_status launch_max_grad_ref(const ls_launch *launch) {
    const ls_dim_view v = view_of(launch->sig->attr, &launch->in[0].shape);
    for (int64_t line = 0; line < v.outer * v.inner; line++) {
        const int64_t first = line / v.inner * v.n * v.inner + line % v.inner;
        const double y = ls_tensor_get(&launch->in[1], line);
        int found = 0;
        for (int64_t k = 0; k < v.n; k++) {
            const int64_t at = first + k * v.inner;
            const double x = ls_tensor_get(&launch->in[0], at);
            const int here = !found && (x == y || (isnan(x) && isnan(y)));
            ls_tensor_set(&launch->out[0], at, here ? ls_tensor_get(&launch->in[2], line) : 0);
            found |= here;
        }
    }
    return LS_OK;
}

size_t ls_reduce_workspace(const ls_sig *sig, int n_threads) {
    (void)n_threads;
    const ls_dim_view v = view_of(sig->attr, &sig->in[0].shape);
    return ls_reduce_partial_bytes(&v);
}

LS_DECLARE_CPU_KERNELS(reduce_fwd)
static const ls_kernel reduce_fwd_ref = {
    .name = "reduce_fwd_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};
static const ls_kernel reduce_max_bwd_ref = {
    .name = "reduce_max_bwd_ref", .device = LS_DEVICE_CPU, .launch = launch_max_grad_ref};
static const ls_kernel *const kernels[] = {LS_CPU_KERNELS(reduce_fwd), &reduce_fwd_ref, NULL};
static const ls_kernel *const max_grad_kernels[] = {&reduce_max_bwd_ref, NULL};

const ls_op ls_op_reduce = {.name = "reduce",
                            .min_in = 1,
                            .max_in = 1,
                            .attr_bytes = sizeof(ls_reduce_attr),
                            .infer = infer,
                            .grad = grad,
                            .shard = shard,
                            .cost = cost,
                            .print = print,
                            .kernels = kernels};

const ls_op ls_op_reduce_max_grad = {.name = "reduce_max_grad",
                                     .min_in = 3,
                                     .max_in = 3,
                                     .attr_bytes = sizeof(ls_reduce_attr),
                                     .infer = infer_max_grad,
                                     .print = print,
                                     .kernels = max_grad_kernels};

ls_value ls_reduce(ls_graph *graph, ls_value x, ls_reduce_kind kind, int dim) {
    const ls_reduce_attr attr = {kind, dim};
    return ls_graph_node(graph, &ls_op_reduce, &attr, &x, 1, NULL);
}
