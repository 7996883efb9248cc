/* One plane (an image's channel) of pooling, for any real type: the loops that the reference and the CPU kernels share. Each
 * includes this file after naming the type. */
#include "op/pool2d/pool2d.h"
#include <math.h>

typedef struct pool_shape {
    int64_t n_planes, h, w, p, q;
    int64_t window, stride, padding;
    int is_max;
} pool_shape;

static pool_shape shape_of(const ls_pool2d_attr *attr, const ls_shape *x, const ls_shape *y) {
    return (pool_shape){x->dims[0] * x->dims[1],
                        x->dims[2],
                        x->dims[3],
                        y->dims[2],
                        y->dims[3],
                        attr->window,
                        attr->stride,
                        attr->padding,
                        attr->is_max};
}

/* The part of the window of output (p, q) that lies on the plane: rows [0], [1), columns [2], [3). */
static inline void find_window(const pool_shape *v, int64_t p, int64_t q, int64_t out[4]) {
    const int64_t y = p * v->stride - v->padding, x = q * v->stride - v->padding;
    out[0] = y < 0 ? 0 : y;
    out[1] = y + v->window < v->h ? y + v->window : v->h;
    out[2] = x < 0 ? 0 : x;
    out[3] = x + v->window < v->w ? x + v->window : v->w;
}

/* Index of the first largest element; a NaN is larger than anything. */
static inline int64_t find_largest(const pool_shape *v, const POOL_REAL *x, const int64_t box[4]) {
    int64_t best = box[0] * v->w + box[2];
    for (int64_t i = box[0]; i < box[1]; i++)
        for (int64_t j = box[2]; j < box[3]; j++) {
            const int64_t at = i * v->w + j;
            if (x[at] > x[best] || (isnan(x[at]) && !isnan(x[best]))) best = at;
        }
    return best;
}

static void pool_plane(const pool_shape *v, const POOL_REAL *x, POOL_REAL *y) {
    const POOL_REAL area = (POOL_REAL)(v->window * v->window);
    for (int64_t p = 0; p < v->p; p++)
        for (int64_t q = 0; q < v->q; q++) {
            int64_t box[4];
            find_window(v, p, q, box);
            POOL_REAL sum = 0;
            for (int64_t i = box[0]; !v->is_max && i < box[1]; i++)
                for (int64_t j = box[2]; j < box[3]; j++) sum += x[i * v->w + j];
            y[p * v->q + q] = v->is_max ? x[find_largest(v, x, box)] : sum / area;
        }
}

/* x may be NULL for averages. */
static void pool_plane_grad(const pool_shape *v, const POOL_REAL *x, const POOL_REAL *dy,
                            POOL_REAL *dx) {
    const POOL_REAL area = (POOL_REAL)(v->window * v->window);
    for (int64_t i = 0; i < v->h * v->w; i++) dx[i] = 0;
    for (int64_t p = 0; p < v->p; p++)
        for (int64_t q = 0; q < v->q; q++) {
            const POOL_REAL d = dy[p * v->q + q];
            int64_t box[4];
            find_window(v, p, q, box);
            if (v->is_max) {
                dx[find_largest(v, x, box)] += d;
                continue;
            }
            for (int64_t i = box[0]; i < box[1]; i++)
                for (int64_t j = box[2]; j < box[3]; j++) dx[i * v->w + j] += d / area;
        }
}
