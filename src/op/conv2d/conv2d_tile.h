/* What the kernel files share (compiled per instruction set): the end of a tile, copies of operands, kernels by number of rows. */
#ifndef LS_OP_CONV2D_TILE_H
#define LS_OP_CONV2D_TILE_H
#include "op/conv2d/conv2d_engine.h"
#include "op/cpu_kernel.h"
#include "op/matmul/gemm_pack.h"
#include "op/simd.h"

/* Tables of functions by the number of rows, which is a constant within each. */
#define CONV_UP_TO_2(M)  M(1) M(2)
#define CONV_UP_TO_6(M)  CONV_UP_TO_2(M) M(3) M(4) M(5) M(6)
#define CONV_UP_TO_12(M) CONV_UP_TO_6(M) M(7) M(8) M(9) M(10) M(11) M(12)

V16_INLINE void store_columns(char *out, ls_dtype dtype, int64_t col, v16 x, int n) {
#ifdef __AVX512BF16__
    if (dtype == LS_DTYPE_BF16) {
        const v16h low = (v16h)_mm512_cvtneps_pbh((__m512)x);
        if (n >= 16)
            v16h_store((uint16_t *)out + col, low);
        else
            v16h_store_n((uint16_t *)out + col, low, n);
        return;
    }
#endif
    v16_store_n(out, dtype, col, x, n < 16 ? n : 16);
}

V16_INLINE void store_rows_as(const ls_conv_sum *t, const float *c, int ld, int first, int n_rows,
                              ls_dtype dtype) {
    char *out = t->out + first * t->out_row_bytes;
    for (int i = 0; i < n_rows; i++, c += ld, out += t->out_row_bytes)
        for (int j = 0; j < t->n_cols; j += 16) {
            v16 x = v16_load_f32(c + j);
            if (t->bias) x += v16_load_f32(t->bias + j);
            store_columns(out, dtype, j, x, t->n_cols - j);
        }
}

/* Rows [first, first + n_rows) of the tile from c[n_rows][ld]. */
V16_INLINE void store_rows(const ls_conv_sum *t, const float *c, int ld, int first, int n_rows) {
    if (t->out_dtype == LS_DTYPE_BF16)
        store_rows_as(t, c, ld, first, n_rows, LS_DTYPE_BF16);
    else if (t->out_dtype == LS_DTYPE_F32)
        store_rows_as(t, c, ld, first, n_rows, LS_DTYPE_F32);
    else
        store_rows_as(t, c, ld, first, n_rows, LS_DTYPE_F16);
}

/* --- weight gradient --------------------------------------------------------------------------------------------- */

/* Walks the pixels of a product, line after line: `n` of them are left in this one. */
typedef struct pixel_walk {
    const char *x, *dy;
    int64_t line, n;
} pixel_walk;

V16_INLINE pixel_walk first_pixel(const ls_conv_product *t) {
    return (pixel_walk){t->x, t->dy, 0, t->n_pixels};
}

V16_INLINE void next_pixel(const ls_conv_product *t, pixel_walk *at) {
    at->x += t->x_pixel_bytes;
    at->dy += t->dy_pixel_bytes;
    if (--at->n) return;
    at->line++;
    at->n = t->n_pixels;
    at->x = t->x + at->line * t->x_line_bytes;
    at->dy = t->dy + at->line * t->dy_line_bytes;
}

/* --- copies ------------------------------------------------------------------------------------------------------ */

V16_INLINE void copy_rows_wide(const ls_conv_copy *c) {
    float *to = c->to;
    for (int64_t i = 0; i < c->n_rows; i++, to += c->cols) {
        for (int64_t j = 0; j < c->n_cols; j += 16) {
            const int64_t left = c->n_cols - j, n = left < 16 ? left : 16;
            v16_store_f32_n(to + j, v16_load_n(c->from, c->dtype, i * c->n_cols + j, n, 0), n);
        }
        memset(to + c->n_cols, 0, (size_t)(c->cols - c->n_cols) * sizeof *to);
    }
    memset(to, 0, (size_t)((c->rows - c->n_rows) * c->cols) * sizeof *to);
}

/* One channel to one word: a whole vector of rows at a time. */
V16_INLINE void widen_channel(const ls_conv_copy *c) {
    float *to = c->to;
    for (int64_t i = 0; i < c->n_rows; i += 16) {
        const v16h x = load_halves(c->from, i, c->n_rows - i);
        const int64_t left = c->n_rows - i;
        v16_store_f32_n(to + i, (v16)join_rows(x, (v16h){0}), left < 16 ? left : 16);
    }
    memset(to + c->n_rows, 0, (size_t)(c->rows - c->n_rows) * sizeof *to);
}

V16_INLINE void copy_rows_pairs(const ls_conv_copy *c) {
    const uint16_t *from = c->from;
    uint16_t *to = c->to;
    if (c->n_cols == 1 && c->cols == 2) {
        widen_channel(c);
        return;
    }
    if (c->n_cols == c->cols)
        memcpy(to, from, (size_t)(c->n_rows * c->cols) * sizeof *to);
    else
        for (int64_t i = 0; i < c->n_rows; i++) {
            uint16_t *row = to + i * c->cols;
            memcpy(row, from + i * c->n_cols, (size_t)c->n_cols * sizeof *to);
            memset(row + c->n_cols, 0, (size_t)(c->cols - c->n_cols) * sizeof *to);
        }
    memset(to + c->n_rows * c->cols, 0, (size_t)((c->rows - c->n_rows) * c->cols) * sizeof *to);
}

/* Word (w, j) is elements (2 w, j) and (2 w + 1, j); cols: of words. */
V16_INLINE void pair_rows(const ls_conv_copy *c) {
    uint32_t *to = c->to;
    if (c->cols == 1) { /* neighbours are pairs */
        copy_rows_pairs(c);
        return;
    }
    for (int64_t i = 0; i < c->rows; i += 2, to += c->cols) {
        const int low = i < c->n_rows, high = i + 1 < c->n_rows;
        for (int64_t j = 0; j < c->cols; j += 16) {
            const int64_t room = c->cols - j < 16 ? c->cols - j : 16, at = i * c->n_cols + j;
            const v16h a = load_halves(c->from, at, low ? c->n_cols - j : 0);
            const v16h b = load_halves(c->from, at + c->n_cols, high ? c->n_cols - j : 0);
            v16_store_f32_n((float *)to + j, (v16)join_rows(a, b), room);
        }
    }
}

#endif
