/* The end of a language model in training, as one op: logits = x W^T, their cross_entropy, and what flows back to x and W. Logits are
 * made a block of rows at a time in the kernel's workspace and become their own gradient there, so those of a whole lane are never
 * stored. x [.., D], W [V, D] (w_is_NK) or [D, V], both of one dtype; targets i32 [..].
 * Results: 0 loss_sum, 1 count, scalars; 2 row losses [..]; unless loss_only 3 dx, x's type, and 4 dW, W's shape. 0, 1, 2 and 4 are f32
 * (f64 for f64 x).
 * Values, dtypes and bits are those of a matmul, a cross_entropy (see there: loss, ignore_index, grad_scale, loss_scale) and two matmuls:
 * blocks are the k blocks of the product that makes dW, so its sums come in the same order. Built by the pass `head` only; it has no
 * gradient. Local. */
#ifndef LS_OP_CROSS_ENTROPY_HEAD_H
#define LS_OP_CROSS_ENTROPY_HEAD_H
#include "op/cross_entropy/cross_entropy.h"

typedef struct ls_cross_entropy_head_attr {
    ls_cross_entropy_attr loss;
    int w_is_NK;
    int loss_only; /* evaluation: no gradients */
} ls_cross_entropy_head_attr;

enum { LS_HEAD_LOSS, LS_HEAD_COUNT, LS_HEAD_ROWS, LS_HEAD_DX, LS_HEAD_DW, LS_HEAD_N_OUT };

/* Rows of logits that the best kernel at this machine's level makes at a time; all of them with the reference kernel. */
LS_API int64_t ls_cross_entropy_head_block(const ls_sig *sig);

#endif
