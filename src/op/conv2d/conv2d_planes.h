/* The zero-padded copy of an image, cut into the phases of a stride. Internal to the room. */
#ifndef LS_OP_CONV2D_PLANES_H
#define LS_OP_CONV2D_PLANES_H
#include "op/conv2d/conv2d_gemm.h"

enum { LS_CONV_SLACK = 64 }; /* elements that runs may read or write too far */

/* element (channel, a, b, i, j) is pixel (i * stride + a - padding, j * stride + b - padding) of the image, or zero. */
typedef struct ls_conv_planes {
    int64_t channels, height, width; /* of the image */
    int64_t stride, padding;
    int64_t rows, cols; /* of a phase */
} ls_conv_planes;

LS_API int64_t ls_conv_planes_count(const ls_conv_planes *planes);
/* Element offset of tap (r, s) of a channel: that of phase (r % stride, s % stride), row r / stride, column s / stride. */
LS_API int64_t ls_conv_planes_tap(const ls_conv_planes *planes, int64_t channel, int64_t r,
                                  int64_t s);
/* dst elements: f32, or bf16 as it is when is_pairs. */
LS_API void ls_conv_planes_fill(const ls_conv_planes *planes, const void *image, ls_dtype dtype,
                                int is_pairs, void *dst);
/* The planes a forward convolution reads. */
LS_API ls_conv_planes ls_conv_planes_forward(const ls_conv_shape *shape);

#endif
