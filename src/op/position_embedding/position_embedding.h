/* position_embedding: y[b, t] = x[b, t] + table[t], learned positions as in GPT-2. x[B, T, D], table[C, D] with C >= T, both of
 * one dtype or the table in another float dtype -> y[B, T, D] (dtype of x).
 * position_embedding_grad: dy -> dtable[C, D], the sum over the batch in ascending order; rows from T on are zero. Local. */
#ifndef LS_OP_POSITION_EMBEDDING_H
#define LS_OP_POSITION_EMBEDDING_H
#include "graph/node.h"

typedef struct ls_position_embedding_grad_attr {
    int dtype;      /* ls_dtype of dtable */
    int64_t n_rows; /* C */
} ls_position_embedding_grad_attr;

LS_API ls_value ls_position_embedding(ls_graph *graph, ls_value x, ls_value table);

#endif
