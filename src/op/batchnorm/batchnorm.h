/* batchnorm: y = (x - mean) * rstd * gamma + beta per channel (Ioffe, Szegedy, "Batch normalization", 2015).
 *
 * x[.., C], gamma[C], beta[C]; a channel's N values are those of all rows. Vectors may have another float dtype than x; statistics
 * are f32 (f64 when x is f64).
 * Training form: results y (dtype of x), mean[C], var[C] (biased, over N), rstd[C] = 1 / sqrt(var + eps).
 * batchnorm_grad: x, gamma, mean, rstd, dy -> dx (dtype of x), dgamma[C], dbeta[C].
 * Evaluation form (batchnorm_eval): x, gamma, beta, mean, var -> y, with running statistics; it has no gradient.
 * The running statistics are kept with ema_step (op/batchnorm/ema_step.h). */
#ifndef LS_OP_BATCHNORM_H
#define LS_OP_BATCHNORM_H
#include "op/op.h"

/* has_residual, relu: y is rounded to its dtype, a last input (of x's type) is added, the sum is rounded, negatives become 0: as the
 * ops add and relu would (the pass `fuse`). */
typedef struct ls_batchnorm_attr {
    double eps;
    int has_residual, relu;
} ls_batchnorm_attr;

/* has_more: dy is the sum of two inputs. relu: a last input is relu's result; dy counts where it is positive. */
typedef struct ls_batchnorm_grad_attr {
    int gamma_dtype, beta_dtype; /* ls_dtype of dgamma and dbeta */
    int has_more, relu;
} ls_batchnorm_grad_attr;

/* ls_batchnorm returns y; mean, var and rstd are the next three values. */
LS_API ls_value ls_batchnorm(ls_graph *graph, ls_value x, ls_value gamma, ls_value beta,
                             double eps);
LS_API ls_value ls_batchnorm_eval(ls_graph *graph, ls_value x, ls_value gamma, ls_value beta,
                                  ls_value mean, ls_value var, double eps);

/* Sizes: element (i, c) is at i * n_channels + c. */
typedef struct ls_channels {
    int64_t n_rows, n_channels;
} ls_channels;
ls_channels ls_channels_of(const ls_shape *shape);
/* x has a channel dim behind others, is float and has values in every channel. */
ls_status ls_channels_infer(const char *op, const ls_type *x);
/* `vector` is a float [C] for this x. */
ls_status ls_channels_infer_vector(const char *op, const char *operand, const ls_type *vector,
                                   const ls_type *x);
/* The residual behind n_plain inputs, where there is one. */
ls_status ls_batchnorm_infer_tail(const char *op, const ls_batchnorm_attr *attr, int n_in,
                                  const ls_type *in, int n_plain);
void ls_batchnorm_print(const void *attr, ls_text *out);
/* Writes element `at` of the result: y with what comes behind the norm. */
void ls_batchnorm_finish(const ls_launch *launch, int64_t at, double y);

#endif
