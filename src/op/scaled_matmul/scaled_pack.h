/* Bytes into panels and s32 sums out of them, for kernel files (compiled per instruction set). A word holds four bytes along k, or two of
 * them widened to 16 bits. */
#ifndef LS_OP_SCALED_PACK_H
#define LS_OP_SCALED_PACK_H
#include "op/matmul/gemm_pack.h"
#include "op/matmul/gemm_store.h"

typedef uint8_t v16b __attribute__((vector_size(16)));
typedef int8_t v16sb __attribute__((vector_size(16)));

/* 16 bytes, the first n of them from `at` on, widened to words; i8 keeps its sign. */
V16_INLINE v16u load_bytes(const ls_gemm_operand *x, int64_t at, int64_t n) {
    v16b bytes = {0};
    const uint8_t *p = (const uint8_t *)x->data + at;
    if (n >= 16)
        memcpy(&bytes, p, sizeof bytes);
    else if (n > 0)
        memcpy(&bytes, p, (size_t)n);
    return x->dtype == LS_DTYPE_U8 ? __builtin_convertvector(bytes, v16u)
                                   : (v16u) __builtin_convertvector((v16sb)bytes, v16i);
}

/* 16 words of four neighbouring bytes; flip turns i8 into u8, 128 more. */
V16_INLINE v16u load_quads(const ls_gemm_operand *x, int64_t at, int64_t n, int flip) {
    v16u words = {0};
    const uint8_t *p = (const uint8_t *)x->data + at;
    if (n >= 64)
        memcpy(&words, p, sizeof words);
    else if (n > 0)
        memcpy(&words, p, (size_t)n);
    return flip ? words ^ 0x80808080u : words;
}

/* Word w of 16 columns, rows of k apart. */
V16_INLINE v16u join_bytes(const ls_gemm_operand *x, int64_t at, int64_t n_k, int64_t n_columns,
                           int per_word) {
    v16u words = {0};
    const uint32_t mask = per_word == 4 ? 0xff : 0xffff;
#pragma GCC unroll 4
    for (int i = 0; i < per_word; i++)
        words |= (load_bytes(x, at + i * x->ld, i < n_k ? n_columns : 0) & mask)
                 << (unsigned)(i * 32 / per_word);
    return words;
}

#if defined(__AVX2__) && !defined(__AVX512F__)
/* 16 bytes widened to 16 bits. */
V16_INLINE __m256i widen_sixteen(const ls_gemm_operand *x, __m128i bytes) {
    return x->dtype == LS_DTYPE_U8 ? _mm256_cvtepu8_epi16(bytes) : _mm256_cvtepi8_epi16(bytes);
}

V16_INLINE v16u two_halves(__m256i low, __m256i high) {
    v16_parts y;
    y.y[0] = _mm256_castsi256_ps(low);
    y.y[1] = _mm256_castsi256_ps(high);
    return (v16u)y.all;
}

/* The first n of 16 bytes at `at`; the rest zero. */
V16_INLINE __m128i load_sixteen(const ls_gemm_operand *x, int64_t at, int64_t n) {
    __m128i bytes = _mm_setzero_si128();
    const uint8_t *p = (const uint8_t *)x->data + at;
    if (n >= 16) return _mm_loadu_si128((const __m128i *)p);
    if (n > 0) memcpy(&bytes, p, (size_t)n);
    return bytes;
}

/* 16 words of two neighbouring bytes each, widened to 16 bits. */
V16_INLINE v16u load_wide_pairs(const ls_gemm_operand *x, int64_t at, int64_t n) {
    return two_halves(widen_sixteen(x, load_sixteen(x, at, n)),
                      widen_sixteen(x, load_sixteen(x, at + 16, n - 16)));
}

/* Words of two rows of k, of 16 columns. */
V16_INLINE v16u join_wide_pairs(const ls_gemm_operand *x, int64_t at, int64_t n_k,
                                int64_t n_columns) {
    const __m128i even = load_sixteen(x, at, n_k > 0 ? n_columns : 0);
    const __m128i odd = load_sixteen(x, at + x->ld, n_k > 1 ? n_columns : 0);
    return two_halves(widen_sixteen(x, _mm_unpacklo_epi8(even, odd)),
                      widen_sixteen(x, _mm_unpackhi_epi8(even, odd)));
}
#else
/* 16 words of two neighbouring bytes each, widened to 16 bits. */
V16_INLINE v16u load_wide_pairs(const ls_gemm_operand *x, int64_t at, int64_t n) {
    uint16_t halves[32] = {0};
    v16u words;
    for (int h = 0; h < 2; h++) {
        const v16u wide = load_bytes(x, at + 16 * h, n - 16 * h);
        const v16h narrow = __builtin_convertvector(wide, v16h);
        memcpy(halves + 16 * h, &narrow, sizeof narrow);
    }
    memcpy(&words, halves, sizeof words);
    return words;
}

/* Words of two rows of k, of 16 columns. */
V16_INLINE v16u join_wide_pairs(const ls_gemm_operand *x, int64_t at, int64_t n_k,
                                int64_t n_columns) {
    return join_bytes(x, at, n_k, n_columns, 2);
}
#endif

/* Rows of k's neighbours, TURN_ROWS of them at a time. */
V16_INLINE void pack_bytes_k_inner(const ls_gemm_operand *x, const int64_t range[4], int64_t words,
                                   int width, int per_word, int flip, uint32_t *dst) {
    const int64_t n_i = range[1], n_k = range[3];
    for (int64_t w0 = 0; w0 < words; w0 += 16) {
        const int64_t n_words = words - w0 < 16 ? words - w0 : 16;
        for (int s = 0; s < width; s += TURN_ROWS) {
            const int lanes = width - s < TURN_ROWS ? width - s : TURN_ROWS;
            v16u r[TURN_ROWS];
            for (int i = 0; i < TURN_ROWS; i++) {
                const int64_t k = w0 * per_word;
                const int64_t at = (range[0] + s + i) * x->ld + range[2] + k;
                const int64_t left = s + i < n_i && i < lanes ? n_k - k : 0;
                r[i] = per_word == 4 ? load_quads(x, at, left, flip) : load_wide_pairs(x, at, left);
            }
            turn_rows(r, lanes, n_words, width, dst + w0 * width + s);
        }
    }
}

V16_INLINE void pack_bytes_i_inner(const ls_gemm_operand *x, const int64_t range[4], int64_t words,
                                   int width, int per_word, uint32_t *dst) {
    for (int64_t w = 0; w < words; w++)
        for (int s = 0; s < width; s += 16) {
            const int64_t k = w * per_word, left = range[3] - k;
            const int64_t at = (range[2] + k) * x->ld + range[0] + s;
            const v16u r = per_word == 4 ? join_bytes(x, at, left, range[1] - s, 4)
                                         : join_wide_pairs(x, at, left, range[1] - s);
            store_words(dst + w * width + s, r, width - s < 16 ? width - s : 16);
        }
}

/* A panel [words][width]; per_word 4 or 2. */
V16_INLINE void pack_byte_panel(const ls_gemm_operand *x, const int64_t range[4], int64_t words,
                                int width, int per_word, int flip, uint32_t *dst) {
    if (x->k_inner)
        pack_bytes_k_inner(x, range, words, width, per_word, flip, dst);
    else
        pack_bytes_i_inner(x, range, words, width, per_word, dst);
}

V16_INLINE void pack_byte_panels(const ls_gemm_operand *x, const int64_t range[4], int64_t words,
                                 int width, int per_word, int flip, void *dst) {
    uint32_t *to = dst;
    for (int64_t i = 0; i < range[1]; i += width, to += words * width) {
        const int64_t rest[4] = {range[0] + i, range[1] - i, range[2], range[3]};
        pack_byte_panel(x, rest, words, width, per_word, flip, to);
    }
}

/* --- sums of b's columns ------------------------------------------------------------------------------------------- */

enum { MOST_ADDED = 128 /* bytes that 16 bits take in any case */, SUMMED_VECS = 4 };
typedef int8_t v32sb __attribute__((vector_size(32)));
typedef int16_t v32w __attribute__((vector_size(64)));

/* 32 bytes, or the n that are left. */
V16_INLINE v32w widen_bytes(const int8_t *data, int64_t n) {
    v32sb x = {0};
    if (n >= 32)
        memcpy(&x, data, sizeof x);
    else if (n > 0)
        memcpy(&x, data, (size_t)n);
    return __builtin_convertvector(x, v32w);
}

V16_INLINE int32_t sum_bytes(const int8_t *data, int64_t n) {
    int32_t sum = 0;
    while (n > 0) {
        v32w part = {0};
        for (int i = 0; i < MOST_ADDED && n > 0; i++, data += 32, n -= 32)
            part += widen_bytes(data, n);
        for (int i = 0; i < 32; i++) sum += part[i];
    }
    return sum;
}

/* n columns (SUMMED_VECS vectors at most) of rows of k, ld bytes apart. */
V16_INLINE void add_rows(const int8_t *row, int64_t ld, int64_t n_k, int64_t n, int32_t *sums) {
    v32w part[SUMMED_VECS] = {{0}};
    for (int64_t k = 0; k < n_k; k++, row += ld) {
        __builtin_prefetch((const void *)((uintptr_t)row + (uintptr_t)(16 * ld)), 0, 3);
        __builtin_prefetch((const void *)((uintptr_t)row + (uintptr_t)(16 * ld + 64)), 0, 3);
        if (n == 32 * SUMMED_VECS)
#pragma GCC unroll 4
            for (int v = 0; v < SUMMED_VECS; v++) part[v] += widen_bytes(row + 32 * v, 32);
        else
#pragma GCC unroll 4
            for (int v = 0; v < SUMMED_VECS; v++)
                if (n > 32 * v) part[v] += widen_bytes(row + 32 * v, n - 32 * v);
    }
    int16_t lanes[32 * SUMMED_VECS];
    memcpy(lanes, part, sizeof lanes);
    for (int64_t j = 0; j < n; j++) sums[j] += lanes[j];
}

/* ls_scaled_engine.sum_columns. */
static void sum_columns(const ls_gemm_operand *b, int64_t n_k, int64_t first, int64_t n,
                        int32_t *sums) {
    const int8_t *data = b->data;
    if (b->k_inner) {
        for (int64_t j = 0; j < n; j++) sums[j] = sum_bytes(data + (first + j) * b->ld, n_k);
        return;
    }
    memset(sums, 0, (size_t)n * sizeof *sums);
    for (int64_t j = 0; j < n; j += 32 * SUMMED_VECS) {
        const int64_t width = n - j < 32 * SUMMED_VECS ? n - j : 32 * SUMMED_VECS;
        for (int64_t k = 0; k < n_k; k += MOST_ADDED)
            add_rows(data + k * b->ld + first + j, b->ld,
                     n_k - k < MOST_ADDED ? n_k - k : MOST_ADDED, width, sums + j);
    }
}

/* --- s32 sums out of tiles ----------------------------------------------------------------------------------------- */

V16_INLINE v16u load_sums(const void *data, int64_t n) {
    v16u x = {0};
    if (n >= 16)
        memcpy(&x, data, sizeof x);
    else
        memcpy(&x, data, (size_t)n * sizeof(uint32_t));
    return x;
}

V16_INLINE uint32_t zero_of(const ls_gemm_scaled *s, int64_t row) {
    return (uint32_t)s->zero + (uint32_t)(s->row_zero ? s->row_zero[row] : 0);
}

/* 16 (or the last n) finished sums of one row. */
V16_INLINE void finish_sums(const ls_gemm_out *out, int64_t row, int64_t col, v16u sum, int64_t n) {
    const ls_gemm_scaled *s = out->scaled;
    if (s->col_sum) sum -= zero_of(s, row) * load_sums(s->col_sum + col, n);
    v16 x = __builtin_convertvector((v16i)sum, v16) * s->row_scale[row];
    x = x * load_some(s->col_scale, LS_DTYPE_F32, col, n);
    if (out->bias) x = x + load_some(out->bias, LS_DTYPE_F32, col, n);
    if (out->dtype == LS_DTYPE_F32)
        store_some(out->data, LS_DTYPE_F32, row * out->ld + col, x, n);
    else
        store_some(out->data, LS_DTYPE_BF16, row * out->ld + col, x, n);
}

/* A whole tile of one block of k without a bias: the same steps as finish_sums, with what belongs to columns loaded once. */
V16_INLINE void scale_whole_as(const ls_gemm_out *out, const ls_gemm_tile *tile, int nr,
                               ls_dtype dtype, int has_zero) {
    const ls_gemm_scaled *s = out->scaled;
    for (int j = 0; j < nr; j += 16) {
        const v16 col_scale = v16_load_f32(s->col_scale + tile->col + j);
        const v16u col_sum = has_zero ? load_sums(s->col_sum + tile->col + j, 16) : (v16u){0};
        int64_t at = tile->row * out->ld + tile->col + j;
        for (int64_t i = 0; i < tile->n_rows; i++, at += out->ld) {
            const int64_t row = tile->row + i;
            v16u sum = load_sums(tile->c + i * nr + j, 16);
            if (has_zero) sum -= zero_of(s, row) * col_sum;
            const v16 x = __builtin_convertvector((v16i)sum, v16) * s->row_scale[row];
            store_some(out->data, dtype, at, x * col_scale, 16);
        }
    }
}

/* c and acc hold s32; sums over blocks of k lie apart from the result and in whole vectors. */
V16_INLINE void store_sums(const ls_gemm_out *out, const ls_gemm_tile *tile, int nr) {
    if (tile->first && tile->last && tile->n_cols == nr && !out->bias) {
        const int has_zero = out->scaled->col_sum != NULL;
        if (out->dtype == LS_DTYPE_F32 && has_zero)
            scale_whole_as(out, tile, nr, LS_DTYPE_F32, 1);
        else if (out->dtype == LS_DTYPE_F32)
            scale_whole_as(out, tile, nr, LS_DTYPE_F32, 0);
        else
            scale_whole_as(out, tile, nr, LS_DTYPE_BF16, has_zero);
        return;
    }
    for (int i = 0; i < tile->n_rows; i++)
        for (int j = 0; j < tile->n_cols; j += 16) {
            float *acc = tile->acc ? tile->acc + i * tile->acc_ld + j : NULL;
            const int n = tile->n_cols - j < 16 ? tile->n_cols - j : 16;
            v16u sum = load_sums(tile->c + i * nr + j, 16);
            if (!tile->first) sum += load_sums(acc, 16);
            if (!tile->last)
                memcpy(acc, &sum, sizeof sum);
            else
                finish_sums(out, tile->row + i, tile->col + j, sum, n);
        }
}

#endif
