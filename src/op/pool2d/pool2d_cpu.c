/* Pooling in f32, sixteen values of a pixel at a time. Tasks are pixels of the result. */
#include "op/cpu_kernel.h"
#include "op/elementwise.h"
#include "op/pool2d/pool2d_shape.h"
#include "op/simd.h"

typedef struct pool_job {
    const ls_tensor *x, *dy; /* x: NULL for an average's gradient */
    ls_tensor *out;
    pool_shape shape;
} pool_job;

/* Values [k, k + n) of a pixel. */
V16_INLINE v16 load_pixel(const ls_tensor *t, const pool_shape *v, int64_t pixel, int64_t k,
                          int64_t n) {
    return v16_load_n(t->data, t->dtype, pixel * v->n + k, n, 0);
}

V16_INLINE v16i is_larger(v16 a, v16 b) {
    return v16_gt(a, b) | (v16_is_nan(a) & ~v16_is_nan(b));
}

V16_INLINE v16 pool_values(const pool_job *job, const pool_box *box, int64_t k, int64_t n) {
    const pool_shape *v = &job->shape;
    v16 y = v16_set(0);
    int is_first = 1;
    for (int64_t i = box->at[0]; i < box->at[1]; i++)
        for (int64_t j = box->at[2]; j < box->at[3]; j++) {
            const v16 x = load_pixel(job->x, v, i * v->w + j, k, n);
            y = !v->is_max ? y + x : is_first ? x : v16_select(is_larger(x, y), x, y);
            is_first = 0;
        }
    return v->is_max ? y : y / (float)(v->window * v->window);
}

static ls_status run_pixel(void *user, int64_t pixel, int worker) {
    const pool_job *job = user;
    const pool_shape *v = &job->shape;
    const pool_box box = window_of(v, pixel / v->q, pixel % v->q);
    (void)worker;
    for (int64_t k = 0; k < v->n; k += V16_LANES) {
        const int64_t n = v->n - k < V16_LANES ? v->n - k : V16_LANES;
        v16_store_n(job->out->data, job->out->dtype, pixel * v->n + k, pool_values(job, &box, k, n),
                    n);
    }
    return LS_OK;
}

/* Where pixel `at` is the first largest of a window. */
V16_INLINE v16i is_first_largest(const pool_job *job, const pool_box *box, int64_t at, int64_t k,
                                 int64_t n) {
    const pool_shape *v = &job->shape;
    const v16 x = load_pixel(job->x, v, at, k, n);
    v16i yes = v16i_set(-1);
    for (int64_t i = box->at[0]; i < box->at[1]; i++)
        for (int64_t j = box->at[2]; j < box->at[3]; j++) {
            const int64_t other = i * v->w + j;
            const v16 z = load_pixel(job->x, v, other, k, n);
            if (other < at)
                yes &= is_larger(x, z);
            else if (other > at)
                yes &= ~is_larger(z, x);
        }
    return yes;
}

/* The terms of a pixel's gradient, by ascending output. */
V16_INLINE v16 gather_values(const pool_job *job, int64_t at, int64_t k, int64_t n) {
    const pool_shape *v = &job->shape;
    const pool_box outputs = outputs_of(v, at / v->w, at % v->w);
    const float area = (float)(v->window * v->window);
    v16 dx = v16_set(0);
    for (int64_t p = outputs.at[0]; p < outputs.at[1]; p++)
        for (int64_t q = outputs.at[2]; q < outputs.at[3]; q++) {
            const v16 dy = load_pixel(job->dy, v, p * v->q + q, k, n);
            const pool_box box = window_of(v, p, q);
            dx += v->is_max ? v16_select(is_first_largest(job, &box, at, k, n), dy, v16_set(0))
                            : dy / area;
        }
    return dx;
}

static ls_status run_pixel_grad(void *user, int64_t pixel, int worker) {
    const pool_job *job = user;
    const pool_shape *v = &job->shape;
    (void)worker;
    for (int64_t k = 0; k < v->n; k += V16_LANES) {
        const int64_t n = v->n - k < V16_LANES ? v->n - k : V16_LANES;
        v16_store_n(job->out->data, job->out->dtype, pixel * v->n + k,
                    gather_values(job, pixel, k, n), n);
    }
    return LS_OK;
}

static ls_status launch_fwd(const ls_launch *launch) {
    const ls_sig *sig = launch->sig;
    pool_job job = {.x = &launch->in[0], .out = &launch->out[0]};
    job.shape = shape_of(sig->attr, &sig->in[0].shape, &sig->out[0].shape);
    return ls_pool_run(launch->pool, job.shape.p * job.shape.q, run_pixel, &job);
}

static ls_status launch_bwd(const ls_launch *launch) {
    const ls_sig *sig = launch->sig;
    pool_job job = {.dy = &launch->in[0], .out = &launch->out[0]};
    if (sig->n_in > 1) job.x = &launch->in[1];
    job.shape = shape_of(sig->attr, &sig->out[0].shape, &sig->in[0].shape);
    return ls_pool_run(launch->pool, job.shape.h * job.shape.w, run_pixel_grad, &job);
}

LS_CPU_KERNEL(pool2d_fwd) = {LS_CPU_KERNEL_HEAD("pool2d_fwd"), .refuses = ls_refuses_wide,
                             .launch = launch_fwd};
LS_CPU_KERNEL(pool2d_bwd) = {LS_CPU_KERNEL_HEAD("pool2d_bwd"), .refuses = ls_refuses_wide,
                             .launch = launch_bwd};
