/* A row's maximum and its exponentials, for kernels of softmax and cross entropy (*_cpu.c files only). dtype is a constant where these are
 * inlined. Two sums are carried side by side. */
#ifndef LS_OP_EXP_ROW_H
#define LS_OP_EXP_ROW_H
#include "op/simd_bf16.h"

/* e^x as sums of exponentials want it, x mostly negative: the argument in units of ln 2 is rounded once, so the relative error is at most
 * 2e-7 + 8e-8 |x|, for rows of bf16, whose own steps are a thousand times as large, 3.1e-6 + 8e-8 |x|; e^0 is 1. What is below 2^-126
 * may become 0, what is above 2^126 need not grow any more. */
V16_INLINE v16 exp_row_one(v16 x, ls_dtype dtype) {
    const v16 t = x * 1.442695041f; /* 2^t = 2^n 2^f with n = floor(t) */
#if defined(__AVX512DQ__)
    const v16 f = (v16)_mm512_reduce_ps((__m512)t, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
#else
    const float shifter = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number */
    const v16 clamped = v16_clamp(t, -150.0f, 126.0f);
    const v16 shifted = (clamped - 0.5f) + shifter;
    const v16 n = shifted - shifter, f = clamped - n;
#endif
    v16 p;
    if (dtype != LS_DTYPE_BF16) {
        p = 1.867130050e-03f * f + 9.017030708e-03f;
        p = p * f + 5.579991266e-02f;
        p = p * f + 2.401644439e-01f;
        p = p * f + 6.931512952e-01f;
    } else {
        p = 1.342668477e-02f * f + 5.224247277e-02f;
        p = p * f + 2.412801981e-01f;
        p = p * f + 6.930448413e-01f;
    }
    p = p * f + 1.0f;
#if defined(__AVX512DQ__)
    return (v16)_mm512_scalef_ps((__m512)p, (__m512)t);
#else
    return v16_scale_2(p, n, (v16i)shifted - 0x4b400000);
#endif
}

/* The larger of two, without v16_max's care for NaN: a NaN in the row makes the sum of exponentials NaN in any case. */
V16_INLINE v16 exp_row_larger(v16 a, v16 b) {
#ifdef __AVX512F__
    return (v16)_mm512_max_ps((__m512)a, (__m512)b);
#else
    return v16_select(v16_gt(a, b), a, b);
#endif
}

/* The largest of elements [at, at + n). */
V16_INLINE float exp_row_max(const void *x, ls_dtype dtype, int64_t at, int64_t n) {
    v16 largest = v16_set(-INFINITY), second = largest;
    int64_t i = 0;
    for (; i + 2 * V16_LANES <= n; i += 2 * V16_LANES) {
        largest = exp_row_larger(v16_read(x, dtype, at + i), largest);
        second = exp_row_larger(v16_read(x, dtype, at + i + V16_LANES), second);
    }
    for (; i < n; i += V16_LANES) {
        const int64_t left = n - i < V16_LANES ? n - i : V16_LANES;
        largest = exp_row_larger(v16_read_n(x, dtype, at + i, left, -INFINITY), largest);
    }
    return v16_max_of(v16_max(largest, second));
}

/* What exp_row fetches meanwhile: x `ahead` elements further on, and the places of a result like x that are written next (NULL: none). What
 * is not there is fetched in vain. */
typedef struct exp_row_next {
    int64_t ahead;
    const void *y;
} exp_row_next;

/* exp(x - m) of elements [at, at + n) to e, padded with zeros to a whole vector; returns their sum. e may be the place of x. */
V16_INLINE float exp_row(float *e, const void *x, ls_dtype dtype, int64_t at, int64_t n, float m,
                         exp_row_next next) {
    enum { TO_L2 = 2 }; /* the tile at hand fills the first level */
    const int64_t bytes = dtype == LS_DTYPE_F32 ? 4 : 2;
    const char *read = (const char *)x + (at + next.ahead) * bytes;
    const char *written = next.y ? (const char *)next.y + at * bytes : NULL;
    v16 sum = v16_set(0), second = sum;
    int64_t i = 0;
    for (; i + 2 * V16_LANES <= n; i += 2 * V16_LANES) {
        const v16 a = exp_row_one(v16_read(x, dtype, at + i) - m, dtype);
        const v16 b = exp_row_one(v16_read(x, dtype, at + i + V16_LANES) - m, dtype);
        for (int64_t k = 0; k < 2 * V16_LANES * bytes; k += 64) {
            __builtin_prefetch(read + i * bytes + k, 0, TO_L2);
            if (written) __builtin_prefetch(written + i * bytes + k, 1, TO_L2);
        }
        v16_store_f32(e + i, a);
        v16_store_f32(e + i + V16_LANES, b);
        sum += a;
        second += b;
    }
    for (; i < n; i += V16_LANES) {
        const int64_t left = n - i < V16_LANES ? n - i : V16_LANES;
        const v16 a = exp_row_one(v16_read_n(x, dtype, at + i, left, -INFINITY) - m, dtype);
        v16_store_f32(e + i, a);
        sum += a;
    }
    return v16_sum(sum + second);
}

/* Results of this many bytes and more are in no cache any more when they are read: they are written past the caches. */
enum { EXP_ROW_STREAM_BYTES = 32 << 20 };

static inline int exp_row_streams(const ls_tensor *x, const ls_tensor *y) {
    return x->data != y->data && ls_tensor_bytes(y) >= EXP_ROW_STREAM_BYTES;
}

/* e * factor - less of n elements to `at` on of y. */
V16_INLINE void exp_row_few(void *y, ls_dtype dtype, int64_t at, const float *e, int64_t n,
                            float factor, float less) {
    int64_t i = 0;
    for (; i + V16_LANES <= n; i += V16_LANES)
        v16_write(y, dtype, at + i, v16_load_f32(e + i) * factor - less);
    if (i < n)
        v16_write_n(y, dtype, at + i, v16_load_f32_n(e + i, n - i, 0) * factor - less, n - i);
}

/* Thirty-two at once, with `stream` to an address that is a multiple of 64. AVX512-BF16: what is below 2^-126 becomes 0. */
V16_INLINE void exp_row_two(void *y, ls_dtype dtype, int64_t at, v16 low, v16 high, int stream) {
#ifdef __AVX512BF16__
    if (dtype == LS_DTYPE_BF16) {
        const __m512i both = (__m512i)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
        if (stream)
            _mm512_stream_si512((void *)((uint16_t *)y + at), both);
        else
            _mm512_storeu_si512((uint16_t *)y + at, both);
        return;
    }
#endif
    if (stream && dtype == LS_DTYPE_F32) {
        v16_stream_f32((float *)y + at, low);
        v16_stream_f32((float *)y + at + V16_LANES, high);
    } else if (stream) {
        const int is_bf16 = dtype == LS_DTYPE_BF16;
        v16h_stream((uint16_t *)y + at, is_bf16 ? v16_narrow_bf16(low) : v16_to_f16(low));
        v16h_stream((uint16_t *)y + at + V16_LANES,
                    is_bf16 ? v16_narrow_bf16(high) : v16_to_f16(high));
    } else {
        v16_write(y, dtype, at, low);
        v16_write(y, dtype, at + V16_LANES, high);
    }
}

/* e * factor - less of n elements to `at` on of y; v16_stream_end where they stream. */
V16_INLINE void exp_row_store(void *y, ls_dtype dtype, int64_t at, const float *e, int64_t n,
                              float factor, float less, int stream) {
    const int64_t bytes = dtype == LS_DTYPE_F32 ? 4 : 2;
    int64_t i = stream ? (int64_t)(-((uintptr_t)y + (uintptr_t)(at * bytes)) % 64) / bytes : 0;
    if (i > n) i = n;
    if (i > 0) exp_row_few(y, dtype, at, e, i, factor, less);
    for (; i + 2 * V16_LANES <= n; i += 2 * V16_LANES)
        exp_row_two(y, dtype, at + i, v16_load_f32(e + i) * factor - less,
                    v16_load_f32(e + i + V16_LANES) * factor - less, stream);
    exp_row_few(y, dtype, at + i, e + i, n - i, factor, less);
}

#endif
