/* layernorm: y = (x - mean) * rstd * gamma + beta over the last dim (Ba, Kiros, Hinton, "Layer normalization", 2016).
 *
 * x[.., D], gamma[D], beta[D] (may be absent) -> y[.., D] (dtype of x), mean[..] and rstd[..] in f32 (f64 when x is f64);
 * rstd = 1 / sqrt(variance + eps) with the biased variance. gamma and beta may have another float dtype than x.
 * layernorm_grad: x, gamma, mean, rstd, dy (and more: ls_norm_sums) -> dx (dtype of x), dgamma[D], dbeta[D] (when there is a beta). The sums over rows are
 * taken in blocks of LS_NORM_ROW_BLOCK rows, added in tree order: a function of the shape alone. */
#ifndef LS_OP_LAYERNORM_H
#define LS_OP_LAYERNORM_H
#include "op/op.h"

/* Sums that layernorm_grad and rmsnorm_grad make on the way, as op add would (the pass `fuse`): inputs behind dy. */
typedef struct ls_norm_sums {
    int n_more;       /* further terms of dy: dy + in + in .., up to LS_NORM_MORE */
    int has_residual; /* a last input is added to dx (residual + dx), of x's type */
} ls_norm_sums;
enum { LS_NORM_MORE = 3 };

typedef struct ls_layernorm_attr {
    double eps;
} ls_layernorm_attr;

typedef struct ls_layernorm_grad_attr {
    int gamma_dtype; /* ls_dtype of dgamma */
    int beta_dtype;  /* ls_dtype of dbeta, -1: no dbeta */
    ls_norm_sums sums;
} ls_layernorm_grad_attr;

LS_API ls_value ls_layernorm(ls_graph *graph, ls_value x, ls_value gamma, ls_value beta,
                             double eps);

#endif
