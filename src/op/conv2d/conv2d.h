/* Two-dimensional convolution (cross-correlation, as in PyTorch), zero padding, square stride. x[H,W,B,C], w[O,C,R,S], bias[O] ->
 * [P,Q,B,O] with P = (H + 2 padding - R) / stride + 1 and Q alike. A pixel of all images is one matrix, so a tap is a product of matrices
 * as they lie, and taps beyond the border are not computed. Errors as in lockstep/graph.h. Local. */
#ifndef LS_OP_CONV2D_H
#define LS_OP_CONV2D_H
#include "graph/node.h"

typedef struct ls_conv2d_attr {
    int stride, padding;
} ls_conv2d_attr;

LS_API ls_value ls_conv2d(ls_graph *graph, ls_value x, ls_value w, ls_value bias_or_none,
                          int stride, int padding);

/* Gradient ops. conv2d_grad_input: dy[P,Q,B,O], w -> dx[H,W,B,C], in the dtype of dy. conv2d_grad_weight: dy, x -> dw[O,C,R,S] and,
 * if asked for, dbias[O], summed over the batch. */
typedef struct ls_conv2d_grad_input_attr {
    int stride, padding;
    int64_t height, width; /* of x */
} ls_conv2d_grad_input_attr;
typedef struct ls_conv2d_grad_weight_attr {
    int stride, padding;
    int64_t kernel_height, kernel_width;
    int dtype; /* of dw and dbias */
    int has_bias;
} ls_conv2d_grad_weight_attr;

#endif
