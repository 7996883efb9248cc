/* Lanes, vectors and what is done to them in attention. For kernel files only.
 *
 * A lane is 32 bits: one f32, or with ATTENTION_BF16 a pair of bf16 neighbouring along the summed dim, so that one
 * multiply-add instruction (vdpbf16ps) takes two terms. LANE_TERMS is 1 or 2. Sums are always f32.
 * Tiles are at most TILE x TILE, their sides padded with zeros to multiples of SIDE_ALIGN.
 * ATTENTION_AMX (with ATTENTION_BF16): products run on AMX tiles, 32 x 32 results at a time. */
#ifndef LS_OP_ATTENTION_LANE_H
#define LS_OP_ATTENTION_LANE_H
#include "op/attention/attention_view.h"
#include "op/cpu_kernel.h"
#include "op/simd_bf16.h"

enum { TILE = 64, MAX_HEAD_SIZE = 1024 /* a row fits in a tile */ };

#if defined(__AVX512F__) || defined(ATTENTION_BF16)
enum { VEC_LANES = 16, PANEL_VECS = 4 };
#elif defined(__AVX__)
enum { VEC_LANES = 8, PANEL_VECS = 2 };
#else
enum { VEC_LANES = 4, PANEL_VECS = 2 };
#endif
typedef float vec __attribute__((vector_size(4 * VEC_LANES)));
typedef int32_t veci __attribute__((vector_size(4 * VEC_LANES)));
typedef float vec_any __attribute__((vector_size(4 * VEC_LANES), aligned(4), may_alias));

#ifdef ATTENTION_BF16
enum { LANE_TERMS = 2, HEAD_ALIGN = 32 };
typedef uint32_t lane __attribute__((may_alias));
typedef uint16_t term;
#else
enum { LANE_TERMS = 1, HEAD_ALIGN = 16 };
typedef float lane;
typedef float term;
#endif
#ifdef ATTENTION_AMX
enum { SIDE_ALIGN = 32, SKIPS_BLOCKS = 0 };
#else
enum { SIDE_ALIGN = 16, SKIPS_BLOCKS = 1 /* products leave out blocks of 16 above the diagonal */ };
#endif

static inline int64_t round_up(int64_t n, int64_t multiple) {
    return (n + multiple - 1) / multiple * multiple;
}

V16_INLINE vec vec_load(const float *p) {
    return (vec) * (const vec_any *)p;
}
V16_INLINE void vec_store(float *p, vec x) {
    *(vec_any *)p = (vec_any)x;
}
V16_INLINE vec vec_select(veci mask, vec yes, vec no) {
#if defined(__AVX512F__)
    return v16_select(mask, yes, no);
#else
    return (vec)((mask & (veci)yes) | (~mask & (veci)no));
#endif
}

/* Larger of two; a NaN in b comes through. */
V16_INLINE vec larger(vec a, vec b) {
#if defined(__AVX512F__)
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
#else
    return vec_select(a > b, a, b);
#endif
}

/* 2^x for x < 127, relative error 1e-7; zero below -126 (at the latest below -150); NaN stays. */
V16_INLINE vec power_of_two(vec x) {
    const vec low = larger((vec){0} - 200.0f, x);
#if defined(__AVX512F__)
    const vec whole = (vec)_mm512_roundscale_ps((__m512)low, 0);
#else
    const vec shifted = low + 12582912.0f; /* 1.5 * 2^23 rounds to a whole number */
    const vec whole = shifted - 12582912.0f;
#endif
    const vec r = low - whole;
    vec p = 1.326472731e-03f * r + 9.671512991e-03f;
    p = p * r + 5.550733581e-02f;
    p = p * r + 2.402224243e-01f;
    p = p * r + 6.931470037e-01f;
    p = p * r + 1.0f;
#if defined(__AVX512F__)
    return (vec)_mm512_scalef_ps((__m512)p, (__m512)whole);
#else
    const vec y = p * (vec)(((veci)shifted - 0x4b400000 + 127) << 23);
    return vec_select(x < -126.0f, (vec){0}, y);
#endif
}

/* dst[c][r] = src[r][c] for 16 x 16 lanes. */
static inline void transpose_16(float *dst, int64_t dst_ld, const float *src, int64_t src_ld) {
#if defined(__AVX512F__)
    v16 x[16], y[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) x[i] = v16_load_f32(src + i * src_ld);
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        y[i] = (v16)_mm512_unpacklo_ps((__m512)x[i], (__m512)x[i + 1]);
        y[i + 1] = (v16)_mm512_unpackhi_ps((__m512)x[i], (__m512)x[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
        x[i] = (v16)_mm512_unpacklo_pd((__m512d)y[i], (__m512d)y[i + 2]);
        x[i + 1] = (v16)_mm512_unpackhi_pd((__m512d)y[i], (__m512d)y[i + 2]);
        x[i + 2] = (v16)_mm512_unpacklo_pd((__m512d)y[i + 1], (__m512d)y[i + 3]);
        x[i + 3] = (v16)_mm512_unpackhi_pd((__m512d)y[i + 1], (__m512d)y[i + 3]);
    }
    /* x[4g + c] holds column 4l + c of rows 4g..4g+3 in its 128-bit quarter l */
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        const __m512 a = (__m512)_mm512_shuffle_f32x4((__m512)x[c], (__m512)x[4 + c], 0x88);
        const __m512 b = (__m512)_mm512_shuffle_f32x4((__m512)x[c], (__m512)x[4 + c], 0xdd);
        const __m512 d = (__m512)_mm512_shuffle_f32x4((__m512)x[8 + c], (__m512)x[12 + c], 0x88);
        const __m512 e = (__m512)_mm512_shuffle_f32x4((__m512)x[8 + c], (__m512)x[12 + c], 0xdd);
        v16_store_f32(dst + c * dst_ld, (v16)_mm512_shuffle_f32x4(a, d, 0x88));
        v16_store_f32(dst + (8 + c) * dst_ld, (v16)_mm512_shuffle_f32x4(a, d, 0xdd));
        v16_store_f32(dst + (4 + c) * dst_ld, (v16)_mm512_shuffle_f32x4(b, e, 0x88));
        v16_store_f32(dst + (12 + c) * dst_ld, (v16)_mm512_shuffle_f32x4(b, e, 0xdd));
    }
#else
    typedef float float_any __attribute__((may_alias));
    const float_any *from = src;
    float_any *to = dst;
    for (int r = 0; r < 16; r++)
        for (int c = 0; c < 16; c++) to[c * dst_ld + r] = from[r * src_ld + c];
#endif
}

#endif
