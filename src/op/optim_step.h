/* What the optimizer steps share: one attribute struct, one operand order, in-place blocks.
 *
 * A step reads param, grad, lr, t, scale, state... and writes param, state... in place (phase UPDATE). All tensors are f32.
 * lr is the learning rate of this step, t the 1-based number of applied steps, and the gradient is multiplied by
 * `scale` before use. A negative or NaN scale (ops clip_scale) means a skipped step: nothing is touched. An element's new
 * value depends on its own old values only (lamb_step: and on two norms summed in canonical blocks), so a step
 * may be split anywhere. Local, reentrant. */
#ifndef LS_OP_OPTIM_STEP_H
#define LS_OP_OPTIM_STEP_H
#include "graph/node.h"
#include "graph/op.h"

enum {
    LS_STEP_PARAM,
    LS_STEP_GRAD,
    LS_STEP_LR,
    LS_STEP_T,
    LS_STEP_SCALE,
    LS_STEP_STATE, /* the first of up to LS_STEP_MAX_STATES */
    LS_STEP_MAX_STATES = 3
};
/* Elements of a block: the unit of parallel work and of canonical sums; 64 KiB of f32. */
enum { LS_STEP_BLOCK = 16384 };
/* Results in other memory than their operands are streamed from this size on: a cache line written whole is not read first. Smaller
 * ones are left in the caches. `make bench` times both. */
enum { LS_STEP_STREAM_BYTES = 128 << 10 };

/* Every step uses the members its head comment names; the others stay 0. */
typedef struct ls_step_attr {
    double beta1;    /* decay of the gradient's average */
    double beta2;    /* decay of the squared gradient's average (RMSprop's alpha, Adadelta's rho) */
    double eps;      /* keeps the division finite */
    double momentum; /* 0 = none, and no state for it */
    double weight_decay;
    int nesterov;
    int decoupled; /* weight decay shrinks the parameter directly (AdamW), not through the gradient */
    int centered; /* RMSprop: divide by the standard deviation instead of the root mean square */
} ls_step_attr;

typedef struct ls_step_scalars {
    double lr, t, scale;
} ls_step_scalars;

/* The first call of every launch: reads the scalars. Returns 0 when the step is to be skipped: results that are not their operands'
 * memory are copies of them then. */
LS_API int ls_step_begin(const ls_launch *launch, ls_step_scalars *out);
/* Copies operands to results where they are not the same memory already. */
LS_API void ls_step_copy(const ls_launch *launch);

/* One element in double; grad comes scaled. The reference kernels. */
typedef void (*ls_step_element_fn)(const ls_step_attr *attr, const ls_step_scalars *scalars,
                                   double *param, double grad, double *state);
LS_API ls_status ls_step_reference(const ls_launch *launch, ls_step_element_fn update);

/* One block of at most LS_STEP_BLOCK elements. `old` values are read, the others written: the same memory in place. */
typedef struct ls_step_block {
    int64_t index, count, n_blocks;
    const float *grad, *old_param, *old_state[LS_STEP_MAX_STATES];
    float *param, *state[LS_STEP_MAX_STATES];
    int stream; /* results are 64-byte aligned, large and not their operands: written past the caches */
} ls_step_block;
typedef void (*ls_step_block_fn)(const void *coefficients, const ls_step_block *block);
/* Calls `update` for every block, spread over the pool. */
LS_API ls_status ls_step_run(const ls_launch *launch, const void *coefficients,
                             ls_step_block_fn update);
/* A further pass: old states are those the pass before wrote, the old parameter is the operand. From the last block to the first. */
LS_API ls_status ls_step_run_again(const ls_launch *launch, const void *coefficients,
                                   ls_step_block_fn update);
LS_API int64_t ls_step_block_count(int64_t count);

/* Members of ls_op. */
LS_API ls_status ls_step_infer(const char *op, const ls_step_attr *attr, int n_states, int n_in,
                               const ls_type *in, int *n_out, ls_type *out);
LS_API int ls_step_alias(const ls_sig *sig, int i);
LS_API ls_status ls_step_shard(const ls_sig *sig, const int *in_split, int *out_split);
LS_API void ls_step_cost(const ls_sig *sig, ls_cost *out);
LS_API void ls_step_print(const void *attr, ls_text *out);
/* f32, one element; also used by the scalar ops around the steps. */
LS_API ls_status ls_step_infer_scalar(const char *op, const char *operand, const ls_type *type);

typedef struct ls_step_operands {
    ls_value param, grad, lr, t, scale;
    ls_value state[LS_STEP_MAX_STATES]; /* LS_VALUE_NONE past the op's number of states */
} ls_step_operands;
/* Builds one step; returns the updated parameter. */
LS_API ls_value ls_optim_step(ls_graph *graph, const ls_op *op, const ls_step_attr *attr,
                              const ls_step_operands *operands);

#endif
