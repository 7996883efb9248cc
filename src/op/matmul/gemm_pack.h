/* Packing of panels, for kernel files (compiled per instruction set). A panel of width W holds, for each word of k, W words
 * side by side; what is past the operand's edge is zero. Everything is inlined with a constant W. */
#ifndef LS_OP_GEMM_PACK_H
#define LS_OP_GEMM_PACK_H
#include "op/matmul/gemm.h"
#include "op/simd.h"

#if defined(__AVX2__) && !defined(__AVX512F__)
enum { TURN_ROWS = 8 };
typedef __m256i turned;

/* Transposes 8 x 8 words in registers: pairs, quads, then halves. A vector of 16 words would be taken apart. */
V16_INLINE void turn_square(turned r[8]) {
    __m256i t[8];
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
    }
    /* q holds, in its two 128-bit lanes l, column 4l + c of rows 0 .. 3 or 4 .. 7. */
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        const __m256i *pair = t + c / 2;
        const __m256i low = c % 2 ? _mm256_unpackhi_epi64(pair[0], pair[2])
                                  : _mm256_unpacklo_epi64(pair[0], pair[2]);
        const __m256i high = c % 2 ? _mm256_unpackhi_epi64(pair[4], pair[6])
                                   : _mm256_unpacklo_epi64(pair[4], pair[6]);
        r[c] = _mm256_permute2x128_si256(low, high, 0x20);
        r[4 + c] = _mm256_permute2x128_si256(low, high, 0x31);
    }
}

V16_INLINE __m256i half_of(v16u x, int half) {
    const v16_parts parts = {(v16)x};
    return _mm256_castps_si256(parts.y[half]);
}

/* Stores n (a constant up to 8) words. */
V16_INLINE void store_eight(uint32_t *dst, __m256i x, int n) {
    if (n == 8) {
        _mm256_storeu_si256((__m256i *)dst, x);
    } else if (n == 6) { /* a memcpy would go through the stack */
        _mm_storeu_si128((__m128i *)dst, _mm256_castsi256_si128(x));
        _mm_storel_epi64((__m128i *)(dst + 4), _mm256_extracti128_si256(x, 1));
    } else {
        memcpy(dst, &x, (size_t)n * sizeof *dst);
    }
}
#else
enum { TURN_ROWS = 16 };
typedef v16u turned;

/* Transposes 16 x 16 words in registers: pairs, quads, then 4 x 4 blocks of quads. */
V16_INLINE void turn_square(v16u r[16]) {
    v16u t[16];
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        t[i] = __builtin_shufflevector(r[i], r[i + 1], 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12,
                                       28, 13, 29);
        t[i + 1] = __builtin_shufflevector(r[i], r[i + 1], 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11,
                                           27, 14, 30, 15, 31);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
#pragma GCC unroll 2
        for (int j = 0; j < 2; j++) {
            r[i + 2 * j] = __builtin_shufflevector(t[i + j], t[i + j + 2], 0, 1, 16, 17, 4, 5, 20,
                                                   21, 8, 9, 24, 25, 12, 13, 28, 29);
            r[i + 2 * j + 1] = __builtin_shufflevector(t[i + j], t[i + j + 2], 2, 3, 18, 19, 6, 7,
                                                       22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
        }
    }
    /* r[4q + c] holds, in its four 128-bit lanes l, column 4l + c of rows 4q .. 4q + 3. */
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        const v16u a = __builtin_shufflevector(r[c], r[4 + c], 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6,
                                               7, 20, 21, 22, 23);
        const v16u b = __builtin_shufflevector(r[c], r[4 + c], 8, 9, 10, 11, 24, 25, 26, 27, 12, 13,
                                               14, 15, 28, 29, 30, 31);
        const v16u d = __builtin_shufflevector(r[8 + c], r[12 + c], 0, 1, 2, 3, 16, 17, 18, 19, 4,
                                               5, 6, 7, 20, 21, 22, 23);
        const v16u e = __builtin_shufflevector(r[8 + c], r[12 + c], 8, 9, 10, 11, 24, 25, 26, 27,
                                               12, 13, 14, 15, 28, 29, 30, 31);
        t[c] =
            __builtin_shufflevector(a, d, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
        t[4 + c] = __builtin_shufflevector(a, d, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28,
                                           29, 30, 31);
        t[8 + c] =
            __builtin_shufflevector(b, e, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
        t[12 + c] = __builtin_shufflevector(b, e, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28,
                                            29, 30, 31);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) r[i] = t[i];
}

#endif

#ifdef __AVX512BW__
/* 64 bytes, zero behind n_bytes. */
V16_INLINE v16u load_line(const char *p, int64_t n_bytes) {
    if (n_bytes >= 64) return (v16u)_mm512_loadu_si512(p);
    return (v16u)_mm512_maskz_loadu_epi8(n_bytes > 0 ? ~UINT64_C(0) >> (64 - n_bytes) : 0, p);
}
#endif

/* The first n of 16 elements at `at` as f32 words; the rest zero. */
V16_INLINE v16u load_wide(const void *data, ls_dtype dtype, int64_t at, int64_t n) {
    if (n >= 16) return (v16u)v16_load(data, dtype, at);
    if (n <= 0) return (v16u){0};
#ifdef __AVX512BW__
    const __mmask16 mask = (__mmask16)((1u << n) - 1);
    if (dtype == LS_DTYPE_F32) return (v16u)_mm512_maskz_loadu_ps(mask, (const float *)data + at);
    const v16h bits = (v16h)_mm256_maskz_loadu_epi16(mask, (const uint16_t *)data + at);
    return (v16u)(dtype == LS_DTYPE_BF16 ? v16_from_bf16(bits) : v16_from_f16(bits));
#else
    return (v16u)v16_load_n(data, dtype, at, n, 0.0f);
#endif
}

/* 16 pairs along k: 32 neighbouring bf16. */
V16_INLINE v16u load_pairs(const void *data, int64_t at, int64_t n) {
    v16u x = {0};
    const uint16_t *p = (const uint16_t *)data + at;
    if (n >= 32)
        memcpy(&x, p, sizeof x);
    else if (n > 0)
#ifdef __AVX512BW__
        x = (v16u)_mm512_maskz_loadu_epi16((1u << n) - 1, p);
#else
        memcpy(&x, p, (size_t)n * sizeof *p);
#endif
    return x;
}

/* Stores n (a constant up to 16) words. */
V16_INLINE void store_words(uint32_t *dst, v16u x, int n) {
#ifdef __AVX512F__
    if (n == 12) { /* a memcpy would go through the stack */
        _mm256_storeu_si256((__m256i *)dst, _mm512_castsi512_si256((__m512i)x));
        _mm_storeu_si128((__m128i *)(dst + 8), _mm512_extracti32x4_epi32((__m512i)x, 2));
        return;
    }
#endif
    memcpy(dst, &x, (size_t)n * sizeof *dst);
}

/* TURN_ROWS rows of 16 words: word i of the first `lanes` (a constant) of them goes to dst + i * width, the first n_words words do. */
V16_INLINE void turn_rows(v16u r[TURN_ROWS], int lanes, int64_t n_words, int width, uint32_t *dst) {
#if defined(__AVX2__) && !defined(__AVX512F__)
    for (int half = 0; half < 2; half++, dst += 8 * width, n_words -= 8) {
        turned part[8];
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) part[i] = half_of(r[i], half);
        turn_square(part);
        if (n_words >= 8) {
#pragma GCC unroll 8
            for (int i = 0; i < 8; i++) store_eight(dst + i * width, part[i], lanes);
        } else {
            for (int i = 0; i < n_words; i++) store_eight(dst + i * width, part[i], lanes);
        }
    }
#else
    turn_square(r);
    if (n_words == 16) {
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) store_words(dst + i * width, r[i], lanes);
    } else {
        for (int i = 0; i < n_words; i++) store_words(dst + i * width, r[i], lanes);
    }
#endif
}

/* Asks the second-level cache for an element that will be packed soon; it may lie past the end. The next panel's rows are too short and
 * too far apart for the processor to guess. */
V16_INLINE void ask_ahead(const ls_gemm_operand *x, int64_t at) {
    const uintptr_t bytes = x->dtype == LS_DTYPE_F32 ? 4 : 2;
    __builtin_prefetch((const void *)((uintptr_t)x->data + (uintptr_t)at * bytes), 0, 2);
}

/* k neighbours in memory: blocks of TURN_ROWS rows by 16 words, transposed. */
V16_INLINE void pack_panel_k_inner(const ls_gemm_operand *x, const int64_t range[4], int64_t words,
                                   int width, int pairs, uint32_t *dst) {
    const int64_t n_i = range[1], n_k = range[3];
    const int per_word = pairs ? 2 : 1;
    for (int64_t w0 = 0; w0 < words; w0 += 16) {
        const int64_t n_words = words - w0 < 16 ? words - w0 : 16;
        for (int s = 0; s < width; s += TURN_ROWS) {
            const int lanes = width - s < TURN_ROWS ? width - s : TURN_ROWS;
            v16u r[TURN_ROWS];
#pragma GCC unroll 16
            for (int i = 0; i < TURN_ROWS; i++) {
                const int64_t at = (range[0] + s + i) * x->ld + range[2] + w0 * per_word;
                const int64_t left = s + i < n_i && i < lanes ? n_k - w0 * per_word : 0;
                ask_ahead(x, at + TURN_ROWS * x->ld);
                r[i] =
                    pairs ? load_pairs(x->data, at, left) : load_wide(x->data, x->dtype, at, left);
            }
            turn_rows(r, lanes, n_words, width, dst + w0 * width + s);
        }
    }
}

/* Pairs from two neighbouring rows of 16 columns. */
V16_INLINE v16u join_rows(v16h low, v16h high) {
    return __builtin_convertvector(low, v16u) | __builtin_convertvector(high, v16u) << 16;
}

V16_INLINE v16h load_halves(const void *data, int64_t at, int64_t n) {
    const uint16_t *p = (const uint16_t *)data + at;
    if (n >= 16) return v16h_load(p);
    if (n <= 0) return (v16h){0};
#ifdef __AVX512BW__
    return (v16h)_mm256_maskz_loadu_epi16((__mmask16)((1u << n) - 1), p);
#else
    return v16h_load_n(p, n);
#endif
}

/* Columns neighbours in memory: words [from, to) of a panel. */
V16_INLINE void pack_words_i_inner(const ls_gemm_operand *x, const int64_t range[4], int64_t from,
                                   int64_t to, int width, int pairs, uint32_t *dst) {
    const int64_t n_i = range[1], n_k = range[3];
    for (int64_t w = from; w < to; w++) {
        for (int s = 0; s < width; s += 16) {
            const int lanes = width - s < 16 ? width - s : 16;
            /* A narrow panel may load its neighbour's columns: cheaper than cutting. */
            const int64_t left = n_i - s >= 16 ? 16 : n_i - s < lanes ? n_i - s : lanes;
            const int64_t k = pairs ? 2 * w : w;
            const int64_t at = (range[2] + k) * x->ld + range[0] + s;
            if (s % 32 == 0) {
                ask_ahead(x, at + 16 * x->ld);
                if (pairs) ask_ahead(x, at + 17 * x->ld);
            }
            v16u r;
            if (pairs)
                r = join_rows(load_halves(x->data, at, k < n_k ? left : 0),
                              load_halves(x->data, at + x->ld, k + 1 < n_k ? left : 0));
            else
                r = load_wide(x->data, x->dtype, at, k < n_k ? left : 0);
            store_words(dst + w * width + s, r, lanes);
        }
    }
}

/* All panels of a range. `width` and `pairs` are constants of the engine. Rows of k are walked in strips over all panels, so
 * that each line of memory is fetched once. */
V16_INLINE void pack_panels(const ls_gemm_operand *x, const int64_t range[4], int64_t words,
                            int width, int pairs, void *dst) {
    enum { STRIP_WORDS = 8 };
    const int64_t strip = x->k_inner ? words : STRIP_WORDS;
    for (int64_t w = 0; w < words; w += strip) {
        const int64_t end = w + strip < words ? w + strip : words;
        uint32_t *to = dst;
        for (int64_t i = 0; i < range[1]; i += width, to += words * width) {
            const int64_t rest[4] = {range[0] + i, range[1] - i, range[2], range[3]};
            if (x->k_inner)
                pack_panel_k_inner(x, rest, words, width, pairs, to);
            else
                pack_words_i_inner(x, rest, w, end, width, pairs, to);
        }
    }
}

#endif
