/* Matrix product with a fused epilogue. Ownership and errors as in lockstep/graph.h. Local. */
#ifndef LS_OP_MATMUL_H
#define LS_OP_MATMUL_H
#include "graph/node.h"

typedef enum {
    LS_ACT_NONE,
    LS_ACT_GELU_TANH,
    LS_ACT_GELU_ERF,
    LS_ACT_RELU,
    LS_ACT_SILU
} ls_activation;

/* out[.., M, N] = act(alpha * op(a)[.., M, K] op(b)[K, N] + bias[N]) + residual[.., M, N].
 * Operands are a, b, then bias and residual when present; a residual has the dtype of the result. b has two dims (shared by
 * the batch) or the lead dims of a. With an activation, result 1 is what went into it (alpha * a b + bias). */
typedef struct ls_matmul_attr {
    int transpose_a; /* a is [.., K, M] */
    int transpose_b; /* b is [N, K] */
    ls_activation activation;
    int has_bias, has_residual;
    int out_dtype; /* ls_dtype, or -1 for the dtype of a */
    float alpha;
    /* With transpose_a: also sums over the lead dims, out[M, N] = sum of a^T b over [.., K] (a weight's gradient). */
    int sum_lead;
} ls_matmul_attr;

LS_API ls_value ls_matmul(ls_graph *graph, ls_value a, ls_value b, int transpose_a,
                          int transpose_b);
/* w is [N, K] (torch's Linear) when w_is_NK, else [K, N] (GPT-2's Conv1D). */
LS_API ls_value ls_linear(ls_graph *graph, ls_value x, ls_value w, int w_is_NK,
                          ls_value bias_or_none);
/* bias and residual are LS_VALUE_NONE where attr does not have them. */
LS_API ls_value ls_matmul_full(ls_graph *graph, ls_value a, ls_value b, ls_value bias,
                               ls_value residual, const ls_matmul_attr *attr);

/* "none" "gelu_tanh" "gelu_erf" "relu" "silu" */
LS_API const char *ls_activation_name(ls_activation activation);
/* For reference kernels. */
LS_API double ls_activation_apply(ls_activation activation, double x);

#endif
