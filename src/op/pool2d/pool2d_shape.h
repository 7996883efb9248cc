/* Dims of a pooling and its windows; shared by the reference and the CPU kernels. */
#ifndef LS_OP_POOL2D_SHAPE_H
#define LS_OP_POOL2D_SHAPE_H
#include "op/pool2d/pool2d.h"

/* x[H,W,B,C], y[P,Q,B,C]; n: the B C values of a pixel. */
typedef struct pool_shape {
    int64_t n, h, w, p, q;
    int64_t window, stride, padding;
    int is_max;
} pool_shape;

static inline pool_shape shape_of(const ls_pool2d_attr *attr, const ls_shape *x,
                                  const ls_shape *y) {
    return (pool_shape){x->dims[2] * x->dims[3],
                        x->dims[0],
                        x->dims[1],
                        y->dims[0],
                        y->dims[1],
                        attr->window,
                        attr->stride,
                        attr->padding,
                        attr->is_max};
}

/* Rows [0], [1) and columns [2], [3). */
typedef struct pool_box {
    int64_t at[4];
} pool_box;

/* The part of the window of output (p, q) that lies on the image. */
static inline pool_box window_of(const pool_shape *v, int64_t p, int64_t q) {
    const int64_t y = p * v->stride - v->padding, x = q * v->stride - v->padding;
    return (pool_box){{y < 0 ? 0 : y, y + v->window < v->h ? y + v->window : v->h, x < 0 ? 0 : x,
                       x + v->window < v->w ? x + v->window : v->w}};
}

/* The outputs whose windows reach pixel (i, j). */
static inline pool_box outputs_of(const pool_shape *v, int64_t i, int64_t j) {
    const int64_t y = i + v->padding - v->window, x = j + v->padding - v->window;
    const int64_t p = (i + v->padding) / v->stride + 1, q = (j + v->padding) / v->stride + 1;
    return (pool_box){{y < 0 ? 0 : y / v->stride + 1, p < v->p ? p : v->p,
                       x < 0 ? 0 : x / v->stride + 1, q < v->q ? q : v->q}};
}

#endif
