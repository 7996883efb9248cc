#include "op/batchnorm/batchnorm.h"

ls_channels ls_channels_of(const ls_shape *shape) {
    ls_channels sizes = {shape->dims[0], shape->dims[1], 1};
    for (int d = 2; d < shape->n_dims; d++) sizes.n_places *= shape->dims[d];
    return sizes;
}

ls_status ls_channels_infer(const char *op, const ls_type *x) {
    char shape[128];
    LS_TRY(ls_infer_float(op, "x", x));
    if (x->shape.n_dims < 2)
        return LS_FAIL(LS_ERR_INVALID, "op %s: x must be [B, C, ..], got shape %s", op,
                       ls_shape_print(&x->shape, shape));
    const ls_channels sizes = ls_channels_of(&x->shape);
    if (sizes.n_batch * sizes.n_places == 0)
        return LS_FAIL(LS_ERR_INVALID,
                       "op %s: a channel of x must have at least one value, got shape %s", op,
                       ls_shape_print(&x->shape, shape));
    return LS_OK;
}

ls_status ls_channels_infer_vector(const char *op, const char *operand, const ls_type *vector,
                                   const ls_type *x) {
    char shape[128];
    LS_TRY(ls_infer_float(op, operand, vector));
    if (vector->shape.n_dims == 1 && vector->shape.dims[0] == x->shape.dims[1]) return LS_OK;
    return LS_FAIL(LS_ERR_INVALID, "op %s: %s must be [%lld] (the channels of x), got shape %s", op,
                   operand, (long long)x->shape.dims[1], ls_shape_print(&vector->shape, shape));
}
