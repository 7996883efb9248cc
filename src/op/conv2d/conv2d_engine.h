/* Convolution of images that hold the batch inside, [H, W, B, C], without a copy of the image per tap.
 *
 * The B x C values of a pixel are a matrix with k neighbours in memory. A pixel of the result is the sum, over the taps that meet the image, of
 * such a matrix times the tap's [C, O] weights: nothing is computed for what lies beyond the border. A tap's weight gradient is the sum over
 * pixels of x^T dy. An engine brings the register tiles of one instruction set; conv2d_taps.c and conv2d_weight.c bring the loops.
 *
 * Words are 4 bytes: one f32, or a pair of bf16 along k. Local, reentrant. */
#ifndef LS_OP_CONV2D_ENGINE_H
#define LS_OP_CONV2D_ENGINE_H
#include "op/conv2d/conv2d_shape.h"
#include "op/matmul/gemm_engines.h"

/* Where a tap's rows of the source and its weights begin, in bytes. */
typedef struct ls_conv_tap {
    int64_t source, weights;
} ls_conv_tap;

/* Rows (images) of one pixel of the result, by up to `cols` channels: the sum over taps, ascending, of their words, ascending. */
typedef struct ls_conv_sum {
    const char *source; /* first row; a tap's channels are whole words */
    int64_t row_bytes;
    const char *weights; /* the panel: of each tap [words][cols] */
    const ls_conv_tap *taps;
    int n_taps;
    int64_t words; /* of a tap */
    int n_rows, n_cols;
    const float *bias; /* [cols] or NULL */
    char *out;         /* first row and channel */
    ls_dtype out_dtype;
    int64_t out_row_bytes;
} ls_conv_sum;

/* A tile of x^T dy over the images of n_lines rows of n_pixels neighbours: sums[row][col], or added to what is there. */
typedef struct ls_conv_product {
    const char *x, *dy; /* of the first pixel, first channel */
    int64_t x_line_bytes, dy_line_bytes, x_pixel_bytes, dy_pixel_bytes;
    int64_t n_lines, n_pixels, words; /* words of images of a pixel */
    int64_t x_step, dy_step; /* bytes from word to word; x turned: from channel to channel */
    int n_rows, n_cols;      /* channels of x, of dy (whole sixteens) */
    float *sums;
    int64_t ld;
    int first;
} ls_conv_product;

/* [n_rows][n_cols] of the tensor to [rows][cols] of the copy, zeros behind. */
typedef struct ls_conv_copy {
    const void *from;
    ls_dtype dtype;
    int64_t n_rows, n_cols;
    void *to;
    int64_t rows, cols;
} ls_conv_copy;

typedef struct ls_conv_engine {
    int is_pairs;
    int rows, cols; /* of a register tile */
    int k_step;     /* words that the tile takes at a time */
    int least_rows; /* of a source that is read where it is */
    int is_turned; /* the copy of x for the weight gradient is [channel][word], else [word][channel] */
    void (*sum)(const ls_conv_sum *sum);
    void (*product)(const ls_conv_product *product);
    /* Rows as elements: f32, or bf16 as it is. */
    void (*copy)(const ls_conv_copy *copy);
    /* Rows become words: [word][col] (pairs only), [col][word] (turned only). */
    void (*pair)(const ls_conv_copy *copy);
    void (*turn)(const ls_conv_copy *copy);
    void (*begin)(void); /* on each worker around its tiles; may be NULL */
    void (*end)(void);
} ls_conv_engine;

LS_API size_t ls_conv_forward_workspace(const ls_conv_engine *engine, const ls_sig *sig,
                                        int n_threads);
LS_API ls_status ls_conv_forward(const ls_conv_engine *engine, const ls_launch *launch);
LS_API size_t ls_conv_grad_input_workspace(const ls_conv_engine *engine, const ls_sig *sig,
                                           int n_threads);
LS_API ls_status ls_conv_grad_input(const ls_conv_engine *engine, const ls_launch *launch);
LS_API size_t ls_conv_grad_weight_workspace(const ls_conv_engine *engine, const ls_sig *sig,
                                            int n_threads);
LS_API ls_status ls_conv_grad_weight(const ls_conv_engine *engine, const ls_launch *launch);

#endif
