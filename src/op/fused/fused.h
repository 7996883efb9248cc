/* fused: a chain (or a small DAG) of elementwise ops of one shape, run tile by tile in the first-level cache. Made by the pass
 * `fuse` (plan/pass/fuse.c), not by models.
 *
 * Values are numbered: 0 to n_in - 1 are the node's inputs, then come the results of step 0, of step 1, ... A step reads inputs and
 * results of earlier steps. out[] lists the values that leave. A value of bf16 or f16 is rounded to it between steps, as it would
 * be in memory: results have the bits that the steps have as nodes of their own.
 * A value that leaves may also be summed over its rows, as op reduce_rows does (the gradient of a bias): one more result, the last.
 * Inputs have the shape of the results (at least one dim), or none: a scalar, for steps that take one as operand. Local. */
#ifndef LS_OP_FUSED_H
#define LS_OP_FUSED_H
#include "graph/node.h"

enum {
    LS_FUSED_STEPS = 8,
    LS_FUSED_IN = 10,
    LS_FUSED_OUT = 4,
    LS_FUSED_STEP_IN = 4,
    LS_FUSED_STEP_OUT = 2,
    LS_FUSED_ATTR_BYTES = 16, /* of a step's own attributes */
    LS_FUSED_VALUES = LS_FUSED_IN + LS_FUSED_STEPS * LS_FUSED_STEP_OUT
};

typedef struct ls_fused_step {
    const ls_op *op;
    uint64_t attr[LS_FUSED_ATTR_BYTES / 8]; /* the bytes of the op's attributes */
    int n_in, n_out;
    int in[LS_FUSED_STEP_IN]; /* values */
} ls_fused_step;

typedef struct ls_fused_sum {
    int value; /* one that leaves; 0: none */
    int dtype; /* ls_dtype of its sum */
} ls_fused_sum;

typedef struct ls_fused_attr {
    int n_in, n_steps, n_out;
    int out[LS_FUSED_OUT]; /* values that leave: results of steps */
    ls_fused_sum sum;
    ls_fused_step steps[LS_FUSED_STEPS];
} ls_fused_attr;

/* One step applied to types. */
typedef struct ls_fused_sig {
    ls_type in[LS_FUSED_STEP_IN], out[LS_FUSED_STEP_OUT];
    ls_sig sig; /* of the two above */
} ls_fused_sig;

/* Types of all values from those of the inputs (types[0 .. n_in - 1] is read, the rest written); says what is wrong. */
ls_status ls_fused_types(const ls_fused_attr *attr, ls_type *types);
/* Step i's sig; attr must outlive it. */
void ls_fused_step_sig(const ls_fused_attr *attr, int i, const ls_type *types, ls_fused_sig *out);
/* Number of step i's first result. */
int ls_fused_first_result(const ls_fused_attr *attr, int i);
/* May a step be made of this op: elementwise, few operands, small attributes, with CPU kernels that have a tile function and accept
 * these types? */
int ls_fused_accepts(const ls_sig *sig);

#endif
