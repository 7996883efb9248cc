/* Sum of squares of one tensor as one f64; see sum_squares.c. Local. */
#ifndef LS_OP_SUM_SQUARES_H
#define LS_OP_SUM_SQUARES_H
#include "op/op.h"

/* x: f32, any shape. Result: f64 scalar. */
LS_API ls_value ls_sum_squares(ls_graph *graph, ls_value x);

#endif
