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

/* ls_gemm_engine.whole. Tiles are stored through the caches: sums that go elsewhere are read again from a place that stays in them. */
V16_INLINE void amx_run_whole(amx_kind kind, const ls_gemm_whole *t) {
    _Alignas(64) float near[MR * NR];
    const int is_there = t->to_ld == NR && !t->from && !t->streams;
    float *c = is_there ? t->to : near;
    const int64_t words = t->words;
    ls_gemm_ask_all(t->ask);
    if (t->a_bytes)
        amx_sum_words(kind, words, t->a, (const char *)t->a + 16 * t->a_bytes, t->a_bytes, A_STRIDE,
                      t->b, c);
    else
        amx_sum_packed(kind, words, t->a, t->b, c);
    if (is_there) return;
    amx_read_fence(near);
    for (int i = 0; i < MR; i++)
        for (int j = 0; j < NR; j += 16) {
            const v16 sum = v16_load_f32(near + i * NR + j);
            float *to = t->to + i * t->to_ld + j;
            const float *from = t->from ? t->from + i * t->from_ld + j : NULL;
            if (t->streams)
                v16_stream_f32(to, sum);
            else if (!from)
                v16_store_f32(to, sum);
            else if (kind == AMX_BF16)
                v16_store_f32(to, sum + v16_load_f32(from));
            else
                v16_store_f32(to, (v16)((v16u)sum + (v16u)v16_load_f32(from)));
        }
}

#endif
