/* reduce_rows: y[N] = sum of x[.., N] over all leading dims, in a dtype of its own (the gradient of a bias: f32 from bf16). The
 * order of the sum is op/reduce's. Local. */
#ifndef LS_OP_REDUCE_ROWS_H
#define LS_OP_REDUCE_ROWS_H
#include "graph/node.h"

typedef struct ls_reduce_rows_attr {
    int32_t dtype; /* ls_dtype of the result */
} ls_reduce_rows_attr;

LS_API ls_value ls_reduce_rows(ls_graph *graph, ls_value x, ls_dtype out);

#endif
