/* A matmul signature as batches of plain products: what the reference kernel, the cost and the launch share. */
#ifndef LS_OP_MATMUL_SHAPE_H
#define LS_OP_MATMUL_SHAPE_H
#include "op/matmul/matmul.h"

typedef struct ls_matmul_shape {
    int64_t n_batch, m, n, k;
    int64_t a_step, b_step; /* elements from one batch to the next; 0 for a shared b */
} ls_matmul_shape;

/* Rows of all lead dims become one m (shared b) or, with sum_lead, one k. */
LS_API ls_matmul_shape ls_matmul_shape_of(const ls_sig *sig);

#endif
