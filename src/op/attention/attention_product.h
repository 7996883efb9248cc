/* One small matrix product, in vector registers or on AMX tiles. For kernel files only. */
#ifndef LS_OP_ATTENTION_PRODUCT_H
#define LS_OP_ATTENTION_PRODUCT_H
#include "op/attention/attention_ahead.h"
#include "op/attention/attention_lane.h"
#ifdef ATTENTION_AMX
#include "op/matmul/amx_tile.h"
#endif

/* c[i][j] = sum over d of a[i][d] * b[d][j], plus c[i][j] * scale[i] when accumulating (scale NULL: one).
 * a[i][d] is lane a[i * a_row + d * a_depth]. n_rows is a multiple of SIDE_ALIGN or 16,
 * n_cols of 16. */
typedef struct product {
    const lane *a, *b;
    float *c;
    const float *scale;
    int64_t a_row, a_depth, b_ld, c_ld;
    int64_t n_rows, n_cols, n_depth; /* n_depth in lanes */
    int accumulate;
    ahead *ahead; /* asked for meanwhile */
} product;

#ifdef ATTENTION_AMX

/* Tiles are set up for the length of a task. */
static inline void begin_products(void) {
    amx_begin();
}
static inline void end_products(void) {
    amx_end();
}

/* 32 rows by 32 columns, or by 16. Tiles 0-3 hold the sums, 4-5 rows of a, 6-7 columns of b. */
static void multiply_block(const product *p, int64_t row, int64_t col, int is_wide) {
    float *c = p->c + row * p->c_ld + col, *c_low = c + 16 * p->c_ld;
    const int64_t c_bytes = p->c_ld * 4, a_bytes = p->a_row * 4, b_bytes = p->b_ld * 4;
    if (p->accumulate) {
        amx_load(0, c, c_bytes);
        amx_load(2, c_low, c_bytes);
        if (is_wide) amx_load(1, c + 16, c_bytes);
        if (is_wide) amx_load(3, c_low + 16, c_bytes);
    } else {
        amx_zero(0);
        amx_zero(1);
        amx_zero(2);
        amx_zero(3);
    }
    for (int64_t d = 0; d < p->n_depth; d += 16) {
        const lane *a = p->a + row * p->a_row + d, *b = p->b + d * p->b_ld + col;
        amx_load(4, a, a_bytes);
        amx_load(5, a + 16 * p->a_row, a_bytes);
        amx_load(6, b, b_bytes);
        amx_multiply(0, 4, 6);
        amx_multiply(2, 5, 6);
        if (!is_wide) continue;
        amx_load(7, b + 16, b_bytes);
        amx_multiply(1, 4, 7);
        amx_multiply(3, 5, 7);
    }
    amx_store(0, c, c_bytes);
    amx_store(2, c_low, c_bytes);
    if (is_wide) amx_store(1, c + 16, c_bytes);
    if (is_wide) amx_store(3, c_low + 16, c_bytes);
}

static void scale_rows(const product *p) {
    for (int64_t i = 0; i < p->n_rows; i++)
        for (int64_t j = 0; j < p->n_cols; j += 16) {
            float *at = p->c + i * p->c_ld + j;
            v16_store_f32(at, v16_load_f32(at) * p->scale[i]);
        }
}

/* Tiles take rows whose lanes are neighbours: other operands are turned first. */
static void multiply(const product *given) {
    product p = *given;
    lane turned[TILE * TILE / LANE_TERMS];
    if (p.scale) scale_rows(&p);
    if (p.a_depth != 1) {
        for (int64_t d = 0; d < p.n_depth; d += 16)
            for (int64_t i = 0; i < p.n_rows; i += 16)
                transpose_16((float *)turned + i * p.n_depth + d, p.n_depth,
                             (const float *)p.a + d * p.a_depth + i, p.a_depth);
        p.a = turned;
        p.a_row = p.n_depth;
    }
    for (int64_t row = 0; row < p.n_rows; row += 32)
        for (int64_t col = 0; col < p.n_cols; col += 32) {
            ask_lines(p.ahead, 4 * AHEAD_LINES); /* a block as large as several */
            multiply_block(&p, row, col, col + 32 <= p.n_cols);
        }
}

#else

static inline void begin_products(void) {}
static inline void end_products(void) {}

#ifdef ATTENTION_BF16
V16_INLINE vec multiply_add(lane a, const lane *b, vec sum) {
    return (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32((int)a),
                                 (__m512bh)_mm512_loadu_si512(b));
}
#else
V16_INLINE vec multiply_add(lane a, const lane *b, vec sum) {
    return a * (vec) * (const vec_any *)b + sum;
}
#endif

V16_INLINE void multiply_panel(const product *p, int64_t row, int64_t col, const int n_rows,
                               const int n_vecs) {
    vec sum[8][PANEL_VECS];
    const lane *a = p->a + row * p->a_row, *b = p->b + col;
    const int64_t a_row = p->a_row, a_depth = p->a_depth, b_ld = p->b_ld, c_ld = p->c_ld;
    float *c = p->c + row * c_ld + col;
#pragma GCC unroll 8
    for (int i = 0; i < n_rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < n_vecs; j++) {
            sum[i][j] = (vec){0};
            if (p->accumulate) sum[i][j] = (vec) * (vec_any *)(c + i * c_ld + j * VEC_LANES);
            if (p->scale) sum[i][j] *= p->scale[row + i];
        }
    for (int64_t d = 0; d < p->n_depth; d++, a += a_depth, b += b_ld) {
#pragma GCC unroll 8
        for (int i = 0; i < n_rows; i++)
#pragma GCC unroll 4
            for (int j = 0; j < n_vecs; j++)
                sum[i][j] = multiply_add(a[i * a_row], b + j * VEC_LANES, sum[i][j]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < n_rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < n_vecs; j++)
            *(vec_any *)(c + i * c_ld + j * VEC_LANES) = (vec_any)sum[i][j];
}

/* All rows of a panel of n_vecs columns. */
V16_INLINE void multiply_rows_of(const product *p, int64_t col, const int n_rows,
                                 const int n_vecs) {
    for (int64_t row = 0; row < p->n_rows; row += n_rows) {
        ask_lines(p->ahead, AHEAD_LINES);
        multiply_panel(p, row, col, n_rows, n_vecs);
    }
}

/* In register blocks of about 16 sums. */
static void multiply_column(const product *p, int64_t col, int64_t n_vecs) {
    if (n_vecs == PANEL_VECS) multiply_rows_of(p, col, 4, PANEL_VECS);
#if defined(__AVX512F__)
    else if (n_vecs == 3)
        multiply_rows_of(p, col, 8, 3);
    else if (n_vecs == 2)
        multiply_rows_of(p, col, 8, 2);
    else
        multiply_rows_of(p, col, 8, 1);
#endif
}

static void multiply(const product *p) {
    const int64_t n_vecs = p->n_cols / VEC_LANES;
    for (int64_t v = 0; v < n_vecs;) {
        int64_t take = n_vecs - v < PANEL_VECS ? n_vecs - v : PANEL_VECS;
        if (n_vecs - v == PANEL_VECS + 1 && PANEL_VECS == 4) take = 3;
        multiply_column(p, v * VEC_LANES, take);
        v += take;
    }
}

#endif
#endif
