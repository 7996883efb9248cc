/* This rank's piece of a tensor that is there as a whole; see own_piece.c. Local. */
#ifndef LS_OP_OWN_PIECE_H
#define LS_OP_OWN_PIECE_H
#include "op/op.h"

typedef struct ls_own_piece_attr {
    int64_t count; /* elements of the whole tensor */
    int lanes;     /* chunks that it is dealt in; a multiple of size */
    int size;      /* members */
} ls_own_piece_attr;

/* x: any shape of attr->count elements, any dtype. Result: [ls_shard_piece(count, lanes, size)], in x's memory. */
LS_API ls_value ls_own_piece(ls_graph *graph, ls_value x, const ls_own_piece_attr *attr);

#endif
