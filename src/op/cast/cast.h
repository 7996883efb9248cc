/* cast: y = x in another dtype, rounded to nearest even; same shape. Local. */
#ifndef LS_OP_CAST_H
#define LS_OP_CAST_H
#include "graph/node.h"

typedef struct ls_cast_attr {
    int32_t dtype;     /* ls_dtype of the result */
    int32_t read_next; /* 1: by the node behind; then even a large result is left in the caches */
} ls_cast_attr;

/* x itself when it has the dtype already. */
LS_API ls_value ls_cast(ls_graph *graph, ls_value x, ls_dtype dtype);

#endif
