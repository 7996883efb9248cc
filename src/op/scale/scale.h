/* scale: y = factor * x; any shape. Local. */
#ifndef LS_OP_SCALE_H
#define LS_OP_SCALE_H
#include "graph/node.h"

typedef struct ls_scale_attr {
    double factor;
} ls_scale_attr;

LS_API ls_value ls_scale(ls_graph *graph, ls_value x, double factor);

#endif
