/* mul: y = a * b; b has a's shape and dtype, or is a scalar [] of any float dtype. Local. */
#ifndef LS_OP_MUL_H
#define LS_OP_MUL_H
#include "graph/node.h"

LS_API ls_value ls_mul(ls_graph *graph, ls_value a, ls_value b);

#endif
