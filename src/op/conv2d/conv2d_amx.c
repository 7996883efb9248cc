/* Convolution of pairs of bf16 with AMX tiles: 2 x 2 tiles of 16 x 16 results. A tile of the source is loaded where it lies: 16 images of a
 * pixel by 32 channels. */
#define ROWS 32
#define COLS 32
#include "op/conv2d/conv2d_pairs.h"
#include "op/matmul/amx_tile.h"

enum { HALF = AMX_ROWS, WORDS = 16, COLS_BYTES = COLS * 4 };

/* Sums in tiles 0 to 3 (two: the lower rows, wide: the right columns), rows in 4 and 5, columns in 6 and 7. */
V16_INLINE void clear_tiles(void) {
    amx_zero(0);
    amx_zero(1);
    amx_zero(2);
    amx_zero(3);
}

V16_INLINE void multiply_tiles(const char *upper, const char *lower, int64_t a_step, const char *b,
                               int64_t b_step, int wide) {
    amx_load(4, upper, a_step);
    amx_load(6, b, b_step);
    amx_multiply(0, 4, 6);
    if (wide) {
        amx_load(7, b + AMX_ROW_BYTES, b_step);
        amx_multiply(1, 4, 7);
    }
    if (!lower) return;
    amx_load(5, lower, a_step);
    amx_multiply(2, 5, 6);
    if (wide) amx_multiply(3, 5, 7);
}

V16_INLINE void store_tiles(float *c) {
    amx_store(0, c, COLS_BYTES);
    amx_store(1, c + HALF, COLS_BYTES);
    amx_store(2, c + HALF * COLS, COLS_BYTES);
    amx_store(3, c + HALF * COLS + HALF, COLS_BYTES);
}

/* More than 16 rows: the lower tile ends with the last row and may hold some of the upper one's again. Fewer: the copy has 16. */
static void run_sum(const ls_conv_sum *t) {
    float c[ROWS * COLS] __attribute__((aligned(64)));
    const int beyond = t->n_rows - HALF;
    const int64_t lower = beyond * t->row_bytes;
    clear_tiles();
    for (int n = 0; n < t->n_taps; n++) {
        const char *a = t->source + t->taps[n].source, *b = t->weights + t->taps[n].weights;
        for (int64_t w = 0; w < t->words; w += WORDS, a += AMX_ROW_BYTES, b += WORDS * COLS_BYTES)
            multiply_tiles(a, beyond > 0 ? a + lower : NULL, t->row_bytes, b, COLS_BYTES,
                           t->n_cols > HALF);
    }
    store_tiles(c);
    store_rows(t, c, COLS, 0, beyond < 0 ? t->n_rows : HALF);
    if (beyond > 0) store_rows(t, c + (2 * HALF - beyond) * COLS, COLS, HALF, beyond);
}

/* x is turned and padded to whole sixteens of channels. */
static void run_product(const ls_conv_product *t) {
    float c[ROWS * COLS] __attribute__((aligned(64)));
    clear_tiles();
    for (pixel_walk at = first_pixel(t); at.line < t->n_lines; next_pixel(t, &at)) {
        const char *a = at.x, *b = at.dy;
        for (int64_t w = 0; w < t->words; w += WORDS, a += AMX_ROW_BYTES, b += WORDS * t->dy_step)
            multiply_tiles(a, t->n_rows > HALF ? a + HALF * t->x_step : NULL, t->x_step, b,
                           t->dy_step, t->n_cols > HALF);
    }
    store_tiles(c);
    for (int i = 0; i < t->n_rows; i++)
        for (int j = 0; j < t->n_cols; j += 16) {
            float *to = t->sums + i * t->ld + j;
            const v16 sum = v16_load_f32(c + i * COLS + j);
            v16_store_f32(to, t->first ? sum : v16_load_f32(to) + sum);
        }
}

static void copy(const ls_conv_copy *c) {
    copy_rows_pairs(c);
}

static void pair(const ls_conv_copy *c) {
    pair_rows(c);
}

/* to[col][rows / 2 words]; rows: whole sixteens of words, cols: of channels. */
static void turn(const ls_conv_copy *c) {
    const uint16_t *from = c->from;
    uint16_t *to = c->to;
    memset(to, 0, (size_t)(c->rows * c->cols) * sizeof *to);
    for (int64_t i = 0; i < c->n_rows; i++)
        for (int64_t j = 0; j < c->n_cols; j++) to[j * c->rows + i] = from[i * c->n_cols + j];
}

static void begin(void) {
    amx_begin();
}

static void end(void) {
    amx_end();
}

static const ls_conv_engine engine = {.is_pairs = 1,
                                      .rows = ROWS,
                                      .cols = COLS,
                                      .k_step = WORDS,
                                      .least_rows = HALF,
                                      .is_turned = 1,
                                      .sum = run_sum,
                                      .product = run_product,
                                      .copy = copy,
                                      .pair = pair,
                                      .turn = turn,
                                      .begin = begin,
                                      .end = end};
CONV_KERNELS(amx, LS_ISA_AMX)
