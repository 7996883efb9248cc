#include "op/layernorm/norm_infer.h"

#include <math.h>

ls_dtype ls_norm_stat_dtype(ls_dtype x) {
    return x == LS_DTYPE_F64 ? LS_DTYPE_F64 : LS_DTYPE_F32;
}

ls_status ls_norm_infer_eps(const char *op, double eps) {
    if (eps >= 0 && !isinf(eps)) return LS_OK;
    return LS_FAIL(LS_ERR_INVALID, "op %s: eps must be a number of at least 0, got %g", op, eps);
}

ls_status ls_norm_infer_rows(const char *op, const ls_type *x, ls_type *stat_out) {
    char shape[128];
    LS_TRY(ls_infer_float(op, "x", x));
    const int n_dims = x->shape.n_dims;
    if (n_dims < 1 || x->shape.dims[n_dims - 1] < 1)
        return LS_FAIL(LS_ERR_INVALID, "op %s: x must have a last dim of at least 1, got shape %s",
                       op, ls_shape_print(&x->shape, shape));
    stat_out->dtype = ls_norm_stat_dtype(x->dtype);
    return ls_shape_make(n_dims - 1, x->shape.dims, &stat_out->shape);
}

ls_status ls_norm_infer_vector(const char *op, const char *operand, const ls_type *vector,
                               const ls_type *x) {
    char shape[128];
    const int64_t n = x->shape.dims[x->shape.n_dims - 1];
    LS_TRY(ls_infer_float(op, operand, vector));
    if (vector->shape.n_dims == 1 && vector->shape.dims[0] == n) return LS_OK;
    return LS_FAIL(LS_ERR_INVALID, "op %s: %s must be [%lld] (the last dim of x), got shape %s", op,
                   operand, (long long)n, ls_shape_print(&vector->shape, shape));
}

ls_status ls_norm_infer_stat(const char *op, const char *operand, const ls_type *stat,
                             const ls_type *x) {
    char want[128], got[128];
    ls_type expected;
    LS_TRY(ls_norm_infer_rows(op, x, &expected));
    if (stat->dtype == expected.dtype && ls_shape_equal(&stat->shape, &expected.shape))
        return LS_OK;
    return LS_FAIL(LS_ERR_INVALID, "op %s: %s must be %s%s, got %s%s", op, operand,
                   ls_dtype_name(expected.dtype), ls_shape_print(&expected.shape, want),
                   ls_dtype_name(stat->dtype), ls_shape_print(&stat->shape, got));
}

ls_status ls_norm_infer_like(const char *op, const char *operand, const ls_type *type,
                             const ls_type *want) {
    char shape[128], wanted[128];
    if (type->dtype == want->dtype && ls_shape_equal(&type->shape, &want->shape)) return LS_OK;
    return LS_FAIL(LS_ERR_INVALID, "op %s: %s must be %s%s, got %s%s", op, operand,
                   ls_dtype_name(want->dtype), ls_shape_print(&want->shape, wanted),
                   ls_dtype_name(type->dtype), ls_shape_print(&type->shape, shape));
}

ls_status ls_norm_infer_sums(const char *op, const ls_norm_sums *sums, int n_in, const ls_type *in,
                             int dy) {
    const int want = dy + 1 + sums->n_more + (sums->has_residual != 0);
    if (sums->n_more < 0 || sums->n_more > LS_NORM_MORE || n_in != want)
        return LS_FAIL(LS_ERR_INVALID,
                       "op %s: with %d further terms of dy (0 to %d) and %s residual it takes %d "
                       "inputs, got %d",
                       op, sums->n_more, LS_NORM_MORE, sums->has_residual ? "a" : "no", want, n_in);
    LS_TRY(ls_infer_float(op, "dy", &in[dy]));
    LS_TRY(ls_infer_same_shape(op, &in[0], &in[dy]));
    for (int k = 1; k <= sums->n_more; k++)
        LS_TRY(ls_norm_infer_like(op, "every term of dy", &in[dy + k], &in[dy]));
    return sums->has_residual ? ls_norm_infer_like(op, "the residual", &in[n_in - 1], &in[0])
                              : LS_OK;
}

void ls_norm_print_sums(const ls_norm_sums *sums, ls_text *out) {
    if (sums->n_more) ls_text_append(out, " terms=%d", 1 + sums->n_more);
    if (sums->has_residual) ls_text_append(out, " residual=1");
}

double ls_norm_rounded(double x, ls_dtype dtype) {
    uint64_t bits;
    ls_tensor one = {dtype, {0}, &bits};
    ls_tensor_set(&one, 0, x);
    return ls_tensor_get(&one, 0);
}

double ls_norm_dy(const ls_launch *launch, const ls_norm_sums *sums, int dy, int64_t i) {
    double sum = ls_tensor_get(&launch->in[dy], i);
    for (int k = 1; k <= sums->n_more; k++)
        sum = ls_norm_rounded(sum + ls_tensor_get(&launch->in[dy + k], i), launch->in[dy].dtype);
    return sum;
}

double ls_norm_dx(const ls_launch *launch, const ls_norm_sums *sums, int64_t i, double dx) {
    const ls_tensor *last = &launch->in[launch->sig->n_in - 1];
    return sums->has_residual ? ls_tensor_get(last, i) + ls_norm_rounded(dx, last->dtype) : dx;
}
