/* Activations of 16 f32 values, for kernel files (compiled per instruction set): the ops of their name and the epilogue of a product
 * give the same bits, so that a pass may make one's result with the other. Gaussian error linear units: arXiv 1606.08415. */
#ifndef LS_OP_ACTIVATION_H
#define LS_OP_ACTIVATION_H
#include "op/simd.h"

V16_INLINE v16 v16_gelu_tanh(v16 x) {
    const v16 inner = 0.7978845608f * (x + 0.044715f * (x * x * x));
    return x * v16_sigmoid(inner + inner); /* (1 + tanh u) / 2 = sigmoid(2 u) */
}

V16_INLINE v16 v16_gelu_erf(v16 x) {
    return 0.5f * x * (1.0f + v16_erf(0.7071067812f * x));
}

V16_INLINE v16 v16_silu(v16 x) {
    return x * v16_sigmoid(x);
}

#endif
