/* slice: elements begin..end-1 of one dim. slice_grad: dy put back at `begin` of zeros of size n. Any dtype. Local. */
#ifndef LS_OP_SLICE_H
#define LS_OP_SLICE_H
#include "graph/node.h"

typedef struct ls_slice_attr {
    int64_t dim, begin;
    int64_t end; /* slice: past the last; slice_grad: size of the whole dim */
} ls_slice_attr;

/* 0 <= begin <= end <= the dim's size. */
LS_API ls_value ls_slice(ls_graph *graph, ls_value x, int dim, int64_t begin, int64_t end);

#endif
