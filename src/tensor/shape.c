#include "lockstep/tensor.h"
#include <stdio.h>

enum { WIDEST_BYTES = 8 };

ls_status ls_shape_make(int n_dims, const int64_t *dims, ls_shape *out) {
    if (n_dims < 0 || n_dims > LS_MAX_DIMS)
        return LS_FAIL(LS_ERR_INVALID, "a shape of %d dimensions was asked for; 0 to %d work",
                       n_dims, (int)LS_MAX_DIMS);
    ls_shape shape = {.n_dims = n_dims};
    /* Dimensions of 0 are left out of the product, so that a huge shape is refused with or without one. */
    int64_t count = 1;
    for (int i = 0; i < n_dims; i++) {
        if (dims[i] < 0)
            return LS_FAIL(LS_ERR_INVALID, "dimension %d of a shape is %lld; it must be 0 or more",
                           i, (long long)dims[i]);
        if (dims[i] > 0 && count > INT64_MAX / WIDEST_BYTES / dims[i])
            return LS_FAIL(LS_ERR_INVALID,
                           "a shape with dimension %d = %lld has more than 2^60 "
                           "elements",
                           i, (long long)dims[i]);
        if (dims[i] > 0) count *= dims[i];
        shape.dims[i] = dims[i];
    }
    *out = shape;
    return LS_OK;
}

int64_t ls_shape_count(const ls_shape *shape) {
    int64_t count = 1;
    for (int i = 0; i < shape->n_dims; i++) count *= shape->dims[i];
    return count;
}

int ls_shape_equal(const ls_shape *a, const ls_shape *b) {
    if (a->n_dims != b->n_dims) return 0;
    for (int i = 0; i < a->n_dims; i++)
        if (a->dims[i] != b->dims[i]) return 0;
    return 1;
}

/* Six numbers of at most 19 digits, separators and brackets fit 128 bytes. */
const char *ls_shape_print(const ls_shape *shape, char text[128]) {
    size_t used = (size_t)snprintf(text, 128, "[");
    for (int i = 0; i < shape->n_dims && used < 128; i++)
        used += (size_t)snprintf(text + used, 128 - used, "%s%lld", i ? ", " : "",
                                 (long long)shape->dims[i]);
    if (used < 127) snprintf(text + used, 128 - used, "]");
    return text;
}
