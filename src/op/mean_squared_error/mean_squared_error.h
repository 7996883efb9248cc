/* mean_squared_error of x against target, same shape, fused with its gradient. Results: 0 the sum of (x - target)^2, scalar;
 * 1 count, scalar: number of elements; 2 dx, x's dtype: grad_scale * 2 (x - target). The mean is result 0 over result 1.
 * Results 0 and 1 are f32 (f64 for f64 x); the sum is made of canonical blocks added in tree order. Gradient: with seed NONE that of x
 * is result 2, with a seed s (scalar) s * result 2 / grad_scale; the target gets none. Local. */
#ifndef LS_OP_MEAN_SQUARED_ERROR_H
#define LS_OP_MEAN_SQUARED_ERROR_H
#include "graph/node.h"

typedef struct ls_mean_squared_error_attr {
    float grad_scale; /* finite, not 0; 1 for none */
} ls_mean_squared_error_attr;

/* Returns result 0; the others by ls_loss_result (op/cross_entropy). */
LS_API ls_value ls_mean_squared_error(ls_graph *graph, ls_value x, ls_value target,
                                      float grad_scale);

#endif
