/* conv2d and its gradient ops: types, gradient, sharding, cost, builder. */
#include "op/conv2d/conv2d.h"
#include "op/cast/cast.h"
#include "op/conv2d/conv2d_shape.h"
#include "op/cpu_kernel.h"
#include "op/op.h"

#define DECLARE_KERNELS(kernel)                      \
    LS_DECLARE_CPU_KERNELS(kernel)                   \
    extern const ls_kernel ls_kernel_##kernel##_ref; \
    extern const ls_kernel ls_kernel_##kernel##_amx; \
    extern const ls_kernel ls_kernel_##kernel##_avx512bf16;
DECLARE_KERNELS(conv2d_fwd)
DECLARE_KERNELS(conv2d_bwd_input)
DECLARE_KERNELS(conv2d_bwd_weight)
#ifdef LS_X86
#define PAIRS(kernel) &ls_kernel_##kernel##_amx, &ls_kernel_##kernel##_avx512bf16,
#else
#define PAIRS(kernel)
#endif
#define KERNELS(kernel) \
    { PAIRS(kernel) LS_CPU_KERNELS(kernel), &ls_kernel_##kernel##_ref, NULL }
static const ls_kernel *const fwd_kernels[] = KERNELS(conv2d_fwd);
static const ls_kernel *const input_kernels[] = KERNELS(conv2d_bwd_input);
static const ls_kernel *const weight_kernels[] = KERNELS(conv2d_bwd_weight);

/* --- shapes ------------------------------------------------------------------------------------------------------ */

static ls_conv_shape make_shape(const int64_t *x, const int64_t *w, const int64_t *y, int stride,
                                int padding) {
    return (ls_conv_shape){.b = y[2],
                           .c = x[3],
                           .h = x[0],
                           .w = x[1],
                           .o = y[3],
                           .r = w[2],
                           .s = w[3],
                           .p = y[0],
                           .q = y[1],
                           .stride = stride,
                           .padding = padding};
}

ls_conv_shape ls_conv_shape_forward(const ls_sig *sig) {
    const ls_conv2d_attr *attr = sig->attr;
    return make_shape(sig->in[0].shape.dims, sig->in[1].shape.dims, sig->out[0].shape.dims,
                      attr->stride, attr->padding);
}

ls_conv_shape ls_conv_shape_grad_input(const ls_sig *sig) {
    const ls_conv2d_grad_input_attr *attr = sig->attr;
    return make_shape(sig->out[0].shape.dims, sig->in[1].shape.dims, sig->in[0].shape.dims,
                      attr->stride, attr->padding);
}

ls_conv_shape ls_conv_shape_grad_weight(const ls_sig *sig) {
    const ls_conv2d_grad_weight_attr *attr = sig->attr;
    return make_shape(sig->in[1].shape.dims, sig->out[0].shape.dims, sig->in[0].shape.dims,
                      attr->stride, attr->padding);
}

static ls_shape shape4(int64_t a, int64_t b, int64_t c, int64_t d) {
    return (ls_shape){.n_dims = 4, .dims = {a, b, c, d}};
}

/* --- types ------------------------------------------------------------------------------------------------------- */

static ls_status check_operand(const char *op, const char *operand, const ls_type *type) {
    LS_TRY(ls_infer_float(op, operand, type));
    return ls_infer_dims(op, operand, type, 4);
}

static ls_status check_attr(const char *op, int stride, int padding) {
    if (stride >= 1 && padding >= 0) return LS_OK;
    return LS_FAIL(LS_ERR_INVALID,
                   "op %s: stride must be at least 1 and padding at least 0, got %d and %d", op,
                   stride, padding);
}

/* Size of y along one dim; fails when no window fits. */
static ls_status window_count(const char *op, int64_t size, int64_t window, int stride, int padding,
                              int64_t *out) {
    if (window < 1 || size + 2 * (int64_t)padding < window)
        return LS_FAIL(LS_ERR_INVALID,
                       "op %s: a window of %lld does not fit %lld pixels with padding %d", op,
                       (long long)window, (long long)size, padding);
    *out = (size + 2 * (int64_t)padding - window) / stride + 1;
    return LS_OK;
}

static ls_status infer(const void *opaque, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    const ls_conv2d_attr *attr = opaque;
    const int64_t *x = in[0].shape.dims, *w = in[1].shape.dims;
    char left[128], right[128];
    int64_t p, q;
    LS_TRY(check_operand("conv2d", "x", &in[0]));
    LS_TRY(check_operand("conv2d", "w", &in[1]));
    LS_TRY(check_attr("conv2d", attr->stride, attr->padding));
    if (x[3] != w[1])
        return LS_FAIL(LS_ERR_INVALID, "op conv2d: x %s has %lld channels, w %s takes %lld",
                       ls_shape_print(&in[0].shape, left), (long long)x[3],
                       ls_shape_print(&in[1].shape, right), (long long)w[1]);
    LS_TRY(window_count("conv2d", x[0], w[2], attr->stride, attr->padding, &p));
    LS_TRY(window_count("conv2d", x[1], w[3], attr->stride, attr->padding, &q));
    if (n_in > 2) {
        LS_TRY(ls_infer_float("conv2d", "bias", &in[2]));
        if (in[2].shape.n_dims != 1 || in[2].shape.dims[0] != w[0])
            return LS_FAIL(LS_ERR_INVALID, "op conv2d: bias must be [%lld], got %s",
                           (long long)w[0], ls_shape_print(&in[2].shape, left));
    }
    out[0] = (ls_type){in[0].dtype, shape4(p, q, x[2], w[0])};
    *n_out = 1;
    return LS_OK;
}

static ls_status check_result(const char *op, const ls_conv_shape *v) {
    int64_t p, q;
    LS_TRY(window_count(op, v->h, v->r, (int)v->stride, (int)v->padding, &p));
    LS_TRY(window_count(op, v->w, v->s, (int)v->stride, (int)v->padding, &q));
    if (p == v->p && q == v->q) return LS_OK;
    return LS_FAIL(LS_ERR_INVALID, "op %s: dy has %lld x %lld pixels, x and w give %lld x %lld", op,
                   (long long)v->p, (long long)v->q, (long long)p, (long long)q);
}

static ls_status infer_grad_input(const void *opaque, int n_in, const ls_type *in, int *n_out,
                                  ls_type *out) {
    const ls_conv2d_grad_input_attr *attr = opaque;
    const int64_t *dy = in[0].shape.dims, *w = in[1].shape.dims;
    LS_TRY(check_operand("conv2d_grad_input", "dy", &in[0]));
    LS_TRY(check_operand("conv2d_grad_input", "w", &in[1]));
    LS_TRY(check_attr("conv2d_grad_input", attr->stride, attr->padding));
    if (dy[3] != w[0])
        return LS_FAIL(LS_ERR_INVALID, "op conv2d_grad_input: dy has %lld channels, w makes %lld",
                       (long long)dy[3], (long long)w[0]);
    out[0] = (ls_type){in[0].dtype, shape4(attr->height, attr->width, dy[2], w[1])};
    *n_out = 1;
    const ls_sig sig = {NULL, attr, n_in, 1, in, out};
    const ls_conv_shape shape = ls_conv_shape_grad_input(&sig);
    return check_result("conv2d_grad_input", &shape);
}

static ls_status infer_grad_weight(const void *opaque, int n_in, const ls_type *in, int *n_out,
                                   ls_type *out) {
    const ls_conv2d_grad_weight_attr *attr = opaque;
    const int64_t *dy = in[0].shape.dims, *x = in[1].shape.dims;
    LS_TRY(check_operand("conv2d_grad_weight", "dy", &in[0]));
    LS_TRY(check_operand("conv2d_grad_weight", "x", &in[1]));
    LS_TRY(check_attr("conv2d_grad_weight", attr->stride, attr->padding));
    if (dy[2] != x[2] || !ls_dtype_is_float((ls_dtype)attr->dtype))
        return LS_FAIL(LS_ERR_INVALID,
                       "op conv2d_grad_weight: dy and x must be of one batch and the result a "
                       "float; got batches %lld and %lld, dtype %s",
                       (long long)dy[2], (long long)x[2], ls_dtype_name((ls_dtype)attr->dtype));
    const ls_dtype dtype = (ls_dtype)attr->dtype;
    out[0] = (ls_type){dtype, shape4(dy[3], x[3], attr->kernel_height, attr->kernel_width)};
    out[1] = (ls_type){dtype, {.n_dims = 1, .dims = {dy[3]}}};
    *n_out = attr->has_bias ? 2 : 1;
    const ls_sig sig = {NULL, attr, n_in, *n_out, in, out};
    const ls_conv_shape shape = ls_conv_shape_grad_weight(&sig);
    return check_result("conv2d_grad_weight", &shape);
}

/* --- gradient ---------------------------------------------------------------------------------------------------- */

static void grad_weight(ls_grad *g, ls_value dy) {
    const ls_conv2d_attr *attr = g->sig->attr;
    const int has_bias = g->sig->n_in > 2 && g->wants[2];
    const ls_conv2d_grad_weight_attr weight = {attr->stride,
                                               attr->padding,
                                               g->sig->in[1].shape.dims[2],
                                               g->sig->in[1].shape.dims[3],
                                               (int)ls_graph_grad_dtype(g->graph, g->in[1]),
                                               has_bias};
    const ls_value in[2] = {dy, g->in[0]};
    ls_value out[LS_MAX_OUT] = {LS_VALUE_NONE, LS_VALUE_NONE};
    if (ls_graph_node(g->graph, &ls_op_conv2d_grad_weight, &weight, in, 2, out) == LS_VALUE_NONE)
        return;
    if (g->wants[1]) g->din[1] = out[0];
    if (has_bias) g->din[2] = ls_cast(g->graph, out[1], ls_graph_grad_dtype(g->graph, g->in[2]));
}

static ls_status grad(ls_grad *g) {
    const ls_conv2d_attr *attr = g->sig->attr;
    const ls_conv2d_grad_input_attr input = {
        attr->stride, attr->padding, g->sig->in[0].shape.dims[0], g->sig->in[0].shape.dims[1]};
    const ls_value dy = g->dout[0], in[2] = {dy, g->in[1]};
    if (dy == LS_VALUE_NONE) return LS_OK;
    if (g->wants[0])
        g->din[0] = ls_graph_node(g->graph, &ls_op_conv2d_grad_input, &input, in, 2, NULL);
    if (g->wants[1] || (g->sig->n_in > 2 && g->wants[2])) grad_weight(g, dy);
    return ls_graph_status(g->graph);
}

/* --- sharding, cost, print --------------------------------------------------------------------------------------- */

static ls_status fail_shard(const ls_sig *sig) {
    return LS_FAIL(LS_ERR_UNSUPPORTED, "op %s: only the batch can be split", sig->op->name);
}

enum { BATCH = 2 };

/* The batch of input 0 (and, for the weight gradient, of input 1) may be split; everything else is whole. */
static ls_status shard(const ls_sig *sig, const int *in_split, int *out_split) {
    for (int i = 1; i < sig->n_in; i++)
        if (in_split[i] != LS_SHARD_REPLICATED) return fail_shard(sig);
    if (in_split[0] != BATCH && in_split[0] != LS_SHARD_REPLICATED) return fail_shard(sig);
    out_split[0] = in_split[0];
    return LS_OK;
}

static ls_status shard_weight(const ls_sig *sig, const int *in_split, int *out_split) {
    if (in_split[0] != in_split[1]) return fail_shard(sig);
    if (in_split[0] != BATCH && in_split[0] != LS_SHARD_REPLICATED) return fail_shard(sig);
    for (int i = 0; i < sig->n_out; i++)
        out_split[i] = in_split[0] == BATCH ? LS_SHARD_PARTIAL : LS_SHARD_REPLICATED;
    return LS_OK;
}

static void set_cost(const ls_sig *sig, const ls_conv_shape *v, ls_cost *out) {
    ls_cost_default(sig, out);
    out->flops = 2.0 * (double)(v->b * v->o * v->p * v->q) * (double)(v->c * v->r * v->s);
}

static void cost(const ls_sig *sig, ls_cost *out) {
    const ls_conv_shape shape = ls_conv_shape_forward(sig);
    set_cost(sig, &shape, out);
}

static void cost_grad_input(const ls_sig *sig, ls_cost *out) {
    const ls_conv_shape shape = ls_conv_shape_grad_input(sig);
    set_cost(sig, &shape, out);
}

static void cost_grad_weight(const ls_sig *sig, ls_cost *out) {
    const ls_conv_shape shape = ls_conv_shape_grad_weight(sig);
    set_cost(sig, &shape, out);
}

static void print(const void *opaque, ls_text *out) {
    const ls_conv2d_attr *attr = opaque;
    ls_text_append(out, "stride=%d padding=%d", attr->stride, attr->padding);
}

static void print_grad_input(const void *opaque, ls_text *out) {
    const ls_conv2d_grad_input_attr *attr = opaque;
    ls_text_append(out, "stride=%d padding=%d height=%lld width=%lld", attr->stride, attr->padding,
                   (long long)attr->height, (long long)attr->width);
}

static void print_grad_weight(const void *opaque, ls_text *out) {
    const ls_conv2d_grad_weight_attr *attr = opaque;
    ls_text_append(out, "stride=%d padding=%d kernel=%lldx%lld out=%s bias=%d", attr->stride,
                   attr->padding, (long long)attr->kernel_height, (long long)attr->kernel_width,
                   ls_dtype_name((ls_dtype)attr->dtype), attr->has_bias);
}

const ls_op ls_op_conv2d = {.name = "conv2d",
                            .min_in = 2,
                            .max_in = 3,
                            .attr_bytes = sizeof(ls_conv2d_attr),
                            .infer = infer,
                            .grad = grad,
                            .shard = shard,
                            .cost = cost,
                            .print = print,
                            .kernels = fwd_kernels};

const ls_op ls_op_conv2d_grad_input = {.name = "conv2d_grad_input",
                                       .min_in = 2,
                                       .max_in = 2,
                                       .attr_bytes = sizeof(ls_conv2d_grad_input_attr),
                                       .infer = infer_grad_input,
                                       .shard = shard,
                                       .cost = cost_grad_input,
                                       .print = print_grad_input,
                                       .kernels = input_kernels};

const ls_op ls_op_conv2d_grad_weight = {.name = "conv2d_grad_weight",
                                        .min_in = 2,
                                        .max_in = 2,
                                        .attr_bytes = sizeof(ls_conv2d_grad_weight_attr),
                                        .infer = infer_grad_weight,
                                        .shard = shard_weight,
                                        .cost = cost_grad_weight,
                                        .print = print_grad_weight,
                                        .kernels = weight_kernels};

ls_value ls_conv2d(ls_graph *graph, ls_value x, ls_value w, ls_value bias_or_none, int stride,
                   int padding) {
    const ls_conv2d_attr attr = {stride, padding};
    const ls_value in[3] = {x, w, bias_or_none};
    return ls_graph_node(graph, &ls_op_conv2d, &attr, in, bias_or_none == LS_VALUE_NONE ? 2 : 3,
                         NULL);
}
