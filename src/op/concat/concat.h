/* concat: inputs one after the other along `dim`; other dims and the dtype are the same. Any dtype. Local. */
#ifndef LS_OP_CONCAT_H
#define LS_OP_CONCAT_H
#include "graph/node.h"

typedef struct ls_concat_attr {
    int64_t dim;
} ls_concat_attr;

LS_API ls_value ls_concat(ls_graph *graph, const ls_value *values, int n, int dim);

#endif
