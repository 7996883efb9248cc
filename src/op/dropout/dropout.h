/* dropout: y = x / (1 - p) where element i is kept, 0 where it is dropped (probability p). Element i of lane l of a tensor of n
 * elements draws word l * n + i of the Philox key (seed, step, stream): the mask depends on logical position only, and the gradient
 * is the same op on dy. Local. */
#ifndef LS_OP_DROPOUT_H
#define LS_OP_DROPOUT_H
#include "graph/node.h"

typedef struct ls_dropout_attr {
    double p; /* in [0, 1) */
    uint64_t stream;
} ls_dropout_attr;

/* stream_name is unique in the model ("h.3.attn.dropout"). p = 0 gives x itself. */
LS_API ls_value ls_dropout(ls_graph *graph, ls_value x, double p, const char *stream_name);

/* An element is kept when its 32-bit draw is at least this. */
static inline uint32_t ls_dropout_threshold(double p) {
    return (uint32_t)(p * 4294967296.0);
}

#endif
