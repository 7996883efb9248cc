/* Collectives as ops: each is a start and a wait, so that a pass can put work between the two.
 *
 *     pending_0 .. pending_n-1 [, staging] = <op>_start(x_0 .. x_n-1)
 *     y_0 .. y_n-1 = <op>_wait(pending_0 .. pending_n-1, x_0 .. x_n-1 [, staging])     y_i is pending_i's memory
 *
 * start gives this rank's bytes to the transport and returns; wait takes what the others gave, does the arithmetic on the compute
 * threads (sums over members in tree order, f32, each node rounded to `wire`), writes y, and returns when nobody needs x any
 * more. x is an input of wait to keep its memory. Several tensors (a bucket) travel in one call.
 * A tensor of counts[i] elements is cut by ls_shard_piece(counts[i], lanes, size); a piece is a flat [piece] tensor whose elements
 * past the tensor's end are zero.
 *
 * | op             | x_i             | y_i                                                    |
 * |----------------|-----------------|--------------------------------------------------------|
 * | reduce_scatter | counts[i], f32  | [piece]: my piece of the sum over members              |
 * | all_gather     | [piece], any    | [counts[i]]: all members' pieces in member order       |
 * | all_reduce     | any shape, f32  | same shape: sum over members, made by every member (small tensors; large ones go
 * |                |                 |   through reduce_scatter and all_gather)                |
 * | all_to_all     | counts[i], any  | [size * piece]: from each member its piece for me      |
 * | broadcast      | any shape, any  | same shape: member `from`'s                             |
 * | send, recv     | any shape, any  | member `from` gives, `to` gets it; others: zeros. One call: send starts it, recv ends it |
 *
 * in_place (reduce_scatter, all_gather): y_i is x_i's memory and has x_i's type counts[i]; reduce_scatter leaves the sum in my piece
 * of it (the rest is undefined), all_gather finds my piece there and fills the rest. pending_i is x_i's memory as well. An in-place
 * all_gather with a `wire` is of f32 values that were rounded to it: between hosts they travel encoded, without a change.
 * Reference values: MPI_Reduce_scatter, MPI_Allgather, ... of MPI 4.0. Collective over the members. */
#ifndef LS_OP_COLLECTIVE_H
#define LS_OP_COLLECTIVE_H
#include "comm/comm.h"
#include "op/op.h"

typedef struct ls_collective_attr {
    int size;   /* members */
    int lanes;  /* chunks that a tensor is dealt in; a multiple of size */
    int wire;   /* ls_wire: rounding of sums, format between hosts */
    int staged; /* members are on several hosts: pieces travel encoded, through staging memory */
    int in_place;
    int fast;     /* sums in the transport's own order */
    int ticket;   /* pairs start with wait; unique among calls under way */
    int from, to; /* members; -1 where the op does not use them */
    int unit; /* elements dealt together; 0 = LS_SHARD_UNIT. 1: numbers of which there is one a chunk */
    int n;                             /* tensors, at most LS_COMM_MAX_PARTS */
    int64_t counts[LS_COMM_MAX_PARTS]; /* elements of each whole tensor */
} ls_collective_attr;

/* Is it the first half of a collective? */
LS_API int ls_collective_is_start(const ls_op *op);
/* Elements of member pieces of tensor i: ls_shard_piece with the attribute's unit. */
LS_API int64_t ls_collective_piece(const ls_collective_attr *attr, int i);
/* Builders. pending_out holds attr->n + 1 values (the last is the staging, LS_VALUE_NONE when there is none). */
LS_API ls_status ls_collective_start(ls_graph *graph, const ls_op *start_op,
                                     const ls_collective_attr *attr, const ls_value *x,
                                     ls_value *pending_out);
LS_API ls_status ls_collective_wait(ls_graph *graph, const ls_op *wait_op,
                                    const ls_collective_attr *attr, const ls_value *x,
                                    const ls_value *pending, ls_value *y_out);

#endif
