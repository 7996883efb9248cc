/* Convolution of pairs of bf16 with vdpbf16ps: 12 x 32 results in 24 registers. Rows of the source are read where they lie. */
#define ROWS 12
#define COLS 32
#include "op/conv2d/conv2d_pairs.h"

/* 12 rows are reached from 4 pointers and 2 multiples of the step. */
enum { NEAR = 3, N_NEAR = ROWS / NEAR };

V16_INLINE __m512bh broadcast_word(const char *at) {
    int word;
    memcpy(&word, at, sizeof word);
    return (__m512bh)_mm512_set1_epi32(word);
}

/* rows and vecs are constants. */
V16_INLINE void sum_rows(const ls_conv_sum *t, int rows, int vecs) {
    const int64_t step = t->row_bytes, words = t->words;
    __m512 sum[ROWS][2];
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) sum[i][0] = sum[i][1] = _mm512_setzero_ps();
    for (int n = 0; n < t->n_taps; n++) {
        const char *row[N_NEAR];
        const __m512i *b = (const __m512i *)(t->weights + t->taps[n].weights);
#pragma GCC unroll 4
        for (int i = 0; i < N_NEAR; i++)
            row[i] = t->source + t->taps[n].source + (i * NEAR < rows ? i : 0) * NEAR * step;
        for (int64_t w = 0; w < words; w++, b += 2) {
            const __m512bh b0 = (__m512bh)_mm512_load_si512(b);
            const __m512bh b1 = vecs > 1 ? (__m512bh)_mm512_load_si512(b + 1) : b0;
#pragma GCC unroll 12
            for (int i = 0; i < rows; i++) {
                const __m512bh x = broadcast_word(row[i / NEAR] + i % NEAR * step);
                sum[i][0] = _mm512_dpbf16_ps(sum[i][0], x, b0);
                if (vecs > 1) sum[i][1] = _mm512_dpbf16_ps(sum[i][1], x, b1);
            }
#pragma GCC unroll 4
            for (int i = 0; i < N_NEAR; i++) row[i] += sizeof(int);
        }
    }
    float c[ROWS * COLS] __attribute__((aligned(64)));
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) {
        _mm512_store_ps(c + i * COLS, sum[i][0]);
        if (vecs > 1) _mm512_store_ps(c + i * COLS + 16, sum[i][1]);
    }
    store_rows(t, c, COLS, 0, rows);
}

V16_INLINE void multiply_rows(const ls_conv_product *t, int rows, int vecs) {
    __m512 sum[ROWS][2];
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) sum[i][0] = sum[i][1] = _mm512_setzero_ps();
    for (pixel_walk at = first_pixel(t); at.line < t->n_lines; next_pixel(t, &at)) {
        const char *a = at.x, *b = at.dy;
        for (int64_t w = 0; w < t->words; w++, a += t->x_step, b += t->dy_step) {
            const __m512bh b0 = (__m512bh)_mm512_loadu_si512(b);
            const __m512bh b1 = vecs > 1 ? (__m512bh)_mm512_loadu_si512(b + 64) : b0;
#pragma GCC unroll 12
            for (int i = 0; i < rows; i++) {
                const __m512bh v = broadcast_word(a + 4 * i);
                sum[i][0] = _mm512_dpbf16_ps(sum[i][0], v, b0);
                if (vecs > 1) sum[i][1] = _mm512_dpbf16_ps(sum[i][1], v, b1);
            }
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int j = 0; j < vecs; j++) {
            float *to = t->sums + i * t->ld + 16 * j;
            if (!t->first) sum[i][j] = _mm512_add_ps(_mm512_loadu_ps(to), sum[i][j]);
            _mm512_storeu_ps(to, sum[i][j]);
        }
}

#define BY_ROWS(n)                                            \
    static void sum_##n(const ls_conv_sum *t) {               \
        sum_rows(t, n, 2);                                    \
    }                                                         \
    static void sum_half_##n(const ls_conv_sum *t) {          \
        sum_rows(t, n, 1);                                    \
    }                                                         \
    static void multiply_##n(const ls_conv_product *t) {      \
        multiply_rows(t, n, 2);                               \
    }                                                         \
    static void multiply_half_##n(const ls_conv_product *t) { \
        multiply_rows(t, n, 1);                               \
    }
CONV_UP_TO_12(BY_ROWS)
#define SUM(n)      [n] = {sum_half_##n, sum_##n},
#define MULTIPLY(n) [n] = {multiply_half_##n, multiply_##n},
static void (*const sums[ROWS + 1][2])(const ls_conv_sum *) = {CONV_UP_TO_12(SUM)};
static void (*const products[ROWS + 1][2])(const ls_conv_product *) = {CONV_UP_TO_12(MULTIPLY)};

static void run_sum(const ls_conv_sum *t) {
    sums[t->n_rows][t->n_cols > 16](t);
}

static void run_product(const ls_conv_product *t) {
    products[t->n_rows][t->n_cols > 16](t);
}

static void copy(const ls_conv_copy *c) {
    copy_rows_pairs(c);
}

static void pair(const ls_conv_copy *c) {
    pair_rows(c);
}

static const ls_conv_engine engine = {.is_pairs = 1,
                                      .rows = ROWS,
                                      .cols = COLS,
                                      .k_step = 1,
                                      .least_rows = 1,
                                      .sum = run_sum,
                                      .product = run_product,
                                      .copy = copy,
                                      .pair = pair};
CONV_KERNELS(avx512bf16, LS_ISA_AVX512BF16)
