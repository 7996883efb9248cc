/* rope: rotary position embedding (Su et al., "RoFormer", 2021, eq. 34).
 *
 * x[B, T, H, K] -> y[B, T, H, K], K even. With p = position_offset + t and w_i = theta^(-2 i / K), the pair i of a head is
 * turned by the angle p * w_i. A pair is (x[i], x[i + K/2]) as in Hugging Face's llama, or (x[2i], x[2i + 1]) when
 * `interleaved` (the paper, Meta's llama, GPT-J). The gradient is the same op with `inverse` set (a turn the other way). */
#ifndef LS_OP_ROPE_H
#define LS_OP_ROPE_H
#include "op/op.h"

typedef struct ls_rope_attr {
    double theta;
    int64_t position_offset;
    int interleaved;
    int inverse;
} ls_rope_attr;

LS_API ls_value ls_rope(ls_graph *graph, ls_value x, double theta, int position_offset,
                        int interleaved);

#endif
