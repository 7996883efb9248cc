/* dtypes, shapes, tensors. A tensor is a contiguous row-major view on memory that somebody else owns.
 * Local, reentrant. */
#ifndef LOCKSTEP_TENSOR_H
#define LOCKSTEP_TENSOR_H
#include "lockstep/status.h"
#include <stddef.h>
#include <stdint.h>

/* name, bytes, safetensors name */
#define LS_DTYPE_MAP(X)      \
    X(F32, f32, 4, "F32")    \
    X(BF16, bf16, 2, "BF16") \
    X(F16, f16, 2, "F16")    \
    X(F64, f64, 8, "F64")    \
    X(I64, i64, 8, "I64")    \
    X(I32, i32, 4, "I32")    \
    X(I8, i8, 1, "I8")       \
    X(U8, u8, 1, "U8")       \
    X(BOOL, bool, 1, "BOOL")

typedef enum ls_dtype {
#define LS_DTYPE_ENUM(upper, lower, bytes, st) LS_DTYPE_##upper,
    LS_DTYPE_MAP(LS_DTYPE_ENUM)
#undef LS_DTYPE_ENUM
        LS_DTYPE_COUNT
} ls_dtype;

enum { LS_MAX_DIMS = 6 };

LS_API size_t ls_dtype_bytes(ls_dtype dtype);
LS_API const char *ls_dtype_name(ls_dtype dtype);                 /* "bf16" */
LS_API ls_status ls_dtype_parse(const char *name, ls_dtype *out); /* "bf16" or "BF16" */
LS_API int ls_dtype_is_float(ls_dtype dtype);

typedef struct ls_shape {
    int n_dims; /* 0 = scalar (one element) */
    int64_t dims[LS_MAX_DIMS];
} ls_shape;

LS_API int64_t ls_shape_count(
    const ls_shape *shape); /* elements; shapes are checked at creation, so no overflow */
LS_API int ls_shape_equal(const ls_shape *a, const ls_shape *b);
/* Builds and checks: n_dims <= 6, dims >= 0, the byte count of the widest dtype fits int64. */
LS_API ls_status ls_shape_make(int n_dims, const int64_t *dims, ls_shape *out);
/* "[32, 128, 256]" into text; returns text. */
LS_API const char *ls_shape_print(const ls_shape *shape, char text[128]);

typedef struct ls_tensor {
    ls_dtype dtype;
    ls_shape shape;
    void *data;
} ls_tensor;

LS_API size_t ls_tensor_bytes(const ls_tensor *tensor);
/* Element i as a double / from a double (rounding to nearest even into the dtype). For reference kernels and tests. */
LS_API double ls_tensor_get(const ls_tensor *tensor, int64_t i);
LS_API void ls_tensor_set(ls_tensor *tensor, int64_t i, double value);
/* Element-wise conversion src -> dst (same count), rounding to nearest even; NaN stays NaN. */
LS_API void ls_convert(void *dst, ls_dtype dst_dtype, const void *src, ls_dtype src_dtype,
                       int64_t count);

LS_API float ls_bf16_to_f32(uint16_t bits);
LS_API uint16_t ls_f32_to_bf16(float value);
LS_API float ls_f16_to_f32(uint16_t bits);
LS_API uint16_t ls_f32_to_f16(float value);

#endif
