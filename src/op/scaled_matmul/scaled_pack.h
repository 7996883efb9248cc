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

/* A panel [words][width]; per_word 4 or 2. */
V16_INLINE void pack_byte_panel(const ls_gemm_operand *x, const int64_t range[4], int64_t words,
                                int width, int per_word, int flip, uint32_t *dst) {
    const int64_t n_i = range[1], n_k = range[3];
    for (int64_t w0 = 0; w0 < words; w0 += 16) {
        const int64_t n_words = words - w0 < 16 ? words - w0 : 16;
        const int64_t k = w0 * per_word;
        for (int s = 0; s < width; s += 16) {
            const int lanes = width - s < 16 ? width - s : 16;
            v16u r[16];
            if (x->k_inner) {
                for (int i = 0; i < 16; i++) {
                    const int64_t at = (range[0] + s + i) * x->ld + range[2] + k;
                    const int64_t left = s + i < n_i && i < lanes ? n_k - k : 0;
                    r[i] = per_word == 4 ? load_quads(x, at, left, flip)
                                         : load_wide_pairs(x, at, left);
                }
                transpose_words(r);
            } else {
                for (int i = 0; i < n_words; i++)
                    r[i] = join_bytes(x, (range[2] + k + i * per_word) * x->ld + range[0] + s,
                                      n_k - k - i * per_word, n_i - s, per_word);
            }
            uint32_t *to = dst + w0 * width + s;
            for (int i = 0; i < n_words; i++) store_words(to + i * width, r[i], lanes);
        }
    }
}

V16_INLINE void pack_byte_panels(const ls_gemm_operand *x, const int64_t range[4], int64_t words,
                                 int width, int per_word, int flip, void *dst) {
    uint32_t *to = dst;
    for (int64_t i = 0; i < range[1]; i += width, to += words * width) {
        const int64_t rest[4] = {range[0] + i, range[1] - i, range[2], range[3]};
        pack_byte_panel(x, rest, words, width, per_word, flip, to);
    }
}

V16_INLINE v16u load_sums(const void *data, int64_t n) {
    v16u x = {0};
    if (n >= 16)
        memcpy(&x, data, sizeof x);
    else
        memcpy(&x, data, (size_t)n * sizeof(uint32_t));
    return x;
}

/* 16 (or the last n) finished sums of one row. */
V16_INLINE void finish_sums(const ls_gemm_out *out, int64_t row, int64_t col, v16u sum, int64_t n) {
    const ls_gemm_scaled *s = out->scaled;
    const uint32_t zero = (uint32_t)s->zero + (uint32_t)(s->row_zero ? s->row_zero[row] : 0);
    if (s->col_sum) sum -= zero * load_sums(s->col_sum + col, n);
    v16 x = __builtin_convertvector((v16i)sum, v16) * s->row_scale[row];
    x = x * load_some(s->col_scale, LS_DTYPE_F32, col, n);
    if (out->bias) x = x + load_some(out->bias, LS_DTYPE_F32, col, n);
    if (out->dtype == LS_DTYPE_F32)
        store_some(out->data, LS_DTYPE_F32, row * out->ld + col, x, n);
    else
        store_some(out->data, LS_DTYPE_BF16, row * out->ld + col, x, n);
}

/* c and acc hold s32; sums over blocks of k lie apart from the result and in whole vectors. */
V16_INLINE void store_sums(const ls_gemm_out *out, const ls_gemm_tile *tile, int nr) {
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
