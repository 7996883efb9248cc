/* The formulas, in f64, one result at a time. Shapes: x[H,W,B,C], w[O,C,R,S], y[P,Q,B,O];
 * y[p,q,b,o] = bias[o] + sum x[p st + r - pad, q st + s - pad, b, c] w[o,c,r,s]. */
#include "op/conv2d/conv2d_shape.h"

extern const ls_kernel ls_kernel_conv2d_fwd_ref, ls_kernel_conv2d_bwd_input_ref,
    ls_kernel_conv2d_bwd_weight_ref;

static int64_t at4(const int64_t *dims, int64_t i, int64_t j, int64_t k, int64_t l) {
    return ((i * dims[1] + j) * dims[2] + k) * dims[3] + l;
}

static ls_status launch_fwd(const ls_launch *launch) {
    const ls_conv_shape v = ls_conv_shape_forward(launch->sig);
    const ls_tensor *x = &launch->in[0], *w = &launch->in[1];
    const int64_t n = ls_shape_count(&launch->out[0].shape);
    for (int64_t i = 0; i < n; i++) {
        const int64_t o = i % v.o, b = i / v.o % v.b, q = i / v.o / v.b % v.q;
        const int64_t p = i / v.o / v.b / v.q;
        double sum = launch->sig->n_in > 2 ? ls_tensor_get(&launch->in[2], o) : 0;
        for (int64_t c = 0; c < v.c; c++)
            for (int64_t r = 0; r < v.r; r++)
                for (int64_t s = 0; s < v.s; s++) {
                    const int64_t y = p * v.stride + r - v.padding;
                    const int64_t z = q * v.stride + s - v.padding;
                    if (y < 0 || y >= v.h || z < 0 || z >= v.w) continue;
                    sum += ls_tensor_get(x, at4(x->shape.dims, y, z, b, c)) *
                           ls_tensor_get(w, at4(w->shape.dims, o, c, r, s));
                }
        ls_tensor_set(&launch->out[0], i, sum);
    }
    return LS_OK;
}

static ls_status launch_bwd_input(const ls_launch *launch) {
    const ls_conv_shape v = ls_conv_shape_grad_input(launch->sig);
    const ls_tensor *dy = &launch->in[0], *w = &launch->in[1];
    const int64_t n = ls_shape_count(&launch->out[0].shape);
    for (int64_t i = 0; i < n; i++) {
        const int64_t c = i % v.c, b = i / v.c % v.b, z = i / v.c / v.b % v.w;
        const int64_t y = i / v.c / v.b / v.w;
        double sum = 0;
        for (int64_t o = 0; o < v.o; o++)
            for (int64_t r = 0; r < v.r; r++)
                for (int64_t s = 0; s < v.s; s++) {
                    const int64_t up = y + v.padding - r, left = z + v.padding - s;
                    const int64_t p = up / v.stride, q = left / v.stride;
                    if (up < 0 || up % v.stride || p >= v.p) continue;
                    if (left < 0 || left % v.stride || q >= v.q) continue;
                    sum += ls_tensor_get(dy, at4(dy->shape.dims, p, q, b, o)) *
                           ls_tensor_get(w, at4(w->shape.dims, o, c, r, s));
                }
        ls_tensor_set(&launch->out[0], i, sum);
    }
    return LS_OK;
}

static double sum_weight(const ls_launch *launch, const ls_conv_shape *v, int64_t o, int64_t c,
                         int64_t r, int64_t s) {
    const ls_tensor *dy = &launch->in[0], *x = &launch->in[1];
    double sum = 0;
    for (int64_t b = 0; b < v->b; b++)
        for (int64_t p = 0; p < v->p; p++)
            for (int64_t q = 0; q < v->q; q++) {
                const int64_t y = p * v->stride + r - v->padding;
                const int64_t z = q * v->stride + s - v->padding;
                if (y < 0 || y >= v->h || z < 0 || z >= v->w) continue;
                sum += ls_tensor_get(dy, at4(dy->shape.dims, p, q, b, o)) *
                       ls_tensor_get(x, at4(x->shape.dims, y, z, b, c));
            }
    return sum;
}

static ls_status launch_bwd_weight(const ls_launch *launch) {
    const ls_conv_shape v = ls_conv_shape_grad_weight(launch->sig);
    const int64_t n = v.o * v.c * v.r * v.s;
    for (int64_t i = 0; i < n; i++)
        ls_tensor_set(&launch->out[0], i,
                      sum_weight(launch, &v, i / v.s / v.r / v.c, i / v.s / v.r % v.c,
                                 i / v.s % v.r, i % v.s));
    const ls_tensor *dy = &launch->in[0];
    for (int64_t o = 0; launch->sig->n_out > 1 && o < v.o; o++) {
        double sum = 0;
        for (int64_t i = 0; i < v.p * v.q * v.b; i++) sum += ls_tensor_get(dy, i * v.o + o);
        ls_tensor_set(&launch->out[1], o, sum);
    }
    return LS_OK;
}

const ls_kernel ls_kernel_conv2d_fwd_ref = {
    .name = "conv2d_fwd_ref", .device = LS_DEVICE_CPU, .launch = launch_fwd};
const ls_kernel ls_kernel_conv2d_bwd_input_ref = {
    .name = "conv2d_bwd_input_ref", .device = LS_DEVICE_CPU, .launch = launch_bwd_input};
const ls_kernel ls_kernel_conv2d_bwd_weight_ref = {
    .name = "conv2d_bwd_weight_ref", .device = LS_DEVICE_CPU, .launch = launch_bwd_weight};
