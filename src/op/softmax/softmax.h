/* softmax: y = exp(x) / sum of exp(x) over the last dim. softmax_grad: dx = y * (dy - sum of y * dy) from y and dy. Local. */
#ifndef LS_OP_SOFTMAX_H
#define LS_OP_SOFTMAX_H
#include "graph/node.h"

LS_API ls_value ls_softmax(ls_graph *graph, ls_value x);

#endif
