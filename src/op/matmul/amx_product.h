/* 32 x 32 results in a 2 x 2 block of AMX tiles, for kernel files: what products of bf16 and of bytes share. A is packed as tiles
 * [step][32 rows][16 words] or read in place, B is packed as rows of words [word][32 columns]. */
#ifndef LS_OP_AMX_PRODUCT_H
#define LS_OP_AMX_PRODUCT_H
#include "op/matmul/amx_tile.h"
#include "op/matmul/gemm.h"
#include "op/simd.h"

enum { MR = 32, NR = 32, STEP_WORDS = 16, K_BLOCK = 512, TILE_WORDS = 16 * 16 };
enum {
    C_STRIDE = NR * 4,
    B_STRIDE = NR * 4,
    A_STRIDE = STEP_WORDS * 4,
    AMX_TILE_BYTES = 4 * TILE_WORDS
};
typedef enum amx_kind { AMX_BF16, AMX_U8, AMX_I8 } amx_kind;

/* kind is a constant; the instructions differ in nothing else. */
#define AMX_ADD(kind, c, a, b)        \
    do {                              \
        if ((kind) == AMX_BF16)       \
            amx_multiply(c, a, b);    \
        else if ((kind) == AMX_U8)    \
            amx_multiply_u8(c, a, b); \
        else                          \
            amx_multiply_i8(c, a, b); \
    } while (0)

/* c[MR][NR] = sum over words. Tiles 0-3 hold the sums, 4-5 rows of A, 6-7 columns of B. Rows of A lie row_bytes apart, the lower 16 at
 * a_low, the next STEP_WORDS words step_bytes further. */
V16_INLINE void amx_sum_words(amx_kind kind, int64_t words, const char *a, const char *a_low,
                              int64_t row_bytes, int64_t step_bytes, const uint32_t *b, float *c) {
    amx_zero(0);
    amx_zero(1);
    amx_zero(2);
    amx_zero(3);
    for (int64_t w = 0; w < words; w += STEP_WORDS, b += 2 * TILE_WORDS) {
        amx_load(6, b, B_STRIDE);
        amx_load(4, a, row_bytes);
        AMX_ADD(kind, 0, 4, 6);
        amx_load(7, b + 16, B_STRIDE);
        AMX_ADD(kind, 1, 4, 7);
        amx_load(5, a_low, row_bytes);
        AMX_ADD(kind, 2, 5, 6);
        AMX_ADD(kind, 3, 5, 7);
        a += step_bytes;
        a_low += step_bytes;
    }
    amx_store(0, c, C_STRIDE);
    amx_store(1, c + 16, C_STRIDE);
    amx_store(2, c + 16 * NR, C_STRIDE);
    amx_store(3, c + 16 * NR + 16, C_STRIDE);
}

V16_INLINE void amx_sum_packed(amx_kind kind, int64_t words, const void *a, const void *b,
                               float *c) {
    amx_sum_words(kind, words, a, (const char *)a + AMX_TILE_BYTES, A_STRIDE, 2 * AMX_TILE_BYTES, b,
                  c);
}

V16_INLINE void amx_sum_in_place(amx_kind kind, int64_t words, const void *a, int64_t a_bytes,
                                 const void *b, float *c) {
    amx_sum_words(kind, words, a, (const char *)a + 16 * a_bytes, a_bytes, A_STRIDE, b, c);
}

#endif
