#include "graph/op.h"

ls_status ls_infer_float(const char *op, const char *operand, const ls_type *type) {
    if (ls_dtype_is_float(type->dtype)) return LS_OK;
    return LS_FAIL(LS_ERR_INVALID, "op %s: %s must be a float tensor, got %s", op, operand,
                   ls_dtype_name(type->dtype));
}

ls_status ls_infer_same_shape(const char *op, const ls_type *a, const ls_type *b) {
    char left[128], right[128];
    if (ls_shape_equal(&a->shape, &b->shape)) return LS_OK;
    return LS_FAIL(LS_ERR_INVALID, "op %s: operands must have the same shape, got %s and %s", op,
                   ls_shape_print(&a->shape, left), ls_shape_print(&b->shape, right));
}

ls_status ls_infer_dims(const char *op, const char *operand, const ls_type *type, int n_dims) {
    char shape[128];
    if (type->shape.n_dims == n_dims) return LS_OK;
    return LS_FAIL(LS_ERR_INVALID, "op %s: %s must have %d dims, got shape %s", op, operand, n_dims,
                   ls_shape_print(&type->shape, shape));
}

ls_status ls_shard_elementwise(const ls_sig *sig, const int *in_split, int *out_split) {
    for (int i = 1; i < sig->n_in; i++)
        if (in_split[i] != in_split[0])
            return LS_FAIL(
                LS_ERR_UNSUPPORTED,
                "op %s: inputs split differently (dim %d and dim %d) need a gather first",
                sig->op->name, in_split[0], in_split[i]);
    for (int i = 0; i < sig->n_out; i++)
        out_split[i] = sig->n_in ? in_split[0] : LS_SHARD_REPLICATED;
    return LS_OK;
}

int64_t ls_type_count(const ls_type *type) {
    return ls_shape_count(&type->shape);
}

size_t ls_type_bytes(const ls_type *type) {
    return (size_t)ls_shape_count(&type->shape) * ls_dtype_bytes(type->dtype);
}

void ls_cost_default(const ls_sig *sig, ls_cost *out) {
    *out = (ls_cost){0};
    for (int i = 0; i < sig->n_in; i++) out->bytes_read += (double)ls_type_bytes(&sig->in[i]);
    for (int i = 0; i < sig->n_out; i++) out->bytes_written += (double)ls_type_bytes(&sig->out[i]);
}
