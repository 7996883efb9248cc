/* Convolution in f32; bf16 and f16 are widened to a copy first. The tile is as large as the registers allow. */
#include "op/conv2d/conv2d_tile.h"

#if defined(__AVX512F__)
#define ROWS  12
#define UP_TO CONV_UP_TO_12
enum { COLS = 32, LANES = 16, NEAR = 3 };
typedef float vec __attribute__((vector_size(64)));
typedef float vec_any __attribute__((vector_size(64), aligned(4), may_alias));
#elif defined(__AVX2__)
#define ROWS  6
#define UP_TO CONV_UP_TO_6
enum { COLS = 16, LANES = 8, NEAR = 3 };
typedef float vec __attribute__((vector_size(32)));
typedef float vec_any __attribute__((vector_size(32), aligned(4), may_alias));
#else
#define ROWS  2
#define UP_TO CONV_UP_TO_2
enum { COLS = 16, LANES = 4, NEAR = 2 };
typedef float vec __attribute__((vector_size(16)));
typedef float vec_any __attribute__((vector_size(16), aligned(4), may_alias));
#endif
enum { VECS = COLS / LANES, N_NEAR = ROWS / NEAR };

V16_INLINE vec broadcast(const char *at) {
    float x;
    memcpy(&x, at, sizeof x);
    return x - (vec){0};
}

/* rows and vecs are constants. */
V16_INLINE void sum_rows(const ls_conv_sum *t, int rows, int vecs) {
    const int64_t step = t->row_bytes, words = t->words;
    vec sum[ROWS][VECS];
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vecs; j++) sum[i][j] = (vec){0};
    for (int n = 0; n < t->n_taps; n++) {
        const char *row[N_NEAR];
        const vec *b = (const vec *)(t->weights + t->taps[n].weights);
#pragma GCC unroll 4
        for (int i = 0; i < N_NEAR; i++)
            row[i] = t->source + t->taps[n].source + (i * NEAR < rows ? i : 0) * NEAR * step;
        for (int64_t w = 0; w < words; w++, b += VECS) {
#pragma GCC unroll 12
            for (int i = 0; i < rows; i++) {
                const vec x = broadcast(row[i / NEAR] + i % NEAR * step);
#pragma GCC unroll 4
                for (int j = 0; j < vecs; j++) sum[i][j] += x * b[j];
            }
#pragma GCC unroll 4
            for (int i = 0; i < N_NEAR; i++) row[i] += sizeof(float);
        }
    }
    float c[ROWS * COLS] __attribute__((aligned(64)));
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vecs; j++) *(vec *)(c + i * COLS + j * LANES) = sum[i][j];
    store_rows(t, c, COLS, 0, rows);
}

V16_INLINE void multiply_rows(const ls_conv_product *t, int rows, int vecs) {
    vec sum[ROWS][VECS];
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vecs; j++) sum[i][j] = (vec){0};
    for (pixel_walk at = first_pixel(t); at.line < t->n_lines; next_pixel(t, &at)) {
        const char *a = at.x, *b = at.dy;
        for (int64_t w = 0; w < t->words; w++, a += t->x_step, b += t->dy_step) {
#pragma GCC unroll 12
            for (int i = 0; i < rows; i++) {
                const vec v = broadcast(a + 4 * i);
#pragma GCC unroll 4
                for (int j = 0; j < vecs; j++) sum[i][j] += v * (vec)((const vec_any *)b)[j];
            }
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vecs; j++) {
            vec_any *to = (vec_any *)(t->sums + i * t->ld + j * LANES);
            *to = (vec_any)(t->first ? sum[i][j] : (vec)*to + sum[i][j]);
        }
}

/* A half of the columns, where that is a sixteen. */
enum { HALF_VECS = COLS > 16 ? VECS / 2 : VECS };
#define BY_ROWS(n)                                            \
    static void sum_##n(const ls_conv_sum *t) {               \
        sum_rows(t, n, VECS);                                 \
    }                                                         \
    static void sum_half_##n(const ls_conv_sum *t) {          \
        sum_rows(t, n, HALF_VECS);                            \
    }                                                         \
    static void multiply_##n(const ls_conv_product *t) {      \
        multiply_rows(t, n, VECS);                            \
    }                                                         \
    static void multiply_half_##n(const ls_conv_product *t) { \
        multiply_rows(t, n, HALF_VECS);                       \
    }
UP_TO(BY_ROWS)
#define SUM(n)      [n] = {sum_half_##n, sum_##n},
#define MULTIPLY(n) [n] = {multiply_half_##n, multiply_##n},
static void (*const sums[ROWS + 1][2])(const ls_conv_sum *) = {UP_TO(SUM)};
static void (*const products[ROWS + 1][2])(const ls_conv_product *) = {UP_TO(MULTIPLY)};

static void run_sum(const ls_conv_sum *t) {
    sums[t->n_rows][t->n_cols > 16](t);
}

static void run_product(const ls_conv_product *t) {
    products[t->n_rows][t->n_cols > 16](t);
}

static void copy(const ls_conv_copy *c) {
    copy_rows_wide(c);
}

static const ls_conv_engine engine = {.rows = ROWS,
                                      .cols = COLS,
                                      .k_step = 1,
                                      .least_rows = 1,
                                      .sum = run_sum,
                                      .product = run_product,
                                      .copy = copy};

#define CONV_KERNEL(kernel, call)                                                          \
    static size_t kernel##_bytes(const ls_sig *sig, int n_threads) {                       \
        return call##_workspace(&engine, sig, n_threads);                                  \
    }                                                                                      \
    static ls_status launch_##kernel(const ls_launch *launch) {                            \
        return call(&engine, launch);                                                      \
    }                                                                                      \
    LS_CPU_KERNEL(kernel) = {LS_CPU_KERNEL_HEAD(#kernel), .refuses = ls_gemm_refuses_wide, \
                             .workspace_bytes = kernel##_bytes, .launch = launch_##kernel};
CONV_KERNEL(conv2d_fwd, ls_conv_forward)
CONV_KERNEL(conv2d_bwd_input, ls_conv_grad_input)
CONV_KERNEL(conv2d_bwd_weight, ls_conv_grad_weight)
