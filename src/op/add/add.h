/* add: y = a + b; same shape and dtype. Local. */
#ifndef LS_OP_ADD_H
#define LS_OP_ADD_H
#include "graph/node.h"

LS_API ls_value ls_add(ls_graph *graph, ls_value a, ls_value b);

#endif
