/* Elements of tensors as doubles, and conversion between dtypes. */
#include "lockstep/tensor.h"
#include "tensor/half.h"
#include <float.h>
#include <math.h>

float ls_bf16_to_f32(uint16_t bits) {
    return half_from_bf16(bits);
}

uint16_t ls_f32_to_bf16(float value) {
    return half_to_bf16(value);
}

float ls_f16_to_f32(uint16_t bits) {
    return half_from_f16(bits);
}

uint16_t ls_f32_to_f16(float value) {
    return half_to_f16(value);
}

size_t ls_tensor_bytes(const ls_tensor *tensor) {
    return (size_t)ls_shape_count(&tensor->shape) * ls_dtype_bytes(tensor->dtype);
}

/* double -> f32 rounded to odd: a later rounding to 16 bits then gives what one rounding from the double would. */
static float narrow_to_odd(double value) {
    const float nearest = (float)value;
    if ((double)nearest == value || nearest != nearest || fabsf(nearest) > FLT_MAX) return nearest;
    uint32_t bits = half_float_bits(nearest);
    if (fabs((double)nearest) > fabs(value)) bits--; /* back towards zero */
    return half_bits_float(bits | 1u);
}

/* Nearest even integer, held in [low, high]; NaN gives 0. */
static int64_t to_integer(double value, double low, double high) {
    if (value != value) return 0;
    const double rounded = nearbyint(value);
    if (rounded <= low) return (int64_t)low;
    if (rounded >= high) return high >= 0x1p63 ? INT64_MAX : (int64_t)high;
    return (int64_t)rounded;
}

static double load(const void *data, ls_dtype dtype, int64_t i) {
    switch (dtype) {
    case LS_DTYPE_F32:
        return ((const float *)data)[i];
    case LS_DTYPE_BF16:
        return half_from_bf16(((const uint16_t *)data)[i]);
    case LS_DTYPE_F16:
        return half_from_f16(((const uint16_t *)data)[i]);
    case LS_DTYPE_F64:
        return ((const double *)data)[i];
    case LS_DTYPE_I64:
        return (double)((const int64_t *)data)[i];
    case LS_DTYPE_I32:
        return ((const int32_t *)data)[i];
    case LS_DTYPE_I8:
        return ((const int8_t *)data)[i];
    case LS_DTYPE_U8:
        return ((const uint8_t *)data)[i];
    case LS_DTYPE_BOOL:
        return ((const uint8_t *)data)[i] != 0;
    default:
        return 0;
    }
}

static void store(void *data, ls_dtype dtype, int64_t i, double value) {
    switch (dtype) {
    case LS_DTYPE_F32:
        ((float *)data)[i] = (float)value;
        break;
    case LS_DTYPE_BF16:
        ((uint16_t *)data)[i] = half_to_bf16(narrow_to_odd(value));
        break;
    case LS_DTYPE_F16:
        ((uint16_t *)data)[i] = half_to_f16(narrow_to_odd(value));
        break;
    case LS_DTYPE_F64:
        ((double *)data)[i] = value;
        break;
    case LS_DTYPE_I64:
        ((int64_t *)data)[i] = to_integer(value, -0x1p63, 0x1p63);
        break;
    case LS_DTYPE_I32:
        ((int32_t *)data)[i] = (int32_t)to_integer(value, INT32_MIN, INT32_MAX);
        break;
    case LS_DTYPE_I8:
        ((int8_t *)data)[i] = (int8_t)to_integer(value, INT8_MIN, INT8_MAX);
        break;
    case LS_DTYPE_U8:
        ((uint8_t *)data)[i] = (uint8_t)to_integer(value, 0, UINT8_MAX);
        break;
    case LS_DTYPE_BOOL:
        ((uint8_t *)data)[i] = value != 0;
        break;
    default:
        break;
    }
}

double ls_tensor_get(const ls_tensor *tensor, int64_t i) {
    return load(tensor->data, tensor->dtype, i);
}

void ls_tensor_set(ls_tensor *tensor, int64_t i, double value) {
    store(tensor->data, tensor->dtype, i, value);
}

/* The pairs on the way of every training step have loops of their own, which the compiler turns into vector code. */
static int convert_fast(void *restrict dst, ls_dtype dst_dtype, const void *restrict src,
                        ls_dtype src_dtype, int64_t count) {
    const uint16_t *from_16 = src;
    const float *from_32 = src;
    uint16_t *to_16 = dst;
    float *to_32 = dst;
    if (src_dtype == LS_DTYPE_BF16 && dst_dtype == LS_DTYPE_F32)
        for (int64_t i = 0; i < count; i++) to_32[i] = half_from_bf16(from_16[i]);
    else if (src_dtype == LS_DTYPE_F32 && dst_dtype == LS_DTYPE_BF16)
        for (int64_t i = 0; i < count; i++) to_16[i] = half_to_bf16(from_32[i]);
    else if (src_dtype == LS_DTYPE_F16 && dst_dtype == LS_DTYPE_F32)
        for (int64_t i = 0; i < count; i++) to_32[i] = half_from_f16(from_16[i]);
    else if (src_dtype == LS_DTYPE_F32 && dst_dtype == LS_DTYPE_F16)
        for (int64_t i = 0; i < count; i++) to_16[i] = half_to_f16(from_32[i]);
    else
        return 0;
    return 1;
}

/* A double holds every value of every dtype but large i64; those have a way of their own. */
static int convert_i64(void *dst, ls_dtype dst_dtype, const int64_t *src, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        const int64_t v = src[i];
        if (dst_dtype == LS_DTYPE_F32)
            ((float *)dst)[i] = (float)v;
        else
            store(dst, dst_dtype, i, (double)v);
    }
    return 1;
}

void ls_convert(void *dst, ls_dtype dst_dtype, const void *src, ls_dtype src_dtype, int64_t count) {
    if (count <= 0) return;
    if (dst_dtype == src_dtype) {
        memmove(dst, src, (size_t)count * ls_dtype_bytes(src_dtype));
        return;
    }
    if (convert_fast(dst, dst_dtype, src, src_dtype, count)) return;
    if (src_dtype == LS_DTYPE_I64 && convert_i64(dst, dst_dtype, src, count)) return;
    for (int64_t i = 0; i < count; i++) store(dst, dst_dtype, i, load(src, src_dtype, i));
}
