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
