#include <math.h>

#include "op/optim_step_cpu.h"

typedef struct norm_work {
    const ls_launch *launch;
    double *blocks; /* a sum per block, tensor after tensor */
} norm_work;

static double square_sum(const float *x, int64_t count) {
    v16d sum;
    memset(&sum, 0, sizeof sum);
    int64_t i = 0;
    for (; i + V16_LANES <= count; i += V16_LANES) sum = v16d_add_square(sum, v16_load_f32(x + i));
    if (i < count) sum = v16d_add_square(sum, v16_load_f32_n(x + i, count - i, 0));
    return v16d_sum(sum);
}

/* Task = block counted through all tensors. */
static ls_status sum_block(void *user, int64_t task, int worker) {
    (void)worker;
    const norm_work *w = user;
    int64_t block = task;
    for (int t = 0; t < w->launch->sig->n_in; t++) {
        const int64_t count = ls_shape_count(&w->launch->in[t].shape);
        const int64_t n_blocks = ls_step_block_count(count);
        if (block < n_blocks) {
            const int64_t begin = block * LS_STEP_BLOCK, left = count - begin;
            const float *x = w->launch->in[t].data;
            w->blocks[task] = square_sum(x + begin, left < LS_STEP_BLOCK ? left : LS_STEP_BLOCK);
            return LS_OK;
        }
        block -= n_blocks;
    }
    return LS_OK;
}

static int64_t count_blocks(const ls_sig *sig) {
    int64_t n = 0;
    for (int t = 0; t < sig->n_in; t++) n += ls_step_block_count(ls_type_count(&sig->in[t]));
    return n;
}

static ls_status launch(const ls_launch *l) {
    const int64_t n_blocks = count_blocks(l->sig);
    norm_work work = {l, l->workspace};
    LS_TRY(ls_pool_run(l->pool, n_blocks, sum_block, &work));
    double *tensors = work.blocks + n_blocks, *at = work.blocks;
    for (int t = 0; t < l->sig->n_in; t++) {
        const int64_t n = ls_step_block_count(ls_shape_count(&l->in[t].shape));
        tensors[t] = ls_tree_sum(at, n);
        at += n;
    }
    *(float *)l->out[0].data = (float)sqrt(ls_tree_sum(tensors, l->sig->n_in));
    return LS_OK;
}

static size_t workspace_bytes(const ls_sig *sig, int n_threads) {
    (void)n_threads;
    return sizeof(double) * (size_t)(count_blocks(sig) + sig->n_in);
}

LS_CPU_KERNEL(grad_norm) = {LS_CPU_KERNEL_HEAD("grad_norm"), .workspace_bytes = workspace_bytes,
                            .launch = launch};
