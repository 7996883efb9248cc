/* What the infer functions of layernorm, rmsnorm and batchnorm share. Read-only: thread-safe, Local. */
#ifndef LS_OP_LAYERNORM_NORM_INFER_H
#define LS_OP_LAYERNORM_NORM_INFER_H
#include "op/layernorm/layernorm.h"

/* dtype of statistics: f32, or f64 when x is f64. */
ls_dtype ls_norm_stat_dtype(ls_dtype x);
ls_status ls_norm_infer_eps(const char *op, double eps);
/* x is float with at least one dim and a last dim of at least 1; *stat_out is the type of a statistic per row. */
ls_status ls_norm_infer_rows(const char *op, const ls_type *x, ls_type *stat_out);
/* `vector` is a float [D] where D is the last dim of x. */
ls_status ls_norm_infer_vector(const char *op, const char *operand, const ls_type *vector,
                               const ls_type *x);
/* `stat` is the type that ls_norm_infer_rows gives for x. */
ls_status ls_norm_infer_stat(const char *op, const char *operand, const ls_type *stat,
                             const ls_type *x);
/* Same dtype and shape. */
ls_status ls_norm_infer_like(const char *op, const char *operand, const ls_type *type,
                             const ls_type *want);
/* x as it would lie in memory. */
double ls_norm_rounded(double x, ls_dtype dtype);
/* Inputs dy (number `dy`), its further terms and the residual. */
ls_status ls_norm_infer_sums(const char *op, const ls_norm_sums *sums, int n_in, const ls_type *in,
                             int dy);
/* Appends " terms=2 residual=1", where there are any. */
void ls_norm_print_sums(const ls_norm_sums *sums, ls_text *out);
/* Element i of dy, all terms added. */
double ls_norm_dy(const ls_launch *launch, const ls_norm_sums *sums, int dy, int64_t i);
/* residual + dx, or dx; element i. */
double ls_norm_dx(const ls_launch *launch, const ls_norm_sums *sums, int64_t i, double dx);

#endif
