/* Runs into panels, for kernel files (compiled per instruction set). */
#ifndef LS_OP_CONV2D_PACK_H
#define LS_OP_CONV2D_PACK_H
#include "op/conv2d/conv2d_gemm.h"
#include "op/matmul/gemm_pack.h"

/* Whole vectors: what runs over is overwritten by the next run or word, or lies in the slack. */
V16_INLINE void pack_runs_wide(const float *source, const int32_t *k_offset, int64_t n_k,
                               const ls_conv_run *runs, int n_runs, int64_t words, int width,
                               float *panel) {
    for (int64_t k = 0; k < n_k; k++) {
        const float *from = source + k_offset[k];
        float *row = panel + k * width;
        for (int i = 0; i < n_runs; i++)
            for (int x = 0; x < runs[i].length; x += 16)
                v16_store_f32(row + runs[i].to + x, v16_load_f32(from + runs[i].from + x));
    }
    memset(panel + n_k * width, 0, (size_t)((words - n_k) * width) * sizeof *panel);
}

V16_INLINE void pack_runs_pairs(const uint16_t *source, const int32_t *k_offset, int64_t n_k,
                                const ls_conv_run *runs, int n_runs, int64_t words, int width,
                                uint32_t *panel) {
    const int64_t whole = (n_k + 1) / 2;
    for (int64_t w = 0; w < whole; w++) {
        const uint16_t *low = source + k_offset[2 * w];
        const uint16_t *high = 2 * w + 1 < n_k ? source + k_offset[2 * w + 1] : NULL;
        uint32_t *row = panel + w * width;
        for (int i = 0; i < n_runs; i++)
            for (int x = 0; x < runs[i].length; x += 16) {
                const v16h a = v16h_load(low + runs[i].from + x);
                const v16h b = high ? v16h_load(high + runs[i].from + x) : (v16h){0};
                store_words(row + runs[i].to + x, join_rows(a, b), 16);
            }
    }
    memset(panel + whole * width, 0, (size_t)((words - whole) * width) * sizeof *panel);
}

V16_INLINE void copy_runs_wide(const float *source, const ls_conv_run *runs, int n_runs,
                               float *dst) {
    for (int i = 0; i < n_runs; i++)
        for (int x = 0; x < runs[i].length; x += 16)
            v16_store_f32(dst + runs[i].to + x, v16_load_f32(source + runs[i].from + x));
}

V16_INLINE void copy_runs_pairs(const uint16_t *source, const ls_conv_run *runs, int n_runs,
                                uint16_t *dst) {
    for (int i = 0; i < n_runs; i++)
        for (int x = 0; x < runs[i].length; x += 16)
            v16h_store(dst + runs[i].to + x, v16h_load(source + runs[i].from + x));
}

#endif
