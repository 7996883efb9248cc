#include "op/batchnorm/batchnorm.h"
#include "op/layernorm/norm_infer.h"

ls_channels ls_channels_of(const ls_shape *shape) {
    ls_channels sizes = {1, shape->dims[shape->n_dims - 1]};
    for (int d = 0; d < shape->n_dims - 1; d++) sizes.n_rows *= shape->dims[d];
    return sizes;
}

ls_status ls_channels_infer(const char *op, const ls_type *x) {
    char shape[128];
    LS_TRY(ls_infer_float(op, "x", x));
    if (x->shape.n_dims < 2)
        return LS_FAIL(LS_ERR_INVALID, "op %s: x must be [.., C] of two dims or more, got shape %s",
                       op, ls_shape_print(&x->shape, shape));
    if (ls_channels_of(&x->shape).n_rows == 0)
        return LS_FAIL(LS_ERR_INVALID,
                       "op %s: a channel of x must have at least one value, got shape %s", op,
                       ls_shape_print(&x->shape, shape));
    return LS_OK;
}

ls_status ls_channels_infer_vector(const char *op, const char *operand, const ls_type *vector,
                                   const ls_type *x) {
    char shape[128];
    const int64_t n_channels = ls_channels_of(&x->shape).n_channels;
    LS_TRY(ls_infer_float(op, operand, vector));
    if (vector->shape.n_dims == 1 && vector->shape.dims[0] == n_channels) return LS_OK;
    return LS_FAIL(LS_ERR_INVALID, "op %s: %s must be [%lld] (the channels of x), got shape %s", op,
                   operand, (long long)n_channels, ls_shape_print(&vector->shape, shape));
}

ls_status ls_batchnorm_infer_tail(const char *op, const ls_batchnorm_attr *attr, int n_in,
                                  const ls_type *in, int n_plain) {
    const int want = n_plain + (attr->has_residual != 0);
    if (n_in != want)
        return LS_FAIL(LS_ERR_INVALID, "op %s: with %s residual it takes %d inputs, got %d", op,
                       attr->has_residual ? "a" : "no", want, n_in);
    return attr->has_residual ? ls_norm_infer_like(op, "the residual", &in[n_plain], &in[0])
                              : LS_OK;
}

void ls_batchnorm_print(const void *attr, ls_text *out) {
    const ls_batchnorm_attr *a = attr;
    ls_text_append(out, "eps=%.17g", a->eps);
    if (a->has_residual) ls_text_append(out, " residual=1");
    if (a->relu) ls_text_append(out, " relu=1");
}

void ls_batchnorm_finish(const ls_launch *l, int64_t at, double y) {
    const ls_batchnorm_attr *a = l->sig->attr;
    const ls_dtype dtype = l->out[0].dtype;
    if (a->has_residual)
        y = ls_norm_rounded(y, dtype) + ls_tensor_get(&l->in[l->sig->n_in - 1], at);
    if (a->relu) {
        y = ls_norm_rounded(y, dtype);
        y = y <= 0 ? 0 : y;
    }
    ls_tensor_set(&l->out[0], at, y);
}
