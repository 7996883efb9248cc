/* Dims of a convolution, from the signature of any of its three ops. */
#ifndef LS_OP_CONV2D_SHAPE_H
#define LS_OP_CONV2D_SHAPE_H
#include "op/conv2d/conv2d.h"

/* x[H,W,B,C], w[O,C,R,S], y[P,Q,B,O] */
typedef struct ls_conv_shape {
    int64_t b, c, h, w, o, r, s, p, q;
    int64_t stride, padding;
} ls_conv_shape;

LS_API ls_conv_shape ls_conv_shape_forward(const ls_sig *sig);
LS_API ls_conv_shape ls_conv_shape_grad_input(const ls_sig *sig);
LS_API ls_conv_shape ls_conv_shape_grad_weight(const ls_sig *sig);

#endif
