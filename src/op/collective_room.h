/* What the rooms of the collectives share; see op/collective.h. A room has two ops, <name>_start and <name>_wait (send and recv are
 * two halves of one), that differ in a row of collective.c and in the kernels. Local, reentrant. */
#ifndef LS_OP_COLLECTIVE_ROOM_H
#define LS_OP_COLLECTIVE_ROOM_H
#include "op/collective.h"
#include "op/cpu_kernel.h"
#include "op/wire.h"

typedef enum ls_collective {
    LS_COLLECTIVE_ALL_GATHER,
    LS_COLLECTIVE_ALL_REDUCE,
    LS_COLLECTIVE_ALL_TO_ALL,
    LS_COLLECTIVE_BROADCAST,
    LS_COLLECTIVE_REDUCE_SCATTER,
    LS_COLLECTIVE_SEND,
    LS_COLLECTIVE_COUNT
} ls_collective;

typedef struct ls_collective_row {
    const char *name; /* in messages and for the transport */
    const ls_op *start, *wait;
    int scatter;      /* see ls_comm_part */
    int sums;         /* f32 only, rounded to the wire */
    int is_in_pieces; /* x or y is a piece: in_place is possible */
    int from, to;     /* uses attr.from, attr.to */
} ls_collective_row;

/* The row of a start or wait op. */
const ls_collective_row *ls_collective_of(const ls_op *op);
const ls_collective_row *ls_collective_row_of(ls_collective which);

/* Sizes of tensor i's part of a call; data stays NULL. */
ls_comm_part ls_collective_part(const ls_collective_row *row, const ls_collective_attr *attr, int i,
                                ls_dtype dtype);
/* Pieces are encoded by start. */
int ls_collective_is_encoded(const ls_collective_row *row, const ls_collective_attr *attr);
/* There is a staging result: staging_bytes, of which the first send_bytes hold what start encodes, the rest is the landing. */
int ls_collective_is_staged(const ls_collective_attr *attr);
size_t ls_collective_send_bytes(const ls_collective_row *row, const ls_collective_attr *attr);
size_t ls_collective_staging_bytes(const ls_collective_row *row, const ls_collective_attr *attr,
                                   const ls_type *x);
/* First byte of part i in the send area. */
size_t ls_collective_send_offset(const ls_collective_row *row, const ls_collective_attr *attr,
                                 int i);

/* Members of ls_op. */
ls_status ls_collective_infer_start(ls_collective which, const void *attr, int n_in,
                                    const ls_type *in, int *n_out, ls_type *out);
ls_status ls_collective_infer_wait(ls_collective which, const void *attr, int n_in,
                                   const ls_type *in, int *n_out, ls_type *out);
int ls_collective_alias(const ls_sig *sig, int i);
void ls_collective_cost(const ls_sig *sig, ls_cost *out);
void ls_collective_print(const void *attr, ls_text *out);
#define LS_COLLECTIVE_OP(op_name, infer_fn, kernel_list)                                  \
    .name = op_name, .min_in = 1, .max_in = -1, .attr_bytes = sizeof(ls_collective_attr), \
    .infer = infer_fn, .cost = ls_collective_cost, .print = ls_collective_print,          \
    .alias = ls_collective_alias, .kernels = kernel_list

/* Members of ls_kernel, for collectives that copy. */
ls_status ls_collective_copy_start(const ls_launch *launch);
ls_status ls_collective_copy_wait(const ls_launch *launch);
size_t ls_collective_wait_workspace(const ls_sig *sig, int n_threads);
/* all_gather: of sums that were rounded to a wire format, also encoded in it. */
ls_status ls_collective_gather_start(const ls_launch *launch, const ls_wire_fns *fns);
ls_status ls_collective_gather_wait(const ls_launch *launch, const ls_wire_fns *fns);
/* For those that sum: with one level's arithmetic. */
ls_status ls_collective_sum_start(const ls_launch *launch, const ls_wire_fns *fns);
ls_status ls_collective_sum_wait(const ls_launch *launch, const ls_wire_fns *fns);

#endif
