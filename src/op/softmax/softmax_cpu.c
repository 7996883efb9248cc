/* A row at a time: a row of scratch per worker holds x and then exp(x - max) in f32. The gradient reads its row twice. Tasks are
 * blocks of rows. */
#include "op/softmax/softmax.h"
#include "op/tile.h"

enum { SOFTMAX_TASK_ELEMENTS = 16384 };

typedef struct softmax_job {
    const ls_launch *launch;
    float *scratch; /* per worker: a padded row */
    int64_t m, n, row_floats, rows_per_task;
} softmax_job;

static int64_t pad_row(int64_t n) {
    return (n + V16_LANES - 1) / V16_LANES * V16_LANES;
}

static int64_t row_length(const ls_sig *sig) {
    return sig->in[0].shape.dims[sig->in[0].shape.n_dims - 1];
}

static void softmax_row(const ls_tensor *x, const ls_tensor *y, int64_t at, int64_t n, float *e) {
    v16 largest = v16_set(-INFINITY), sum = v16_set(0);
    row_load(e, x->data, x->dtype, at, n, -INFINITY);
    for (int64_t j = 0; j < n; j += V16_LANES) largest = v16_max(largest, v16_load_f32(e + j));
    const float m = v16_max_of(largest);
    for (int64_t j = 0; j < n; j += V16_LANES) {
        const v16 value = v16_exp(v16_load_f32(e + j) - m);
        v16_store_f32(e + j, value);
        sum += value;
    }
    const float total = v16_sum(sum);
    for (int64_t j = 0; j < n; j += V16_LANES) v16_store_f32(e + j, v16_load_f32(e + j) / total);
    row_store(y->data, y->dtype, at, e, n);
}

static ls_status run_rows(void *user, int64_t task, int worker) {
    const softmax_job *job = user;
    float *e = job->scratch + worker * job->row_floats;
    const int64_t begin = task * job->rows_per_task, end = begin + job->rows_per_task;
    for (int64_t row = begin; row < end && row < job->m; row++)
        softmax_row(&job->launch->in[0], &job->launch->out[0], row * job->n, job->n, e);
    return LS_OK;
}

static void grad_row(const ls_launch *launch, int64_t at, int64_t n) {
    const ls_tensor *y = &launch->in[0], *dy = &launch->in[1], *dx = &launch->out[0];
    v16 sum = v16_set(0);
    for (int64_t j = 0; j < n; j += V16_LANES) {
        const int64_t left = n - j < V16_LANES ? n - j : V16_LANES;
        sum += v16_load_n(y->data, y->dtype, at + j, left, 0) *
               v16_load_n(dy->data, dy->dtype, at + j, left, 0);
    }
    const float dot = v16_sum(sum);
    for (int64_t j = 0; j < n; j += V16_LANES) {
        const int64_t left = n - j < V16_LANES ? n - j : V16_LANES;
        const v16 g = v16_load_n(dy->data, dy->dtype, at + j, left, 0) - dot;
        v16_store_n(dx->data, dx->dtype, at + j, v16_load_n(y->data, y->dtype, at + j, left, 0) * g,
                    left);
    }
}

static ls_status run_grad_rows(void *user, int64_t task, int worker) {
    const softmax_job *job = user;
    const int64_t begin = task * job->rows_per_task, end = begin + job->rows_per_task;
    (void)worker;
    for (int64_t row = begin; row < end && row < job->m; row++)
        grad_row(job->launch, row * job->n, job->n);
    return LS_OK;
}

static ls_status run_softmax(const ls_launch *launch, ls_task_fn fn) {
    softmax_job job = {
        .launch = launch, .scratch = launch->workspace, .n = row_length(launch->sig)};
    job.m = ls_type_count(&launch->sig->in[0]) / job.n;
    job.row_floats = pad_row(job.n);
    job.rows_per_task = SOFTMAX_TASK_ELEMENTS / job.n + 1;
    return ls_pool_run(launch->pool, (job.m + job.rows_per_task - 1) / job.rows_per_task, fn, &job);
}

static ls_status launch_fwd(const ls_launch *launch) {
    return run_softmax(launch, run_rows);
}

static ls_status launch_bwd(const ls_launch *launch) {
    return run_softmax(launch, run_grad_rows);
}

static size_t workspace(const ls_sig *sig, int n_threads) {
    return (size_t)(n_threads * pad_row(row_length(sig))) * sizeof(float);
}

LS_CPU_KERNEL(softmax_fwd) = {LS_CPU_KERNEL_HEAD("softmax_fwd"), .refuses = ls_refuses_wide,
                              .workspace_bytes = workspace, .launch = launch_fwd};
LS_CPU_KERNEL(softmax_bwd) = {LS_CPU_KERNEL_HEAD("softmax_bwd"), .refuses = ls_refuses_wide,
                              .launch = launch_bwd};
