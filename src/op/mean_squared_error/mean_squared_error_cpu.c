/* Canonical blocks of ERROR_BLOCK elements; their sums, in double in the workspace, are added by ls_tree_sum. */
#include "op/mean_squared_error/mean_squared_error.h"
#include "op/tile.h"

enum { ERROR_BLOCK = 8192 };

typedef struct error_job {
    const ls_launch *launch;
    double *sums; /* one per block */
    int64_t n;
    float scale; /* of the difference: 2 * grad_scale */
} error_job;

static int64_t count_blocks(int64_t n) {
    return (n + ERROR_BLOCK - 1) / ERROR_BLOCK;
}

static ls_status run_block(void *user, int64_t task, int worker) {
    const error_job *job = user;
    const ls_tensor *x = &job->launch->in[0], *y = &job->launch->in[1], *dx = &job->launch->out[2];
    const int64_t begin = task * ERROR_BLOCK;
    const int64_t end = begin + ERROR_BLOCK < job->n ? begin + ERROR_BLOCK : job->n;
    v16 sum = v16_set(0);
    (void)worker;
    for (int64_t i = begin; i < end; i += V16_LANES) {
        const int64_t left = end - i < V16_LANES ? end - i : V16_LANES;
        const v16 d =
            v16_load_n(x->data, x->dtype, i, left, 0) - v16_load_n(y->data, y->dtype, i, left, 0);
        sum += d * d;
        v16_store_n(dx->data, dx->dtype, i, d * job->scale, left);
    }
    job->sums[task] = (double)v16_sum(sum);
    return LS_OK;
}

static ls_status launch(const ls_launch *launch) {
    const ls_mean_squared_error_attr *a = launch->sig->attr;
    error_job job = {.launch = launch, .sums = launch->workspace, .scale = 2 * a->grad_scale};
    job.n = ls_type_count(&launch->sig->in[0]);
    LS_TRY(ls_pool_run(launch->pool, count_blocks(job.n), run_block, &job));
    ls_tensor_set(&launch->out[0], 0, ls_tree_sum(job.sums, count_blocks(job.n)));
    ls_tensor_set(&launch->out[1], 0, (double)job.n);
    return LS_OK;
}

static size_t workspace(const ls_sig *sig, int n_threads) {
    (void)n_threads;
    return (size_t)count_blocks(ls_type_count(&sig->in[0])) * sizeof(double);
}

LS_CPU_KERNEL(mean_squared_error_fwd) = {LS_CPU_KERNEL_HEAD("mean_squared_error_fwd"),
                                         .refuses = ls_refuses_wide, .workspace_bytes = workspace,
                                         .launch = launch};
