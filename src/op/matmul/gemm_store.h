/* The epilogue of a register tile, for kernel files (compiled per instruction set):
 * out = act(alpha * c + bias) + residual, or the running sum over k blocks. */
#ifndef LS_OP_GEMM_STORE_H
#define LS_OP_GEMM_STORE_H
#include "op/activation.h"
#include "op/matmul/gemm.h"

V16_INLINE v16 v16_activate(ls_activation activation, v16 x) {
    switch (activation) {
    case LS_ACT_NONE:
        return x;
    case LS_ACT_GELU_TANH:
        return v16_gelu_tanh(x);
    case LS_ACT_GELU_ERF:
        return v16_gelu_erf(x);
    case LS_ACT_RELU:
        return v16_max(x, v16_set(0.0f));
    case LS_ACT_SILU:
        return v16_silu(x);
    }
    return x;
}

V16_INLINE v16 load_some(const void *data, ls_dtype dtype, int64_t at, int64_t n) {
    return n == 16 ? v16_load(data, dtype, at) : v16_load_n(data, dtype, at, n, 0.0f);
}

/* By the instruction where the file has it (it takes subnormals for zero, as vdpbf16ps does). */
V16_INLINE v16h round_to_bf16(v16 x) {
#ifdef __AVX512BF16__
    return (v16h)_mm512_cvtneps_pbh((__m512)x);
#else
    return v16_to_bf16(x);
#endif
}

V16_INLINE void store_some(void *data, ls_dtype dtype, int64_t at, v16 x, int64_t n) {
    if (dtype != LS_DTYPE_BF16)
        v16_store_n(data, dtype, at, x, n);
    else if (n == 16)
        v16h_store((uint16_t *)data + at, round_to_bf16(x));
    else
        v16h_store_n((uint16_t *)data + at, round_to_bf16(x), n);
}

/* What memory would give back of x. */
V16_INLINE v16 as_stored(v16 x, ls_dtype dtype) {
    if (dtype == LS_DTYPE_BF16) return v16_from_bf16(round_to_bf16(x));
    return dtype == LS_DTYPE_F16 ? v16_from_f16(v16_to_f16(x)) : x;
}

/* 16 (or the last n) columns of one row. An activation reads its argument as it is stored, so that it can be made again from there. */
V16_INLINE void finish_columns(const ls_gemm_out *out, ls_dtype dtype, int64_t row, int64_t col,
                               v16 x, int64_t n) {
    const int64_t at = row * out->ld + col;
    if (out->alpha != 1.0f) x = x * out->alpha;
    if (out->bias)
        x = x + (out->bias_by_row ? v16_set(load_some(out->bias, out->bias_dtype, row, 1)[0])
                                  : load_some(out->bias, out->bias_dtype, col, n));
    if (out->activation != LS_ACT_NONE) {
        if (out->pre) store_some(out->pre, dtype, at, x, n);
        x = v16_activate(out->activation, as_stored(x, dtype));
    }
    if (out->residual) x = x + load_some(out->residual, dtype, at, n);
    store_some(out->data, dtype, at, x, n);
}

V16_INLINE void store_tile_as(const ls_gemm_out *out, const ls_gemm_tile *tile, int nr,
                              ls_dtype dtype) {
    for (int i = 0; i < tile->n_rows; i++) {
        for (int j = 0; j < tile->n_cols; j += 16) {
            const int n = tile->n_cols - j < 16 ? tile->n_cols - j : 16;
            float *acc = tile->acc ? tile->acc + i * tile->acc_ld + j : NULL;
            v16 x = v16_load_f32(tile->c + i * nr + j);
            if (!tile->first) x = x + load_some(acc, LS_DTYPE_F32, 0, n);
            if (!tile->last)
                store_some(acc, LS_DTYPE_F32, 0, x, n);
            else
                finish_columns(out, dtype, tile->row + i, tile->col + j, x, n);
        }
    }
}

/* A whole tile with nothing to do but rounding. */
V16_INLINE void store_plain_as(const ls_gemm_out *out, const ls_gemm_tile *tile, int nr,
                               ls_dtype dtype) {
    const float *c = tile->c;
    int64_t at = tile->row * out->ld + tile->col;
    for (int i = 0; i < tile->n_rows; i++, c += nr, at += out->ld)
        for (int j = 0; j < nr; j += 16)
            store_some(out->data, dtype, at + j, v16_load_f32(c + j), 16);
}

/* A whole tile of one block more of k. */
V16_INLINE void add_whole(const ls_gemm_tile *tile, int nr) {
    const float *c = tile->c;
    float *acc = tile->acc;
    for (int i = 0; i < tile->n_rows; i++, c += nr, acc += tile->acc_ld)
        for (int j = 0; j < nr; j += 16)
            v16_store_f32(acc + j, v16_load_f32(c + j) + v16_load_f32(acc + j));
}

V16_INLINE int is_rounding_only(const ls_gemm_out *out) {
    return out->alpha == 1.0f && !out->bias && !out->residual && out->activation == LS_ACT_NONE;
}

V16_INLINE void store_tile(const ls_gemm_out *out, const ls_gemm_tile *tile, int nr) {
    const int is_whole = tile->n_cols == nr;
    if (is_whole && !tile->first && !tile->last) {
        add_whole(tile, nr);
        return;
    }
    if (is_whole && tile->first && tile->last && is_rounding_only(out)) {
        switch (out->dtype) {
        case LS_DTYPE_F32:
            store_plain_as(out, tile, nr, LS_DTYPE_F32);
            return;
        case LS_DTYPE_BF16:
            store_plain_as(out, tile, nr, LS_DTYPE_BF16);
            return;
        default:
            store_plain_as(out, tile, nr, LS_DTYPE_F16);
            return;
        }
    }
    switch (out->dtype) {
    case LS_DTYPE_F32:
        store_tile_as(out, tile, nr, LS_DTYPE_F32);
        return;
    case LS_DTYPE_BF16:
        store_tile_as(out, tile, nr, LS_DTYPE_BF16);
        return;
    default:
        store_tile_as(out, tile, nr, LS_DTYPE_F16);
        return;
    }
}

#endif
