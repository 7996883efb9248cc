#include "op/optim_step_cpu.h"

typedef struct square_work {
    const float *x;
    int64_t count;
    double *blocks; /* a sum per block */
} square_work;

static double square_sum(const float *x, int64_t count) {
    v16d sum;
    memset(&sum, 0, sizeof sum);
    int64_t i = 0;
    for (; i + V16_LANES <= count; i += V16_LANES) sum = v16d_add_square(sum, v16_load_f32(x + i));
    if (i < count) sum = v16d_add_square(sum, v16_load_f32_n(x + i, count - i, 0));
    return v16d_sum(sum);
}

static ls_status sum_block(void *user, int64_t task, int worker) {
    (void)worker;
    const square_work *w = user;
    const int64_t begin = task * LS_STEP_BLOCK, left = w->count - begin;
    w->blocks[task] = square_sum(w->x + begin, left < LS_STEP_BLOCK ? left : LS_STEP_BLOCK);
    return LS_OK;
}

static ls_status launch(const ls_launch *l) {
    const int64_t count = ls_shape_count(&l->in[0].shape), n_blocks = ls_step_block_count(count);
    square_work work = {l->in[0].data, count, l->workspace};
    LS_TRY(ls_pool_run(l->pool, n_blocks, sum_block, &work));
    *(double *)l->out[0].data = ls_tree_sum(work.blocks, n_blocks);
    return LS_OK;
}

static const char *refuses(const ls_sig *sig) {
    return sig->in[0].dtype == LS_DTYPE_F32 ? NULL : "not f32";
}

static size_t workspace_bytes(const ls_sig *sig, int n_threads) {
    (void)n_threads;
    return sizeof(double) * (size_t)(ls_step_block_count(ls_type_count(&sig->in[0])) + 1);
}

LS_CPU_KERNEL(sum_squares) = {LS_CPU_KERNEL_HEAD("sum_squares"), .refuses = refuses,
                              .workspace_bytes = workspace_bytes, .launch = launch};
