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

/* Word w of row i of A lies at base[i / 3] + i % 3 * row_bytes + w * word_bytes: three rows are as far as an address reaches. */
typedef struct word_walk {
    const char *base[(MR + 2) / 3];
    int64_t row_bytes, word_bytes;
    const word_vec *b; /* [word][NR] */
} word_walk;

V16_INLINE word_walk start_walk(int rows, const char *a, int64_t row_bytes, int64_t word_bytes,
                                const word_vec *b) {
    word_walk walk = {.row_bytes = row_bytes, .word_bytes = word_bytes, .b = b};
#pragma GCC unroll 16
    for (int i = 0; i < rows; i += 3) walk.base[i / 3] = a + i * row_bytes;
    return walk;
}

V16_INLINE void clear_sums(int rows, vec sum[MR][VECS]) {
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < VECS; j++) sum[i][j] = (vec){0};
}

/* sum[rows][VECS] += words of A x b[word][NR]. rows is a constant. */
V16_INLINE void add_words(int64_t words, int rows, word_walk *walk, vec sum[MR][VECS]) {
#pragma GCC unroll 1
    for (int64_t w = 0; w < words; w++, walk->b += VECS) {
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            const word_any *word = (const word_any *)(walk->base[i / 3] + i % 3 * walk->row_bytes);
            const word_vec x = (word_vec){0} + *word;
#pragma GCC unroll 4
            for (int j = 0; j < VECS; j++) sum[i][j] = MULTIPLY_WORD(sum[i][j], x, walk->b[j]);
        }
#pragma GCC unroll 16
        for (int i = 0; i < rows; i += 3) walk->base[i / 3] += walk->word_bytes;
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
    word_walk walk = start_walk(rows, a, 4, 4 * MR, b);
    clear_sums(rows, sum);
    add_words(words, rows, &walk, sum);
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

#if defined(__AVX2__)
#ifndef ADD_SUMS
#define ADD_SUMS(a, b) ((a) + (b))
#endif

/* All words of a whole tile, some for each line that is asked for. */
V16_INLINE void sum_asking(const ls_gemm_whole *t, word_walk walk, vec sum[MR][VECS]) {
    ls_gemm_ask *ask = t->ask;
    const int64_t n_far = ask->far.n;
    int64_t n = n_far, left = t->words;
    for (int i = 0; i < ask->n_near; i++) n += ask->near[i].n;
    const int64_t step = n < t->words ? t->words / (n + 1) : 1;
    ls_gemm_walk lines = ask->far;
    const ls_gemm_walk *near = ask->near;
    clear_sums(MR, sum);
#pragma GCC unroll 1
    for (int64_t i = 0; i <= n; i++, left -= step) {
        if (i == n_far) ask->far = lines;
        if (i < n) {
            if (lines.n == 0) lines = *near++;
            ls_gemm_ask_next(&lines, i < n_far);
        }
        add_words(i < n && step < left ? step : left, MR, &walk, sum);
    }
}

V16_INLINE void add_earlier(const float *from, int64_t ld, vec sum[MR][VECS]) {
#pragma GCC unroll 16
    for (int i = 0; i < MR; i++, from += ld)
#pragma GCC unroll 4
        for (int j = 0; j < VECS; j++)
            sum[i][j] = ADD_SUMS(sum[i][j], *(const vec_any *)(from + j * LANES));
}

V16_INLINE void stream_vec(float *to, vec x) {
#if defined(__AVX512F__)
    _mm512_stream_ps(to, (__m512)x);
#else
    _mm256_stream_ps(to, (__m256)x);
#endif
}

V16_INLINE void write_sums(const ls_gemm_whole *t, vec sum[MR][VECS]) {
    float *to = t->to;
    if (t->streams) {
#pragma GCC unroll 16
        for (int i = 0; i < MR; i++, to += t->to_ld)
#pragma GCC unroll 4
            for (int j = 0; j < VECS; j++) stream_vec(to + j * LANES, sum[i][j]);
        return;
    }
#pragma GCC unroll 16
    for (int i = 0; i < MR; i++, to += t->to_ld)
#pragma GCC unroll 4
        for (int j = 0; j < VECS; j++) *(vec_any *)(to + j * LANES) = sum[i][j];
}

/* ls_gemm_engine.whole. */
__attribute__((unused)) static void run_whole(const ls_gemm_whole *t) {
    vec sum[MR][VECS];
    if (t->a_bytes)
        sum_asking(t, start_walk(MR, t->a, t->a_bytes, 4, t->b), sum);
    else
        sum_asking(t, start_walk(MR, t->a, 4, 4 * MR, t->b), sum);
    if (t->from) add_earlier(t->from, t->from_ld, sum);
    write_sums(t, sum);
}

/* ls_gemm_engine.end where tiles may stream. */
__attribute__((unused)) static void end_streams(void) {
    v16_stream_end();
}
#endif

#endif
