/* attention: O = softmax(Q K^T / sqrt(K)) V per head, fused: tiles with a running maximum and sum, no T x T matrix
 * (Vaswani et al., "Attention is all you need", 2017; Milakov, Gimelshein, "Online normalizer calculation for softmax", 2018;
 * Dao et al., "FlashAttention", 2022, alg. 1 and 4; grouped heads: Ainslie et al., "GQA", 2023).
 *
 * B batch, T tokens, H query heads, G key/value heads (H a multiple of G; query head h reads head h / (H / G)), K head size.
 * Packed: qkv[B, T, 3*H*K] (all q heads, all k heads, all v heads) -> out[B, T, H*K].
 * Separate: q[B, T, H, K], k[B, T, G, K], v[B, T, G, K] -> out[B, T, H, K].
 * Result 1: lse[B, H, T] = log sum exp of a query's scaled scores, f32 (f64 when the input is f64).
 * `causal`: a query sees keys at its own and earlier positions.
 * attention_grad: qkv, out, lse, dout -> dqkv; or q, k, v, out, lse, dout -> dq, dk, dv. Dtypes of gradients are those of the
 * inputs; sums over the query heads of a group and over positions are taken in f32 in ascending order. */
#ifndef LS_OP_ATTENTION_H
#define LS_OP_ATTENTION_H
#include "op/op.h"

typedef struct ls_attention_attr {
    int n_heads; /* query heads: needed when packed, else 0 (the shapes tell) */
    int causal;
} ls_attention_attr;

LS_API ls_value ls_attention_packed(ls_graph *graph, ls_value qkv, int n_heads, int causal);
LS_API ls_value ls_attention(ls_graph *graph, ls_value q, ls_value k, ls_value v, int causal);

#endif
