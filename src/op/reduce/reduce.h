/* reduce: sum, mean or maximum over one dim, which goes away, or over all elements (to a scalar). x seen as [outer, n, inner] gives
 * y [outer, inner] in x's dtype. The gradient of a maximum goes to the first place that has it; NaN wins every maximum.
 * reduce_max_grad: dx from x, y and dy.
 *
 * Order of a sum, the same for any thread count: canonical blocks along n, each summed alone, then added in tree order. Local. */
#ifndef LS_OP_REDUCE_H
#define LS_OP_REDUCE_H
#include "graph/node.h"

typedef enum { LS_REDUCE_SUM, LS_REDUCE_MEAN, LS_REDUCE_MAX } ls_reduce_kind;

typedef struct ls_reduce_attr {
    int32_t kind;
    int32_t dim; /* -1: all */
} ls_reduce_attr;

LS_API ls_value ls_reduce(ls_graph *graph, ls_value x, ls_reduce_kind kind, int dim);

#endif
