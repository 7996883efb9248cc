/* batchnorm: y = (x - mean) * rstd * gamma + beta per channel (Ioffe, Szegedy, "Batch normalization", 2015).
 *
 * x[B, C, ..], gamma[C], beta[C]; a channel's N values are those of all batch rows and places. Vectors may have another float
 * dtype than x; statistics are f32 (f64 when x is f64).
 * Training form: results y (dtype of x), mean[C], var[C] (biased, over N), rstd[C] = 1 / sqrt(var + eps).
 * batchnorm_grad: x, gamma, mean, rstd, dy -> dx (dtype of x), dgamma[C], dbeta[C].
 * Evaluation form (batchnorm_eval): x, gamma, beta, mean, var -> y, with running statistics; it has no gradient.
 * The running statistics are kept with ema_step (op/batchnorm/ema_step.h). */
#ifndef LS_OP_BATCHNORM_H
#define LS_OP_BATCHNORM_H
#include "op/op.h"

typedef struct ls_batchnorm_attr {
    double eps;
} ls_batchnorm_attr;

typedef struct ls_batchnorm_grad_attr {
    int gamma_dtype, beta_dtype; /* ls_dtype of dgamma and dbeta */
} ls_batchnorm_grad_attr;

/* ls_batchnorm returns y; mean, var and rstd are the next three values. */
LS_API ls_value ls_batchnorm(ls_graph *graph, ls_value x, ls_value gamma, ls_value beta,
                             double eps);
LS_API ls_value ls_batchnorm_eval(ls_graph *graph, ls_value x, ls_value gamma, ls_value beta,
                                  ls_value mean, ls_value var, double eps);

/* Sizes: element (b, c, i) is at (b * n_channels + c) * n_places + i. */
typedef struct ls_channels {
    int64_t n_batch, n_channels, n_places;
} ls_channels;
ls_channels ls_channels_of(const ls_shape *shape);
/* x has a batch and a channel dim, is float and has values in every channel. */
ls_status ls_channels_infer(const char *op, const ls_type *x);
/* `vector` is a float [C] for this x. */
ls_status ls_channels_infer_vector(const char *op, const char *operand, const ls_type *vector,
                                   const ls_type *x);

#endif
