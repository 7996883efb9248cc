/* Sixteen floats at a time, the same lane structure at every instruction-set level.
 *
 * For kernel files only (op/cpu_kernel.h): GCC vector extensions, which the compiler lowers to SSE2, AVX2 or AVX-512.
 * An element's result depends on its value, never on its lane, its position in the array or on how a tail was
 * handled: functions work on whole vectors, and tails are padded when loaded and cut when stored. Horizontal
 * sums and maxima use one fixed tree: halves, quarters, pairs. NaN goes through everything.
 * The polynomials are near-minimax fits made for this file; errors against double are in tests/unit/op/test_simd.c.
 * Local, reentrant. */
#ifndef LS_OP_SIMD_H
#define LS_OP_SIMD_H
#include "lockstep/tensor.h"
#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <immintrin.h>
#endif

enum { V16_LANES = 16 };

typedef float v16 __attribute__((vector_size(64)));
typedef int32_t v16i __attribute__((vector_size(64)));
typedef uint32_t v16u __attribute__((vector_size(64)));
typedef uint16_t v16h __attribute__((vector_size(32))); /* bf16 or f16 bits */
typedef float v8 __attribute__((vector_size(32)));
typedef float v4 __attribute__((vector_size(16)));
#ifdef __SSE2__
typedef union v16_parts { /* the registers a v16 is made of */
    v16 all;
    __m128 x[4];
#ifdef __AVX__
    __m256 y[2];
#endif
} v16_parts;
#endif
/* The same, at any address. */
typedef float v16_any __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint16_t v16h_any __attribute__((vector_size(32), aligned(2), may_alias));

#define V16_INLINE static inline __attribute__((always_inline, unused))

V16_INLINE v16 v16_set(float value) {
#if defined(__AVX__) && \
    !defined(__AVX512F__) /* GCC 12 would store it lane by lane where it is used twice */
    v16_parts all;
    for (int i = 0; i < 2; i++) all.y[i] = _mm256_set1_ps(value);
    return all.all;
#else
    return value - (v16){0}; /* x + 0 would be an addition: -0 + 0 is 0 */
#endif
}
V16_INLINE v16i v16i_set(int32_t value) {
    return (v16i){0} + value;
}
V16_INLINE v16u v16_bits(v16 x) {
    return (v16u)x;
}

/* mask lanes are 0 or -1, as comparisons make them. */
V16_INLINE v16 v16_select(v16i mask, v16 yes, v16 no) {
#ifdef __AVX512DQ__
    return (v16)_mm512_mask_blend_ps(_mm512_movepi32_mask((__m512i)mask), (__m512)no, (__m512)yes);
#else
    return (v16)((mask & (v16i)yes) | (~mask & (v16i)no));
#endif
}

/* Comparisons as masks. GCC 12 takes the operators (<, ==) apart into scalars below AVX-512, so kernels use these. */
#if defined(__AVX512F__) || !defined(__SSE2__)
#define V16_COMPARE(name, operator, predicate, sse) \
    V16_INLINE v16i name(v16 a, v16 b) {            \
        return a operator b;                        \
    }
#elif defined(__AVX__)
#define V16_COMPARE(name, operator, predicate, sse)                                       \
    V16_INLINE v16i name(v16 a, v16 b) {                                                  \
        const v16_parts x = {a}, y = {b};                                                 \
        v16_parts mask;                                                                   \
        for (int i = 0; i < 2; i++) mask.y[i] = _mm256_cmp_ps(x.y[i], y.y[i], predicate); \
        return (v16i)mask.all;                                                            \
    }
#else
#define V16_COMPARE(name, operator, predicate, sse)                  \
    V16_INLINE v16i name(v16 a, v16 b) {                             \
        const v16_parts x = {a}, y = {b};                            \
        v16_parts mask;                                              \
        for (int i = 0; i < 4; i++) mask.x[i] = sse(x.x[i], y.x[i]); \
        return (v16i)mask.all;                                       \
    }
#endif
V16_COMPARE(v16_gt, >, _CMP_GT_OQ, _mm_cmpgt_ps)
V16_COMPARE(v16_ge, >=, _CMP_GE_OQ, _mm_cmpge_ps)
V16_COMPARE(v16_eq, ==, _CMP_EQ_OQ, _mm_cmpeq_ps)
V16_COMPARE(v16_ne, !=, _CMP_NEQ_UQ, _mm_cmpneq_ps)
V16_INLINE v16i v16_is_nan(v16 x) {
    return v16_ne(x, x);
}

V16_INLINE v16 v16_abs(v16 x) {
    return (v16)((v16u)x & 0x7fffffffu);
}
V16_INLINE v16 v16_copysign(v16 magnitude, v16 sign) {
    return (v16)(((v16u)magnitude & 0x7fffffffu) | ((v16u)sign & 0x80000000u));
}
/* The larger; NaN when either is NaN. */
V16_INLINE v16 v16_max(v16 a, v16 b) {
    return v16_select(v16_gt(a, b) | v16_is_nan(a), a, b);
}
V16_INLINE v16 v16_min(v16 a, v16 b) {
    return v16_select(v16_gt(b, a) | v16_is_nan(a), a, b);
}
/* Into [low, high]; NaN stays. */
V16_INLINE v16 v16_clamp(v16 x, float low, float high) {
#ifdef __AVX512F__
    return (v16)_mm512_max_ps(_mm512_set1_ps(low), _mm512_min_ps(_mm512_set1_ps(high), (__m512)x));
#elif defined(__AVX__)
    v16_parts y = {x};
    for (int i = 0; i < 2; i++)
        y.y[i] = _mm256_max_ps(_mm256_set1_ps(low), _mm256_min_ps(_mm256_set1_ps(high), y.y[i]));
    return y.all;
#else
    const v16 below = v16_select(v16_gt(x, v16_set(high)), v16_set(high), x);
    return v16_select(v16_gt(v16_set(low), below), v16_set(low), below);
#endif
}
/* x * 2^n for whole n in [-200, 200], n also as the integer `whole`: two factors, so that subnormal results and 2^128
 * come out right. */
V16_INLINE v16 v16_scale_2(v16 x, v16 n, v16i whole) {
#ifdef __AVX512F__
    (void)whole;
    return (v16)_mm512_scalef_ps((__m512)x, (__m512)n);
#else
    (void)n;
    const v16i half = whole >> 1;
    return x * (v16)((half + 127) << 23) * (v16)((whole - half + 127) << 23);
#endif
}
V16_INLINE v16 v16_sqrt(v16 x) {
#ifdef __AVX512F__
    return (v16)_mm512_sqrt_ps((__m512)x);
#elif defined(__AVX__) /* no narrower: a load of a part waits for stores of its halves */
    v16_parts y = {x};
    for (int i = 0; i < 2; i++) y.y[i] = _mm256_sqrt_ps(y.y[i]);
    return y.all;
#elif defined(__SSE2__)
    v16_parts y = {x};
    for (int i = 0; i < 4; i++) y.x[i] = _mm_sqrt_ps(y.x[i]);
    return y.all;
#else
    v16 y;
    for (int i = 0; i < V16_LANES; i++) y[i] = sqrtf(x[i]);
    return y;
#endif
}

/* --- loads and stores -------------------------------------------------------------------------------------------- */

V16_INLINE v16 v16_load_f32(const float *p) {
    return (v16) * (const v16_any *)p;
}
V16_INLINE void v16_store_f32(float *p, v16 x) {
#if defined(__AVX__) && !defined(__AVX512F__)
    const v16_parts y = {x};
    for (int i = 0; i < 2; i++) _mm256_storeu_ps(p + 8 * i, y.y[i]);
#else
    *(v16_any *)p = (v16_any)x;
#endif
}
/* Past the caches, to an address that is a multiple of 64; _mm_sfence before others are told. */
V16_INLINE void v16_stream_f32(float *p, v16 x) {
#ifdef __AVX512F__
    _mm512_stream_ps(p, (__m512)x);
#elif defined(__SSE2__)
    const v16_parts y = {x};
#ifdef __AVX__
    for (int i = 0; i < 2; i++) _mm256_stream_ps(p + 8 * i, y.y[i]);
#else
    for (int i = 0; i < 4; i++) _mm_stream_ps(p + 4 * i, y.x[i]);
#endif
#else
    v16_store_f32(p, x);
#endif
}
V16_INLINE v16 v16_from_bf16(v16h bits) {
#if defined(__AVX512F__) /* GCC 12 makes five instructions of the conversion of a vector */
    return (v16)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)bits), 16);
#elif !defined(__SSE2__)
    return (v16)(__builtin_convertvector(bits, v16u) << 16);
#elif defined(__AVX2__)
    const __m128i low = _mm256_castsi256_si128((__m256i)bits);
    const __m128i high = _mm256_extracti128_si256((__m256i)bits, 1);
    v16_parts y;
    y.y[0] = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(low), 16));
    y.y[1] = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(high), 16));
    return y.all;
#else
    const union {
        v16h all;
        __m128i half[2];
    } in = {bits};
    const __m128i zero = _mm_setzero_si128();
    v16_parts y;
    for (int i = 0; i < 2; i++) {
        y.x[2 * i] = _mm_castsi128_ps(_mm_unpacklo_epi16(zero, in.half[i]));
        y.x[2 * i + 1] = _mm_castsi128_ps(_mm_unpackhi_epi16(zero, in.half[i]));
    }
    return y.all;
#endif
}
/* The upper halves of the lanes. */
V16_INLINE v16h v16_upper(v16u bits) {
#if defined(__AVX512F__)
    return (v16h)_mm512_cvtepi32_epi16(_mm512_srli_epi32((__m512i)bits, 16));
#elif !defined(__SSE2__)
    return __builtin_convertvector(bits >> 16, v16h);
#elif defined(__AVX2__)
    const v16_parts in = {(v16)bits}; /* an arithmetic shift leaves what the signed pack keeps */
    const __m256i low = _mm256_srai_epi32(_mm256_castps_si256(in.y[0]), 16);
    const __m256i high = _mm256_srai_epi32(_mm256_castps_si256(in.y[1]), 16);
    return (v16h)_mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8);
#else
    const v16_parts in = {(v16)bits};
    union {
        v16h all;
        __m128i half[2];
    } y;
    for (int i = 0; i < 2; i++)
        y.half[i] = _mm_packs_epi32(_mm_srai_epi32(_mm_castps_si128(in.x[2 * i]), 16),
                                    _mm_srai_epi32(_mm_castps_si128(in.x[2 * i + 1]), 16));
    return y.all;
#endif
}
/* Nearest even; NaN stays a (quiet) NaN. */
V16_INLINE v16h v16_to_bf16(v16 x) {
    const v16u bits = (v16u)x;
    const v16u rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
#if defined(__AVX512F__)
    const __mmask16 is_nan = _mm512_cmp_ps_mask((__m512)x, (__m512)x, _CMP_UNORD_Q);
    return v16_upper((v16u)_mm512_mask_or_epi32((__m512i)rounded, is_nan, (__m512i)bits,
                                                _mm512_set1_epi32(0x400000)));
#else
    const v16u nan = bits | 0x400000u;
    return v16_upper((v16u)v16_select(v16_is_nan(x), (v16)nan, (v16)rounded));
#endif
}
V16_INLINE v16 v16_from_f16(v16h bits) {
#if defined(__AVX512F__)
    return (v16)_mm512_cvtph_ps((__m256i)bits);
#elif defined(__F16C__)
    v16_parts y;
    y.y[0] = _mm256_cvtph_ps(_mm256_castsi256_si128((__m256i)bits));
    y.y[1] = _mm256_cvtph_ps(_mm256_extracti128_si256((__m256i)bits, 1));
    return y.all;
#else
    v16 y;
    for (int i = 0; i < V16_LANES; i++) y[i] = ls_f16_to_f32(bits[i]);
    return y;
#endif
}
V16_INLINE v16h v16_to_f16(v16 x) {
#if defined(__AVX512F__)
    return (v16h)_mm512_cvtps_ph((__m512)x, _MM_FROUND_TO_NEAREST_INT);
#elif defined(__F16C__)
    const v16_parts y = {x};
    return (v16h)_mm256_set_m128i(_mm256_cvtps_ph(y.y[1], _MM_FROUND_TO_NEAREST_INT),
                                  _mm256_cvtps_ph(y.y[0], _MM_FROUND_TO_NEAREST_INT));
#else
    v16h y;
    for (int i = 0; i < V16_LANES; i++) y[i] = ls_f32_to_f16(x[i]);
    return y;
#endif
}
V16_INLINE v16h v16h_load(const uint16_t *p) {
    return (v16h) * (const v16h_any *)p;
}
V16_INLINE void v16h_store(uint16_t *p, v16h x) {
    *(v16h_any *)p = (v16h_any)x;
}
/* Past the caches, to an address that is a multiple of 32; both halves of a cache line, and v16_stream_end before others are told. */
V16_INLINE void v16h_stream(uint16_t *p, v16h x) {
#if defined(__AVX__)
    _mm256_stream_si256((__m256i *)p, (__m256i)x);
#elif defined(__SSE2__)
    const union {
        v16h all;
        __m128i half[2];
    } y = {x};
    for (int i = 0; i < 2; i++) _mm_stream_si128((__m128i *)p + i, y.half[i]);
#else
    v16h_store(p, x);
#endif
}
V16_INLINE void v16_stream_end(void) {
#ifdef __SSE2__
    _mm_sfence();
#endif
}
V16_INLINE v16 v16_load_bf16(const uint16_t *p) {
    return v16_from_bf16(v16h_load(p));
}
V16_INLINE void v16_store_bf16(uint16_t *p, v16 x) {
    v16h_store(p, v16_to_bf16(x));
}
V16_INLINE v16 v16_load_f16(const uint16_t *p) {
    return v16_from_f16(v16h_load(p));
}
V16_INLINE void v16_store_f16(uint16_t *p, v16 x) {
    v16h_store(p, v16_to_f16(x));
}
/* The first n of 16; the other lanes are `rest` when loaded, untouched in memory when stored. */
#if defined(__AVX512BW__) && defined(__AVX512VL__)
V16_INLINE __mmask16 v16_first(int64_t n) {
    return (__mmask16)((1u << n) - 1u);
}
V16_INLINE v16 v16_load_f32_n(const float *p, int64_t n, float rest) {
    return (v16)_mm512_mask_loadu_ps(_mm512_set1_ps(rest), v16_first(n), p);
}
V16_INLINE void v16_store_f32_n(float *p, v16 x, int64_t n) {
    _mm512_mask_storeu_ps(p, v16_first(n), (__m512)x);
}
V16_INLINE v16h v16h_load_n(const uint16_t *p, int64_t n) {
    return (v16h)_mm256_maskz_loadu_epi16(v16_first(n), p);
}
V16_INLINE void v16h_store_n(uint16_t *p, v16h x, int64_t n) {
    _mm256_mask_storeu_epi16(p, v16_first(n), (__m256i)x);
}
/* x in the first n lanes, `rest` in the others. */
V16_INLINE v16 v16_keep_first(v16 x, int64_t n, float rest) {
    return (v16)_mm512_mask_blend_ps(v16_first(n), _mm512_set1_ps(rest), (__m512)x);
}
#else
V16_INLINE v16 v16_load_f32_n(const float *p, int64_t n, float rest) {
    v16 x = v16_set(rest);
    memcpy(&x, p, (size_t)n * sizeof *p);
    return x;
}
V16_INLINE void v16_store_f32_n(float *p, v16 x, int64_t n) {
    memcpy(p, &x, (size_t)n * sizeof *p);
}
V16_INLINE v16h v16h_load_n(const uint16_t *p, int64_t n) {
    v16h x = {0};
    memcpy(&x, p, (size_t)n * sizeof *p);
    return x;
}
V16_INLINE void v16h_store_n(uint16_t *p, v16h x, int64_t n) {
    memcpy(p, &x, (size_t)n * sizeof *p);
}
V16_INLINE v16 v16_keep_first(v16 x, int64_t n, float rest) {
    return v16_load_f32_n((const float *)&x, n, rest);
}
#endif

V16_INLINE int v16_accepts(ls_dtype dtype) {
    return dtype == LS_DTYPE_F32 || dtype == LS_DTYPE_BF16 || dtype == LS_DTYPE_F16;
}
/* Vector at element `at` of an f32, bf16 or f16 array. */
V16_INLINE v16 v16_load(const void *data, ls_dtype dtype, int64_t at) {
    if (dtype == LS_DTYPE_F32) return v16_load_f32((const float *)data + at);
    if (dtype == LS_DTYPE_BF16) return v16_load_bf16((const uint16_t *)data + at);
    return v16_load_f16((const uint16_t *)data + at);
}
V16_INLINE void v16_store(void *data, ls_dtype dtype, int64_t at, v16 x) {
    if (dtype == LS_DTYPE_F32)
        v16_store_f32((float *)data + at, x);
    else if (dtype == LS_DTYPE_BF16)
        v16_store_bf16((uint16_t *)data + at, x);
    else
        v16_store_f16((uint16_t *)data + at, x);
}
V16_INLINE v16 v16_load_n(const void *data, ls_dtype dtype, int64_t at, int64_t n, float rest) {
    if (n == V16_LANES) return v16_load(data, dtype, at);
    if (dtype == LS_DTYPE_F32) return v16_load_f32_n((const float *)data + at, n, rest);
    const v16h bits = v16h_load_n((const uint16_t *)data + at, n);
    return v16_keep_first(dtype == LS_DTYPE_BF16 ? v16_from_bf16(bits) : v16_from_f16(bits), n,
                          rest);
}
V16_INLINE void v16_store_n(void *data, ls_dtype dtype, int64_t at, v16 x, int64_t n) {
    if (n == V16_LANES)
        v16_store(data, dtype, at, x);
    else if (dtype == LS_DTYPE_F32)
        v16_store_f32_n((float *)data + at, x, n);
    else
        v16h_store_n((uint16_t *)data + at, dtype == LS_DTYPE_BF16 ? v16_to_bf16(x) : v16_to_f16(x),
                     n);
}

/* n elements from `at` on, as f32; dst is padded to a whole vector with `rest` (it must have the room). */
static inline __attribute__((unused)) void row_load(float *dst, const void *src, ls_dtype dtype,
                                                    int64_t at, int64_t n, float rest) {
    int64_t i = 0;
    if (dtype == LS_DTYPE_F32)
        for (; i + 16 <= n; i += 16) v16_store_f32(dst + i, v16_load(src, LS_DTYPE_F32, at + i));
    else if (dtype == LS_DTYPE_BF16)
        for (; i + 16 <= n; i += 16) v16_store_f32(dst + i, v16_load(src, LS_DTYPE_BF16, at + i));
    else
        for (; i + 16 <= n; i += 16) v16_store_f32(dst + i, v16_load(src, LS_DTYPE_F16, at + i));
    if (i < n) v16_store_f32(dst + i, v16_load_n(src, dtype, at + i, n - i, rest));
}
/* n f32 values to elements `at` and on; src is read to a whole vector, dst is not written past n. */
static inline __attribute__((unused)) void row_store(void *dst, ls_dtype dtype, int64_t at,
                                                     const float *src, int64_t n) {
    int64_t i = 0;
    if (dtype == LS_DTYPE_F32)
        for (; i + 16 <= n; i += 16) v16_store(dst, LS_DTYPE_F32, at + i, v16_load_f32(src + i));
    else if (dtype == LS_DTYPE_BF16)
        for (; i + 16 <= n; i += 16) v16_store(dst, LS_DTYPE_BF16, at + i, v16_load_f32(src + i));
    else
        for (; i + 16 <= n; i += 16) v16_store(dst, LS_DTYPE_F16, at + i, v16_load_f32(src + i));
    if (i < n) v16_store_n(dst, dtype, at + i, v16_load_f32(src + i), n - i);
}

/* n values (whole vectors) as a row_store to the dtype and a row_load would leave them. */
static inline __attribute__((unused)) void row_round(float *row, ls_dtype dtype, int64_t n) {
    if (dtype == LS_DTYPE_BF16)
        for (int64_t i = 0; i < n; i += 16)
            v16_store_f32(row + i, v16_from_bf16(v16_to_bf16(v16_load_f32(row + i))));
    else if (dtype == LS_DTYPE_F16)
        for (int64_t i = 0; i < n; i += 16)
            v16_store_f32(row + i, v16_from_f16(v16_to_f16(v16_load_f32(row + i))));
}
/* row[0 .. n - 1] += elements `at` and on of src, as op add on values of that dtype: the sum is rounded to it. */
static inline __attribute__((unused)) void row_add(float *row, const void *src, ls_dtype dtype,
                                                   int64_t at, int64_t n) {
    int64_t i = 0;
    if (dtype == LS_DTYPE_F32)
        for (; i + 16 <= n; i += 16)
            v16_store_f32(row + i, v16_load_f32(row + i) + v16_load(src, LS_DTYPE_F32, at + i));
    else if (dtype == LS_DTYPE_BF16)
        for (; i + 16 <= n; i += 16)
            v16_store_f32(row + i, v16_load_f32(row + i) + v16_load(src, LS_DTYPE_BF16, at + i));
    else
        for (; i + 16 <= n; i += 16)
            v16_store_f32(row + i, v16_load_f32(row + i) + v16_load(src, LS_DTYPE_F16, at + i));
    if (i < n)
        v16_store_f32(row + i, v16_load_f32(row + i) + v16_load_n(src, dtype, at + i, n - i, 0));
    row_round(row, dtype, (n + 15) / 16 * 16);
}

/* --- horizontal -------------------------------------------------------------------------------------------------- */

/* Below AVX-512, GCC 12 takes shuffles of a v16 apart into scalars. */
V16_INLINE v8 v16_low(v16 x) {
#if defined(__AVX__) && !defined(__AVX512F__)
    const v16_parts parts = {x};
    return (v8)parts.y[0];
#else
    return __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7);
#endif
}
V16_INLINE v8 v16_high(v16 x) {
#if defined(__AVX__) && !defined(__AVX512F__)
    const v16_parts parts = {x};
    return (v8)parts.y[1];
#else
    return __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15);
#endif
}
V16_INLINE float v16_sum(v16 x) {
    const v8 y = v16_low(x) + v16_high(x);
    const v4 z =
        __builtin_shufflevector(y, y, 0, 1, 2, 3) + __builtin_shufflevector(y, y, 4, 5, 6, 7);
    return (z[0] + z[2]) + (z[1] + z[3]);
}
#if defined(__AVX__) && !defined(__AVX512F__)
V16_INLINE __m128 v4_max(__m128 a, __m128 b) {
    const __m128 is_a = _mm_or_ps(_mm_cmp_ps(a, b, _CMP_GT_OQ), _mm_cmp_ps(a, a, _CMP_UNORD_Q));
    return _mm_blendv_ps(b, a, is_a);
}
V16_INLINE float v16_max_of(v16 x) {
    const v16_parts parts = {x};
    const __m256 a = parts.y[0], b = parts.y[1];
    const __m256 is_a =
        _mm256_or_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ), _mm256_cmp_ps(a, a, _CMP_UNORD_Q));
    const __m256 y = _mm256_blendv_ps(b, a, is_a);
    __m128 z = v4_max(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
    z = v4_max(z, _mm_movehl_ps(z, z));
    return _mm_cvtss_f32(v4_max(z, _mm_movehdup_ps(z)));
}
#else
V16_INLINE float v16_max_of(v16 x) {
    v16 y = v16_max(
        x, __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
    y = v16_max(
        y, __builtin_shufflevector(y, y, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11));
    y = v16_max(
        y, __builtin_shufflevector(y, y, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13));
    y = v16_max(
        y, __builtin_shufflevector(y, y, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14));
    return y[0];
}
#endif

/* --- functions --------------------------------------------------------------------------------------------------- */

/* e^x: x = n ln 2 + r with |r| <= ln 2 / 2. Gradual underflow, +inf above 88.73. */
V16_INLINE v16 v16_exp(v16 x) {
    const v16 clamped = v16_clamp(x, -104.0f, 89.0f);
    const float shifter = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number */
    const v16 shifted = clamped * 1.442695041f + shifter;
    const v16 n = shifted - shifter;
    const v16 r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
    v16 p = v16_set(1.394996187e-03f);
    p = p * r + 8.368883282e-03f;
    p = p * r + 4.166621715e-02f;
    p = p * r + 1.666651815e-01f;
    p = p * r + 0.5f;
    p = p * (r * r) + r + 1.0f;
    return v16_scale_2(p, n, (v16i)shifted - 0x4b400000);
}

/* Natural logarithm: 0 gives -inf, negative gives NaN, subnormals are exact inputs. */
V16_INLINE v16 v16_log(v16 x) {
    const v16i tiny = v16_gt(v16_set(1.17549435e-38f), x);
    const v16 scaled = v16_select(tiny, x * 33554432.0f, x);
    /* m in [sqrt(1/2), sqrt(2)) */
    const v16u offset = (v16u)scaled - 0x3f3504f3u;
    const v16i exponent = (v16i)offset >> 23;
    const v16 m = (v16)((offset & 0x007fffffu) + 0x3f3504f3u);
    const v16 n =
        __builtin_convertvector(exponent, v16) - v16_select(tiny, v16_set(25.0f), v16_set(0));
    const v16 f = m - 1.0f;
    const v16 f2 = f * f;
    v16 p = v16_set(6.746097654e-02f);
    p = p * f - 1.167500764e-01f;
    p = p * f + 1.188807636e-01f;
    p = p * f - 1.240569949e-01f;
    p = p * f + 1.421957612e-01f;
    p = p * f - 1.666798890e-01f;
    p = p * f + 2.000211775e-01f;
    p = p * f - 2.500000894e-01f;
    p = p * f + 3.333331347e-01f;
    p = p * (f2 * f) - n * 2.12194440e-4f;
    const v16 y = (p - 0.5f * f2 + f) + n * 0.693359375f;
    const v16 bad = v16_select(v16_eq(x, v16_set(0)), v16_set(-INFINITY), v16_set(NAN));
    const v16i good = v16_gt(x, v16_set(0));
    return v16_select(good & v16_gt(v16_set(INFINITY), x), y,
                      v16_select(good | v16_is_nan(x), x, bad));
}

V16_INLINE v16 v16_sigmoid(v16 x) {
    return 1.0f / (1.0f + v16_exp(-x));
}

V16_INLINE v16 v16_tanh(v16 x) {
    const v16 a = v16_abs(x);
    const v16 z = x * x;
    v16 p = v16_set(-5.717253778e-03f);
    p = p * z + 2.065075748e-02f;
    p = p * z - 5.374354497e-02f;
    p = p * z + 1.333149225e-01f;
    p = p * z - 3.333328366e-01f;
    const v16 small = x + x * (z * p);
    const v16 large = 1.0f - 2.0f / (v16_exp(a + a) + 1.0f);
    return v16_select(v16_gt(a, v16_set(0.625f)), v16_copysign(large, x), small);
}

V16_INLINE v16 v16_erf(v16 x) {
    const v16 a = v16_abs(x);
    const v16 z = x * x;
    v16 p = v16_set(8.345132665e-05f);
    p = p * z - 8.137411787e-04f;
    p = p * z + 5.200631451e-03f;
    p = p * z - 2.685926855e-02f;
    p = p * z + 1.128369421e-01f;
    p = p * z - 3.761263490e-01f;
    p = p * z + 1.283791661e-01f;
    const v16 small = x + x * p;
    const v16 t = v16_clamp(a, 0.0f, 4.0f); /* 1 - erf(4) is under half a step of 1 */
    v16 q = v16_set(2.116107134e-05f);      /* -log(1 - erf(t)) */
    q = q * t - 4.352083779e-04f;
    q = q * t + 4.174589645e-03f;
    q = q * t - 2.512848191e-02f;
    q = q * t + 1.082937270e-01f;
    q = q * t + 6.333348751e-01f;
    q = q * t + 1.129520774e+00f;
    q = q * t - 1.758565923e-04f;
    const v16 large = v16_copysign(1.0f - v16_exp(-q), x);
    return v16_select(v16_gt(a, v16_set(0.92f)), large, small);
}

#endif
