/* A row at a time: a row of scratch per worker holds exp(x - max) in f32. It is scaled and written while the next row's takes its place.
 * The gradient reads its row twice. Tasks are blocks of rows. */
#include "op/exp_row.h"
#include "op/softmax/softmax.h"
#include "op/tile.h"

/* Where longer rows are written is fetched before. */
enum { SOFTMAX_TASK_ELEMENTS = 16384, SOFTMAX_SHORT_BYTES = 4096 };

typedef struct softmax_job {
    const ls_launch *launch;
    float *scratch; /* per worker: a padded row */
    int64_t m, n, row_floats, rows_per_task;
    int stream; /* y goes past the caches */
} softmax_job;

static int64_t pad_row(int64_t n) {
    return (n + V16_LANES - 1) / V16_LANES * V16_LANES;
}

static int64_t row_length(const ls_sig *sig) {
    return sig->in[0].shape.dims[sig->in[0].shape.n_dims - 1];
}

/* Rows [begin, end): the results of a row are written while the exponentials of the next take their place. */
V16_INLINE void softmax_as(const softmax_job *job, ls_dtype dtype, int stream, int64_t begin,
                           int64_t end, float *e) {
    const int64_t n = job->n, bytes = dtype == LS_DTYPE_F32 ? 4 : 2;
    const char *x = job->launch->in[0].data;
    exp_row_old old = {.y = job->launch->out[0].data, .n = n};
    for (int64_t row = begin; row < end; row++) {
        exp_row_walk walk = {.e = e, .x = x, .at = row * n};
        walk.m = exp_row_max(x, dtype, row * n, n);
        walk.read = x + (row + 1) * n * bytes;
        if (!stream && n * bytes > SOFTMAX_SHORT_BYTES)
            walk.written = (const char *)old.y + row * n * bytes;
        old.done = 0;
        if (row == begin)
            exp_row_rest(&walk, dtype, 0, n);
        else
            exp_row_turn(&walk, dtype, stream, 0, n, &old);
        old.at = row * n;
        old.factor = old.next_factor = 1.0f / v16_sum(walk.first + walk.second);
    }
    exp_row_store(old.y, dtype, old.at, e, n, old.factor, 0, stream);
}

static __attribute__((noinline)) void softmax_f32(const softmax_job *job, int64_t begin,
                                                  int64_t end, float *e) {
    job->stream ? softmax_as(job, LS_DTYPE_F32, 1, begin, end, e)
                : softmax_as(job, LS_DTYPE_F32, 0, begin, end, e);
}

static __attribute__((noinline)) void softmax_bf16(const softmax_job *job, int64_t begin,
                                                   int64_t end, float *e) {
    job->stream ? softmax_as(job, LS_DTYPE_BF16, 1, begin, end, e)
                : softmax_as(job, LS_DTYPE_BF16, 0, begin, end, e);
}

static __attribute__((noinline)) void softmax_f16(const softmax_job *job, int64_t begin,
                                                  int64_t end, float *e) {
    job->stream ? softmax_as(job, LS_DTYPE_F16, 1, begin, end, e)
                : softmax_as(job, LS_DTYPE_F16, 0, begin, end, e);
}

static ls_status run_rows(void *user, int64_t task, int worker) {
    const softmax_job *job = user;
    float *e = job->scratch + worker * job->row_floats;
    const ls_dtype dtype = job->launch->in[0].dtype;
    const int64_t begin = task * job->rows_per_task, past = begin + job->rows_per_task;
    const int64_t end = past < job->m ? past : job->m;
    if (dtype == LS_DTYPE_F32)
        softmax_f32(job, begin, end, e);
    else if (dtype == LS_DTYPE_BF16)
        softmax_bf16(job, begin, end, e);
    else
        softmax_f16(job, begin, end, e);
    if (job->stream) v16_stream_end();
    return LS_OK;
}

V16_INLINE void grad_as(const ls_launch *launch, ls_dtype dtype, int64_t at, int64_t n) {
    const void *y = launch->in[0].data, *dy = launch->in[1].data;
    void *dx = launch->out[0].data;
    v16 sum = v16_set(0);
    for (int64_t j = 0; j < n; j += V16_LANES) {
        const int64_t left = n - j < V16_LANES ? n - j : V16_LANES;
        sum += v16_read_n(y, dtype, at + j, left, 0) * v16_read_n(dy, dtype, at + j, left, 0);
    }
    const float dot = v16_sum(sum);
    for (int64_t j = 0; j < n; j += V16_LANES) {
        const int64_t left = n - j < V16_LANES ? n - j : V16_LANES;
        const v16 g = v16_read_n(dy, dtype, at + j, left, 0) - dot;
        v16_write_n(dx, dtype, at + j, v16_read_n(y, dtype, at + j, left, 0) * g, left);
    }
}

/* y, dy and dx are of one dtype. */
static void grad_row(const ls_launch *launch, int64_t at, int64_t n) {
    if (launch->in[0].dtype == LS_DTYPE_F32)
        grad_as(launch, LS_DTYPE_F32, at, n);
    else if (launch->in[0].dtype == LS_DTYPE_BF16)
        grad_as(launch, LS_DTYPE_BF16, at, n);
    else
        grad_as(launch, LS_DTYPE_F16, at, n);
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
    job.stream = exp_row_streams(&launch->in[0], &launch->out[0]);
    job.rows_per_task = SOFTMAX_TASK_ELEMENTS / job.n + 1;
    return ls_pool_run(launch->pool, (job.m + job.rows_per_task - 1) / job.rows_per_task, fn, &job);
}

static ls_status launch_fwd(const ls_launch *launch) {
    return run_softmax(launch, run_rows);
}

static ls_status launch_bwd(const ls_launch *launch) {
    return run_softmax(launch, run_grad_rows);
}

static const char *refuses(const ls_sig *sig) {
#ifdef __AVX512BF16__
    if (sig->in[0].dtype != LS_DTYPE_BF16) return "x is not bf16";
#endif
    return ls_refuses_wide(sig);
}

static size_t workspace(const ls_sig *sig, int n_threads) {
    return (size_t)(n_threads * pad_row(row_length(sig))) * sizeof(float);
}

LS_CPU_KERNEL(softmax_fwd) = {LS_CPU_KERNEL_HEAD("softmax_fwd"), .refuses = refuses,
                              .workspace_bytes = workspace, .launch = launch_fwd};
LS_CPU_KERNEL(softmax_bwd) = {LS_CPU_KERNEL_HEAD("softmax_bwd"), .refuses = refuses,
                              .launch = launch_bwd};
