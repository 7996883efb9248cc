/* broadcast: inserts a dim of size n at `dim`, every slice along it a copy of x (the gradient of a sum). Any dtype. Local. */
#ifndef LS_OP_BROADCAST_H
#define LS_OP_BROADCAST_H
#include "graph/node.h"

typedef struct ls_broadcast_attr {
    int64_t n;
    int64_t dim;
} ls_broadcast_attr;

/* x[a.., b..] -> [a.., n, b..], a having `dim` dims. */
LS_API ls_value ls_broadcast(ls_graph *graph, ls_value x, int dim, int64_t n);

#endif
