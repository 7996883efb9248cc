/* Pooling over square windows: x[H,W,B,C] -> y[P,Q,B,C], P = (H + 2 padding - window) / stride + 1 and Q alike. The maximum ignores
 * the padding; the average counts it as zeros and always divides by window^2 (as PyTorch does by default). NaN wins every maximum.
 * pool2d_grad: dy (and x, for the maximum) -> dx; a maximum's gradient goes to the first place, row by row, that has it.
 * Errors as in lockstep/graph.h. Local. */
#ifndef LS_OP_POOL2D_H
#define LS_OP_POOL2D_H
#include "graph/node.h"

typedef struct ls_pool2d_attr {
    int is_max, window, stride, padding;
    int64_t height, width; /* of x; for pool2d_grad only, 0 otherwise */
} ls_pool2d_attr;

LS_API ls_value ls_pool2d(ls_graph *graph, ls_value x, int is_max, int window, int stride,
                          int padding);

#endif
