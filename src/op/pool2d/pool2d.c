/* pool2d and pool2d_grad: types, gradient, sharding, reference kernels (in f64), builder. */
#include "op/cpu_kernel.h"
#include "op/op.h"
#include "op/pool2d/pool2d_shape.h"
#include <math.h>

static ls_status check_attr(const ls_pool2d_attr *attr) {
    if (attr->window < 1 || attr->stride < 1)
        return LS_FAIL(LS_ERR_INVALID,
                       "op pool2d: window and stride must be at least 1, got %d and %d",
                       attr->window, attr->stride);
    if (attr->padding < 0 || 2 * attr->padding > attr->window)
        return LS_FAIL(LS_ERR_INVALID,
                       "op pool2d: padding must be 0 to half the window of %d, got %d",
                       attr->window, attr->padding);
    return LS_OK;
}

static ls_status infer_forward(const ls_pool2d_attr *attr, const ls_type *x, ls_type *y) {
    char shape[128];
    LS_TRY(ls_infer_float("pool2d", "x", x));
    LS_TRY(ls_infer_dims("pool2d", "x", x, 4));
    LS_TRY(check_attr(attr));
    *y = *x;
    for (int i = 0; i < 2; i++) {
        const int64_t padded = x->shape.dims[i] + 2 * (int64_t)attr->padding;
        if (padded < attr->window)
            return LS_FAIL(LS_ERR_INVALID,
                           "op pool2d: a window of %d does not fit x %s with padding %d",
                           attr->window, ls_shape_print(&x->shape, shape), attr->padding);
        y->shape.dims[i] = (padded - attr->window) / attr->stride + 1;
        /* With padding of half a window the last one may lie wholly outside. */
        if ((y->shape.dims[i] - 1) * attr->stride - attr->padding >= x->shape.dims[i])
            y->shape.dims[i]--;
    }
    return LS_OK;
}

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    (void)n_in;
    LS_TRY(infer_forward(attr, &in[0], &out[0]));
    *n_out = 1;
    return LS_OK;
}

static ls_status infer_grad(const void *opaque, int n_in, const ls_type *in, int *n_out,
                            ls_type *out) {
    const ls_pool2d_attr *attr = opaque;
    if (n_in != 1 + attr->is_max)
        return LS_FAIL(LS_ERR_INVALID, "op pool2d_grad: takes dy%s, got %d inputs",
                       attr->is_max ? " and x" : "", n_in);
    LS_TRY(ls_infer_dims("pool2d_grad", "dy", &in[0], 4));
    ls_type y;
    out[0] = in[0];
    out[0].shape.dims[0] = attr->height;
    out[0].shape.dims[1] = attr->width;
    LS_TRY(infer_forward(attr, &out[0], &y));
    LS_TRY(ls_infer_same_shape("pool2d_grad", &in[0], &y));
    if (attr->is_max) LS_TRY(ls_infer_same_shape("pool2d_grad", &in[1], &out[0]));
    *n_out = 1;
    return LS_OK;
}

static ls_status grad(ls_grad *g) {
    ls_pool2d_attr attr = *(const ls_pool2d_attr *)g->sig->attr;
    const ls_value in[2] = {g->dout[0], g->in[0]};
    if (!g->wants[0] || g->dout[0] == LS_VALUE_NONE) return LS_OK;
    attr.height = g->sig->in[0].shape.dims[0];
    attr.width = g->sig->in[0].shape.dims[1];
    g->din[0] = ls_graph_node(g->graph, &ls_op_pool2d_grad, &attr, in, 1 + attr.is_max, NULL);
    return ls_graph_status(g->graph);
}

/* Batch and channels can be split; the average's gradient passes partial sums. */
static ls_status shard(const ls_sig *sig, const int *in_split, int *out_split) {
    const ls_pool2d_attr *attr = sig->attr;
    const int split = in_split[0];
    const int ok = split == LS_SHARD_REPLICATED || split == 2 || split == 3 ||
                   (split == LS_SHARD_PARTIAL && !attr->is_max);
    if (!ok || (sig->n_in > 1 && in_split[1] != split))
        return LS_FAIL(LS_ERR_UNSUPPORTED, "op %s: only batch or channels can be split, alike",
                       sig->op->name);
    out_split[0] = split;
    return LS_OK;
}

static void cost(const ls_sig *sig, ls_cost *out) {
    const ls_pool2d_attr *attr = sig->attr;
    const int64_t n = attr->height ? ls_type_count(&sig->in[0]) : ls_type_count(&sig->out[0]);
    ls_cost_default(sig, out);
    out->flops = (double)n * attr->window * attr->window;
}

static void print(const void *opaque, ls_text *out) {
    const ls_pool2d_attr *attr = opaque;
    ls_text_append(out, "kind=%s window=%d stride=%d padding=%d", attr->is_max ? "max" : "mean",
                   attr->window, attr->stride, attr->padding);
    if (attr->height)
        ls_text_append(out, " height=%lld width=%lld", (long long)attr->height,
                       (long long)attr->width);
}

/* --- reference --------------------------------------------------------------------------------------------------- */

/* Pixel of the first largest value k in a window; a NaN is larger than anything. */
static int64_t find_largest(const pool_shape *v, const ls_tensor *x, const pool_box *box,
                            int64_t k) {
    int64_t best = box->at[0] * v->w + box->at[2];
    for (int64_t i = box->at[0]; i < box->at[1]; i++)
        for (int64_t j = box->at[2]; j < box->at[3]; j++) {
            const double a = ls_tensor_get(x, (i * v->w + j) * v->n + k);
            const double b = ls_tensor_get(x, best * v->n + k);
            if (a > b || (isnan(a) && !isnan(b))) best = i * v->w + j;
        }
    return best;
}

static ls_status launch_ref(const ls_launch *launch) {
    const ls_sig *sig = launch->sig;
    const pool_shape v = shape_of(sig->attr, &sig->in[0].shape, &sig->out[0].shape);
    const ls_tensor *x = &launch->in[0];
    for (int64_t at = 0; at < v.p * v.q * v.n; at++) {
        const int64_t k = at % v.n, pixel = at / v.n;
        const pool_box box = window_of(&v, pixel / v.q, pixel % v.q);
        double sum = 0;
        for (int64_t i = box.at[0]; !v.is_max && i < box.at[1]; i++)
            for (int64_t j = box.at[2]; j < box.at[3]; j++)
                sum += ls_tensor_get(x, (i * v.w + j) * v.n + k);
        ls_tensor_set(&launch->out[0], at,
                      v.is_max ? ls_tensor_get(x, find_largest(&v, x, &box, k) * v.n + k)
                               : sum / (double)(v.window * v.window));
    }
    return LS_OK;
}

static ls_status launch_grad_ref(const ls_launch *launch) {
    const ls_sig *sig = launch->sig;
    const pool_shape v = shape_of(sig->attr, &sig->out[0].shape, &sig->in[0].shape);
    for (int64_t at = 0; at < v.h * v.w * v.n; at++) {
        const int64_t k = at % v.n, pixel = at / v.n;
        const pool_box outputs = outputs_of(&v, pixel / v.w, pixel % v.w);
        double sum = 0;
        for (int64_t p = outputs.at[0]; p < outputs.at[1]; p++)
            for (int64_t q = outputs.at[2]; q < outputs.at[3]; q++) {
                const double dy = ls_tensor_get(&launch->in[0], (p * v.q + q) * v.n + k);
                const pool_box box = window_of(&v, p, q);
                if (!v.is_max)
                    sum += dy / (double)(v.window * v.window);
                else if (find_largest(&v, &launch->in[1], &box, k) == pixel)
                    sum += dy;
            }
        ls_tensor_set(&launch->out[0], at, sum);
    }
    return LS_OK;
}

LS_DECLARE_CPU_KERNELS(pool2d_fwd)
LS_DECLARE_CPU_KERNELS(pool2d_bwd)
static const ls_kernel pool2d_fwd_ref = {
    .name = "pool2d_fwd_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};
static const ls_kernel pool2d_bwd_ref = {
    .name = "pool2d_bwd_ref", .device = LS_DEVICE_CPU, .launch = launch_grad_ref};
static const ls_kernel *const kernels[] = {LS_CPU_KERNELS(pool2d_fwd), &pool2d_fwd_ref, NULL};
static const ls_kernel *const grad_kernels[] = {LS_CPU_KERNELS(pool2d_bwd), &pool2d_bwd_ref, NULL};

const ls_op ls_op_pool2d = {.name = "pool2d",
                            .min_in = 1,
                            .max_in = 1,
                            .attr_bytes = sizeof(ls_pool2d_attr),
                            .infer = infer,
                            .grad = grad,
                            .shard = shard,
                            .cost = cost,
                            .print = print,
                            .kernels = kernels};

const ls_op ls_op_pool2d_grad = {.name = "pool2d_grad",
                                 .min_in = 1,
                                 .max_in = 2,
                                 .attr_bytes = sizeof(ls_pool2d_attr),
                                 .infer = infer_grad,
                                 .shard = shard,
                                 .cost = cost,
                                 .print = print,
                                 .kernels = grad_kernels};

ls_value ls_pool2d(ls_graph *graph, ls_value x, int is_max, int window, int stride, int padding) {
    const ls_pool2d_attr attr = {is_max != 0, window, stride, padding, 0, 0};
    return ls_graph_node(graph, &ls_op_pool2d, &attr, &x, 1, NULL);
}
