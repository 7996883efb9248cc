/* Sums of squares of one tensor, one f64 per chunk; see sum_squares.c. Local. */
#ifndef LS_OP_SUM_SQUARES_H
#define LS_OP_SUM_SQUARES_H
#include "op/op.h"

typedef struct ls_sum_squares_attr {
    int64_t count; /* elements of the whole tensor */
    int lanes;     /* chunks that it is dealt in (ls_shard_chunk) */
    int size; /* 1: x is the whole tensor; more: x is one of `size` pieces (ls_shard_piece), lanes a multiple */
} ls_sum_squares_attr;

/* x: f32, any shape. Result: f64 [lanes]. */
LS_API ls_value ls_sum_squares(ls_graph *graph, ls_value x, int lanes);

#endif
