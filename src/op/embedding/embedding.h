/* embedding: y[.., D] = table[ids[..], D]; ids i32 in [0, V), another id is LS_ERR_DATA naming position, id and V.
 * embedding_grad: from ids and dy, the table's gradient [V, D]: rows of dy added by vocabulary row, positions ascending, in f32 (f64
 * for f64), whatever the thread count. With a third input, of the result's type, the rows are added to it instead of to zero, one
 * after the other; written over it, only rows that ids name are read and written. Local. */
#ifndef LS_OP_EMBEDDING_H
#define LS_OP_EMBEDDING_H
#include "graph/node.h"

typedef struct ls_embedding_grad_attr {
    int64_t n_vocab; /* V */
    int64_t dtype;   /* ls_dtype of the result */
} ls_embedding_grad_attr;

LS_API ls_value ls_embedding(ls_graph *graph, ls_value table, ls_value ids);

/* LS_ERR_DATA unless every id is in [0, n_vocab); `op` and `what` are for the message. */
LS_API ls_status ls_check_ids(const char *op, const int32_t *ids, int64_t n, int64_t n_vocab);

#endif
