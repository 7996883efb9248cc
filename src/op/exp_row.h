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

#ifdef __AVX512BW__
/* The bits of the largest of n numbers of 16 bits, thirty-two at a time: as signed numbers those that are not negative are in order, as
 * unsigned ones those that are, the other way round. */
V16_INLINE uint16_t exp_row_max_bits(const uint16_t *x, int64_t n) {
    const __m512i flip = _mm512_set1_epi16(0x7fff);
    __m512i most = _mm512_set1_epi16(INT16_MIN), least = _mm512_set1_epi16(-1);
    int64_t i = 0;
    for (; i + 2 * V16_LANES <= n; i += 2 * V16_LANES) {
        const __m512i bits = _mm512_loadu_si512(x + i);
        most = _mm512_max_epi16(most, bits);
        least = _mm512_min_epu16(least, bits);
    }
    if (i < n) {
        const __mmask32 few = (1u << (n - i)) - 1u;
        const __m512i bits = _mm512_maskz_loadu_epi16(few, x + i);
        most = _mm512_mask_max_epi16(most, few, most, bits);
        least = _mm512_mask_min_epu16(least, few, least, bits);
    }
    most = _mm512_xor_si512(most, flip); /* now the smallest unsigned number is wanted of both */
    const __m256i half =
        _mm256_min_epu16(_mm512_castsi512_si256(most), _mm512_extracti64x4_epi64(most, 1));
    const __m256i other =
        _mm256_min_epu16(_mm512_castsi512_si256(least), _mm512_extracti64x4_epi64(least, 1));
    const __m128i a = _mm_minpos_epu16(
        _mm_min_epu16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1)));
    const __m128i b = _mm_minpos_epu16(
        _mm_min_epu16(_mm256_castsi256_si128(other), _mm256_extracti128_si256(other, 1)));
    const uint16_t positive = (uint16_t)_mm_extract_epi16(a, 0) ^ 0x7fff;
    return positive < 0x8000 ? positive : (uint16_t)_mm_extract_epi16(b, 0);
}
#endif

/* The largest of elements [at, at + n). */
V16_INLINE float exp_row_max(const void *x, ls_dtype dtype, int64_t at, int64_t n) {
#ifdef __AVX512BW__
    if (dtype != LS_DTYPE_F32) {
        const uint16_t bits = exp_row_max_bits((const uint16_t *)x + at, n);
        return v16_load_n(&bits, dtype, 0, 1, 0)[0];
    }
#endif
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

/* exp(x - m) of a row's elements to e, and to the first or the second of two sums; meanwhile elements `read` and the places `written`
 * (NULL: none) are fetched, as far from their beginning as what is computed. What is not there is fetched in vain. */
typedef struct exp_row_walk {
    float *e;
    const void *x;
    int64_t at; /* of the row in x */
    float m;
    const char *read, *written;
    v16 first, second;
} exp_row_walk;

enum { EXP_ROW_BLOCK = 2 * V16_LANES };

V16_INLINE void exp_row_fetch(const exp_row_walk *w, ls_dtype dtype, int64_t i) {
    enum { TO_L2 = 2 }; /* the tile at hand fills the first level */
    const int64_t bytes = dtype == LS_DTYPE_F32 ? 4 : 2;
    for (int64_t k = i * bytes; k < (i + EXP_ROW_BLOCK) * bytes; k += 64) {
        __builtin_prefetch((const void *)((uintptr_t)w->read + (uintptr_t)k), 0, TO_L2);
        if (w->written)
            __builtin_prefetch((const void *)((uintptr_t)w->written + (uintptr_t)k), 1, TO_L2);
    }
}

V16_INLINE void exp_row_block(exp_row_walk *w, ls_dtype dtype, int64_t i) {
    const v16 a = exp_row_one(v16_read(w->x, dtype, w->at + i) - w->m, dtype);
    const v16 b = exp_row_one(v16_read(w->x, dtype, w->at + i + V16_LANES) - w->m, dtype);
    exp_row_fetch(w, dtype, i);
    v16_store_f32(w->e + i, a);
    v16_store_f32(w->e + i + V16_LANES, b);
    w->first += a;
    w->second += b;
}

/* Elements [i, end), padded with zeros to a whole vector. */
V16_INLINE void exp_row_rest(exp_row_walk *w, ls_dtype dtype, int64_t i, int64_t end) {
    for (; i + EXP_ROW_BLOCK <= end; i += EXP_ROW_BLOCK) exp_row_block(w, dtype, i);
    if (i < end) exp_row_fetch(w, dtype, i);
    for (; i < end; i += V16_LANES) {
        const int64_t left = end - i < V16_LANES ? end - i : V16_LANES;
        const v16 x = v16_read_n(w->x, dtype, w->at + i, left, -INFINITY);
        const v16 a = exp_row_one(x - w->m, dtype);
        v16_store_f32(w->e + i, a);
        w->first += a;
    }
}

/* What exp_row fetches: x `ahead` elements further on, and the places of a result like x that are written next (NULL: none). */
typedef struct exp_row_next {
    int64_t ahead;
    const void *y;
} exp_row_next;

/* exp(x - m) of elements [at, at + n) to e, padded with zeros to a whole vector; returns their sum. e may be the place of x. */
V16_INLINE float exp_row(float *e, const void *x, ls_dtype dtype, int64_t at, int64_t n, float m,
                         exp_row_next next) {
    const int64_t bytes = dtype == LS_DTYPE_F32 ? 4 : 2;
    exp_row_walk w = {.e = e, .x = x, .at = at, .m = m};
    w.read = (const char *)x + (at + next.ahead) * bytes;
    w.written = next.y ? (const char *)next.y + at * bytes : NULL;
    exp_row_rest(&w, dtype, 0, n);
    return v16_sum(w.first + w.second);
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

/* How many elements lie before the first at a multiple of 64 bytes, from `at` on. */
V16_INLINE int64_t exp_row_apart(const void *y, ls_dtype dtype, int64_t at) {
    const int64_t bytes = dtype == LS_DTYPE_F32 ? 4 : 2;
    return (int64_t)(-((uintptr_t)y + (uintptr_t)(at * bytes)) % 64) / bytes;
}

/* e * factor - less of n elements to `at` on of y; v16_stream_end where they stream. */
V16_INLINE void exp_row_store(void *y, ls_dtype dtype, int64_t at, const float *e, int64_t n,
                              float factor, float less, int stream) {
    int64_t i = stream ? exp_row_apart(y, dtype, at) : 0;
    if (i > n) i = n;
    if (i > 0) exp_row_few(y, dtype, at, e, i, factor, less);
    for (; i + EXP_ROW_BLOCK <= n; i += EXP_ROW_BLOCK)
        exp_row_two(y, dtype, at + i, v16_load_f32(e + i) * factor - less,
                    v16_load_f32(e + i + V16_LANES) * factor - less, stream);
    exp_row_few(y, dtype, at + i, e + i, n - i, factor, less);
}

/* A row whose exponentials lie in e and whose results, e * factor - less, are still to be written. */
typedef struct exp_row_old {
    void *y;
    int64_t at, n, done;       /* of the row in y; elements: all, written */
    float factor, next_factor; /* of the tile at hand, of the next one */
    float less;
} exp_row_old;

/* A block of results, read from e before that takes a block of another row. */
V16_INLINE void exp_row_turn_block(exp_row_walk *w, ls_dtype dtype, int stream, int64_t i,
                                   exp_row_old *old, v16 low, v16 high) {
    const float *e = w->e + old->done;
    const v16 a = v16_load_f32(e) * low - old->less;
    const v16 b = v16_load_f32(e + V16_LANES) * high - old->less;
    exp_row_block(w, dtype, i);
    exp_row_two(old->y, dtype, old->at + old->done, a, b, stream);
    old->done += EXP_ROW_BLOCK;
}

/* Elements [from, end) of the walk, and as many results of the row before at least, in blocks that begin where cache lines do if they
 * stream. So the last of them may reach into the next tile. */
V16_INLINE void exp_row_turn(exp_row_walk *w, ls_dtype dtype, int stream, int64_t from, int64_t end,
                             exp_row_old *old) {
    const v16 factor = v16_set(old->factor);
    int64_t i = from;
    if (stream && from == 0) {
        const int64_t apart = exp_row_apart(old->y, dtype, old->at);
        old->done = apart < end ? apart : end;
        exp_row_few(old->y, dtype, old->at, w->e, old->done, old->factor, old->less);
    }
    const int64_t most = (old->n - old->done) / EXP_ROW_BLOCK, all = (end - from) / EXP_ROW_BLOCK;
    const int64_t n = most < all ? most : all;
    const int crosses = n > 0 && old->done + n * EXP_ROW_BLOCK > end;
    for (; i < from + (n - crosses) * EXP_ROW_BLOCK; i += EXP_ROW_BLOCK)
        exp_row_turn_block(w, dtype, stream, i, old, factor, factor);
    if (crosses) {
        float both[EXP_ROW_BLOCK];
        for (int k = 0; k < EXP_ROW_BLOCK; k++)
            both[k] = k < end - old->done ? old->factor : old->next_factor;
        exp_row_turn_block(w, dtype, stream, i, old, v16_load_f32(both),
                           v16_load_f32(both + V16_LANES));
        i += EXP_ROW_BLOCK;
    }
    if (old->done < end) {
        exp_row_few(old->y, dtype, old->at + old->done, w->e + old->done, end - old->done,
                    old->factor, old->less);
        old->done = end;
    }
    exp_row_rest(w, dtype, i, end);
}

#endif
