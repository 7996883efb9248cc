/* transpose: dim i of y is dim perm[i] of x. Any dtype. Local. */
#ifndef LS_OP_TRANSPOSE_H
#define LS_OP_TRANSPOSE_H
#include "graph/node.h"

typedef struct ls_transpose_attr {
    int32_t n_dims;
    int32_t perm[LS_MAX_DIMS]; /* a permutation of 0..n_dims-1, the rest 0 */
} ls_transpose_attr;

/* perm has as many entries as x has dims. */
LS_API ls_value ls_transpose(ls_graph *graph, ls_value x, const int *perm);

#endif
