/* Pooling in f32, a plane at a time; bf16 and f16 planes are widened to and from a worker's own memory. */
#include "op/cpu_kernel.h"
#define POOL_REAL float
#include "op/elementwise.h"
#include "op/pool2d/pool2d_plane.h"

typedef struct pool_job {
    const ls_launch *launch;
    pool_shape shape;
    int64_t in_count, out_count; /* x's and y's plane */
} pool_job;

static pool_job make_job(const ls_launch *launch, int is_grad) {
    const ls_sig *sig = launch->sig;
    const ls_shape *x = is_grad ? &sig->out[0].shape : &sig->in[0].shape;
    const ls_shape *y = is_grad ? &sig->in[0].shape : &sig->out[0].shape;
    pool_job job = {launch, shape_of(sig->attr, x, y), 0, 0};
    job.in_count = job.shape.h * job.shape.w;
    job.out_count = job.shape.p * job.shape.q;
    return job;
}

/* A worker's memory: x, dx (or nothing) and y planes. */
static size_t scratch_count(const ls_sig *sig) {
    size_t count = 0;
    for (int i = 0; i < sig->n_in; i++)
        count += (size_t)(sig->in[i].shape.dims[2] * sig->in[i].shape.dims[3]);
    return count + (size_t)(sig->out[0].shape.dims[2] * sig->out[0].shape.dims[3]);
}

static size_t workspace_bytes(const ls_sig *sig, int n_threads) {
    return scratch_count(sig) * (size_t)n_threads * sizeof(float);
}

static float *scratch_of(const ls_launch *launch, int worker) {
    return (float *)launch->workspace + (size_t)worker * scratch_count(launch->sig);
}

/* The plane of a tensor as f32: in place when it is f32. */
static const float *read_plane(const ls_tensor *tensor, int64_t plane, int64_t count,
                               float *scratch) {
    const char *data =
        (const char *)tensor->data + plane * count * (int64_t)ls_dtype_bytes(tensor->dtype);
    if (tensor->dtype == LS_DTYPE_F32) return (const float *)data;
    ls_convert(scratch, LS_DTYPE_F32, data, tensor->dtype, count);
    return scratch;
}

static void write_plane(const ls_tensor *tensor, int64_t plane, int64_t count, const float *from) {
    ls_convert((char *)tensor->data + plane * count * (int64_t)ls_dtype_bytes(tensor->dtype),
               tensor->dtype, from, LS_DTYPE_F32, count);
}

static ls_status run_plane(void *user, int64_t task, int worker) {
    const pool_job *job = user;
    float *x = scratch_of(job->launch, worker), *y = x + job->in_count;
    pool_plane(&job->shape, read_plane(&job->launch->in[0], task, job->in_count, x), y);
    write_plane(&job->launch->out[0], task, job->out_count, y);
    return LS_OK;
}

static ls_status run_plane_grad(void *user, int64_t task, int worker) {
    const pool_job *job = user;
    float *dx = scratch_of(job->launch, worker), *dy = dx + job->in_count, *x = dy + job->out_count;
    const float *in =
        job->shape.is_max ? read_plane(&job->launch->in[1], task, job->in_count, x) : NULL;
    pool_plane_grad(&job->shape, in, read_plane(&job->launch->in[0], task, job->out_count, dy), dx);
    write_plane(&job->launch->out[0], task, job->in_count, dx);
    return LS_OK;
}

static ls_status launch_fwd(const ls_launch *launch) {
    pool_job job = make_job(launch, 0);
    return ls_pool_run(launch->pool, job.shape.n_planes, run_plane, &job);
}

static ls_status launch_bwd(const ls_launch *launch) {
    pool_job job = make_job(launch, 1);
    return ls_pool_run(launch->pool, job.shape.n_planes, run_plane_grad, &job);
}

LS_CPU_KERNEL(pool2d_fwd) = {LS_CPU_KERNEL_HEAD("pool2d_fwd"), .refuses = ls_refuses_wide,
                             .workspace_bytes = workspace_bytes, .launch = launch_fwd};
LS_CPU_KERNEL(pool2d_bwd) = {LS_CPU_KERNEL_HEAD("pool2d_bwd"), .refuses = ls_refuses_wide,
                             .workspace_bytes = workspace_bytes, .launch = launch_bwd};
