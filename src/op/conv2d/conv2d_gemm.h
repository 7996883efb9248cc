/* Convolution on the register tiles of matmul, without a copy of the image per tap.
 *
 * An image is copied once into zero-padded planes, one per phase of the stride, such that neighbouring output pixels of a row are
 * neighbours in memory for every tap: a panel of B is then a few straight runs per (channel, tap). */
#ifndef LS_OP_CONV2D_GEMM_H
#define LS_OP_CONV2D_GEMM_H
#include "op/conv2d/conv2d_shape.h"
#include "op/matmul/gemm_engines.h"

/* `length` pixels in a row of the source, to columns `to` and on of the panel. */
typedef struct ls_conv_run {
    int32_t to, length;
    int64_t from; /* element of the source */
} ls_conv_run;

/* Source elements are f32, or bf16 for engines of pairs. */
typedef struct ls_conv_engine {
    const ls_gemm_engine *gemm;
    int is_pairs;
    /* Panel [words][nr]: row k is the runs, each shifted by k_offset[k]; zero past n_k. Writes up to 16 words past the panel's
     * end and reads as far past the source's. */
    void (*pack_runs)(const void *source, const int32_t *k_offset, int64_t n_k,
                      const ls_conv_run *runs, int n_runs, int64_t words, void *panel);
    /* The runs of one shift, one after the other: dst[to + ..]; overruns alike. */
    void (*copy_runs)(const void *source, const ls_conv_run *runs, int n_runs, void *dst);
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
