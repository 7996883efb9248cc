/* relu: y = max(x, 0); NaN stays NaN, the gradient at 0 is 0. Any shape. relu_grad: dx from x and dy. Local. */
#ifndef LS_OP_RELU_H
#define LS_OP_RELU_H
#include "graph/node.h"

LS_API ls_value ls_relu(ls_graph *graph, ls_value x);

#endif
