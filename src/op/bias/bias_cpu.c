/* Tasks are blocks of rows. */
#include "op/bias/bias.h"
#include "op/tile.h"

enum { BIAS_TASK_ELEMENTS = 16384, BIAS_COLUMNS = 1024 };

typedef struct bias_job {
    const ls_launch *launch;
    int64_t m, n, rows_per_task;
} bias_job;

static void add_row(const ls_launch *launch, int64_t at, const float *b, int64_t n) {
    const ls_tensor *x = &launch->in[0], *y = &launch->out[0];
    int64_t j = 0;
    for (; j + V16_LANES <= n; j += V16_LANES)
        v16_store(y->data, y->dtype, at + j,
                  v16_load(x->data, x->dtype, at + j) + v16_load_f32(b + j));
    if (j < n)
        v16_store_n(y->data, y->dtype, at + j,
                    v16_load_n(x->data, x->dtype, at + j, n - j, 0) + v16_load_f32(b + j), n - j);
}

static ls_status run_rows(void *user, int64_t task, int worker) {
    const bias_job *job = user;
    const ls_tensor *bias = &job->launch->in[1];
    const int64_t begin = task * job->rows_per_task;
    const int64_t end = begin + job->rows_per_task < job->m ? begin + job->rows_per_task : job->m;
    float b[BIAS_COLUMNS] __attribute__((aligned(64)));
    (void)worker;
    for (int64_t j = 0; j < job->n; j += BIAS_COLUMNS) {
        const int64_t n = job->n - j < BIAS_COLUMNS ? job->n - j : BIAS_COLUMNS;
        row_load(b, bias->data, bias->dtype, j, n, 0);
        for (int64_t i = begin; i < end; i++) add_row(job->launch, i * job->n + j, b, n);
    }
    return LS_OK;
}

static ls_status launch(const ls_launch *launch) {
    bias_job job = {.launch = launch, .n = ls_type_count(&launch->sig->in[1])};
    if (ls_type_count(&launch->sig->out[0]) == 0) return LS_OK;
    job.m = ls_type_count(&launch->sig->out[0]) / job.n;
    job.rows_per_task = BIAS_TASK_ELEMENTS / job.n + 1;
    return ls_pool_run(launch->pool, (job.m + job.rows_per_task - 1) / job.rows_per_task, run_rows,
                       &job);
}

LS_CPU_KERNEL(bias_fwd) = {LS_CPU_KERNEL_HEAD("bias_fwd"), .refuses = ls_refuses_wide,
                           .launch = launch};
