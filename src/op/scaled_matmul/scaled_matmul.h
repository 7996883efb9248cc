/* Product of 8-bit integers with scales, for quantized inference: what ONNX calls QLinearMatMul and PyTorch _scaled_mm. Local.
 *
 * out[.., M, N] = scale_a[.., M] scale_b[N] sum over k of (a[.., M, K] - zero_a[.., M]) op(b)[K, N] + bias[N]
 *
 * a is u8 or i8 (activations, one scale a row), b is i8 (weights, one scale a column, no zero point). Operands in this order: a, b, scale_a,
 * scale_b, then zero_a (i32) and bias when present; scales and bias are f32. Sums are exact s32, so all kernels agree to the bit before
 * the scales; K is at most LS_SCALED_MATMUL_MAX_K, from where on a sum might not fit. No gradient. */
#ifndef LS_OP_SCALED_MATMUL_H
#define LS_OP_SCALED_MATMUL_H
#include "graph/node.h"

/* (2^31 - 1) / (255 * 128) */
enum { LS_SCALED_MATMUL_MAX_K = 65793 };

typedef struct ls_scaled_matmul_attr {
    int transpose_b; /* b is [N, K] */
    int has_zero, has_bias;
    int out_dtype; /* f32 or bf16 */
} ls_scaled_matmul_attr;

/* zero and bias are LS_VALUE_NONE where attr does not have them. */
LS_API ls_value ls_scaled_matmul(ls_graph *graph, const ls_value ab[2], const ls_value scales[2],
                                 ls_value zero, ls_value bias, const ls_scaled_matmul_attr *attr);

#endif
