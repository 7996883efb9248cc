/* silu: y = x * sigmoid(x), also called swish. Any shape. silu_grad: dx from x and dy. Local. */
#ifndef LS_OP_SILU_H
#define LS_OP_SILU_H
#include "graph/node.h"

LS_API ls_value ls_silu(ls_graph *graph, ls_value x);

#endif
