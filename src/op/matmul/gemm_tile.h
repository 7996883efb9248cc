/* The register tile of the vector engines, for kernel files (compiled per instruction set): MR rows by NR columns, as large as the registers
 * allow. Before including this a file defines
 *   enum { MR, NR, LANES };              LANES words in a vector
 *   MULTIPLY_WORD(sum, a, b)             sum of one word more: vec from a vec and two word_vecs, a the same in all lanes
 * Sums of integers travel as the bits of floats. */
#ifndef LS_OP_GEMM_TILE_H
#define LS_OP_GEMM_TILE_H
#include "op/matmul/gemm.h"
#include "op/simd.h"

enum { VECS = NR / LANES };
typedef float vec __attribute__((vector_size(4 * LANES), may_alias));
typedef float vec_any __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint32_t word_any __attribute__((aligned(1), may_alias));
typedef uint32_t word_vec __attribute__((vector_size(4 * LANES), may_alias));

/* sum[rows][VECS] over words of A x b[word][NR]; word w of row i of A lies at a + i * row_bytes + w * word_bytes. rows is a constant. */
V16_INLINE void sum_rows(int64_t words, int rows, const char *a, int64_t row_bytes,
                         int64_t word_bytes, const word_vec *b, vec sum[MR][VECS]) {
    const char *base[(MR + 2) / 3]; /* of three rows: as far as an address reaches */
#pragma GCC unroll 16
    for (int i = 0; i < rows; i += 3) base[i / 3] = a + i * row_bytes;
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < VECS; j++) sum[i][j] = (vec){0};
    for (int64_t w = 0; w < words; w++, b += VECS) {
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            const word_any *word = (const word_any *)(base[i / 3] + i % 3 * row_bytes);
            const word_vec x = (word_vec){0} + *word;
#pragma GCC unroll 4
            for (int j = 0; j < VECS; j++) sum[i][j] = MULTIPLY_WORD(sum[i][j], x, b[j]);
        }
#pragma GCC unroll 16
        for (int i = 0; i < rows; i += 3) base[i / 3] += word_bytes;
    }
}

V16_INLINE void store_sums_of(int rows, vec sum[MR][VECS], float *c) {
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < VECS; j++) ((vec *)c)[i * VECS + j] = sum[i][j];
}

/* A packed: words of MR rows. */
V16_INLINE void run_rows(int64_t words, int rows, const void *a, const void *b, float *c) {
    vec sum[MR][VECS];
    sum_rows(words, rows, a, 4, 4 * MR, b, sum);
    store_sums_of(rows, sum, c);
}

/* ls_gemm_engine.tile. Few rows (the edge of a result) do not pay for all. */
static void run_tile(int64_t words, int n_rows, const void *a, const void *b, float *c) {
    enum { THIRD = MR / 3 ? MR / 3 : 1 };
    if (n_rows > 2 * THIRD)
        run_rows(words, MR, a, b, c);
    else if (n_rows > THIRD)
        run_rows(words, 2 * THIRD, a, b, c);
    else
        run_rows(words, THIRD, a, b, c);
}

#if defined(__AVX512F__)
/* ls_gemm_engine.tile_in_place. */
__attribute__((unused)) static void run_in_place(int64_t words, const void *a, int64_t a_bytes,
                                                 const void *b, float *c) {
    vec sum[MR][VECS];
    sum_rows(words, MR, a, a_bytes, 4, b, sum);
    store_sums_of(MR, sum, c);
}

/* ls_gemm_engine.stream_tile; end_streams is its .end. */
__attribute__((unused)) static void stream_tile(int64_t words, const void *a, const void *b,
                                                float *out, int64_t ld) {
    vec sum[MR][VECS];
    sum_rows(words, MR, a, 4, 4 * MR, b, sum);
#pragma GCC unroll 16
    for (int i = 0; i < MR; i++)
#pragma GCC unroll 4
        for (int j = 0; j < VECS; j++)
            _mm512_stream_ps(out + i * ld + j * LANES, (__m512)sum[i][j]);
}

__attribute__((unused)) static void end_streams(void) {
    v16_stream_end();
}
#endif

#endif
