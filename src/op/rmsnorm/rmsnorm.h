/* rmsnorm: y = x * rstd * gamma over the last dim, rstd = 1 / sqrt(average of x^2 + eps) (Zhang, Sennrich, "Root mean square
 * layer normalization", 2019).
 *
 * x[.., D], gamma[D] (any float dtype) -> y[.., D] (dtype of x), rstd[..] in f32 (f64 when x is f64).
 * rmsnorm_grad: x, gamma, rstd, dy (and more: ls_norm_sums) -> dx (dtype of x), dgamma[D]; sums over rows as in layernorm_grad. */
#ifndef LS_OP_RMSNORM_H
#define LS_OP_RMSNORM_H
#include "op/layernorm/layernorm.h"

typedef struct ls_rmsnorm_attr {
    double eps;
} ls_rmsnorm_attr;

typedef struct ls_rmsnorm_grad_attr {
    int gamma_dtype; /* ls_dtype of dgamma */
    ls_norm_sums sums;
} ls_rmsnorm_grad_attr;

LS_API ls_value ls_rmsnorm(ls_graph *graph, ls_value x, ls_value gamma, double eps);

#endif
