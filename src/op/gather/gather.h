/* gather: y = the slices of x along `dim` that ids [K] (i32) name, in their order (an index_select). An id outside the dim is
 * LS_ERR_DATA. Any dtype. gather_grad: from ids and dy, zeros with the slices of dy added at their ids, positions ascending. Local. */
#ifndef LS_OP_GATHER_H
#define LS_OP_GATHER_H
#include "graph/node.h"

typedef struct ls_gather_attr {
    int64_t dim;
    int64_t n; /* size of x's dim (used by gather_grad) */
} ls_gather_attr;

/* x[a.., n, b..], ids[K] -> [a.., K, b..] */
LS_API ls_value ls_gather(ls_graph *graph, ls_value x, ls_value ids, int dim);

#endif
