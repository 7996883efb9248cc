/* bias: y[.., N] = x[.., N] + b[N]; b of any float dtype. Local. */
#ifndef LS_OP_BIAS_H
#define LS_OP_BIAS_H
#include "graph/node.h"

LS_API ls_value ls_bias(ls_graph *graph, ls_value x, ls_value b);

#endif
