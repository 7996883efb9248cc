/* One task is one channel. Its values lie in n_batch runs of n_places; a run is summed in f32 vectors, runs are added in double,
 * in batch order. Runs shorter than a vector are gathered from several batch rows into one buffer. */
#include "op/batchnorm/batchnorm.h"

#include "op/cpu_kernel.h"
#include "op/simd.h"

enum { RUN_ELEMENTS = 1024 }; /* of one buffer */

typedef struct channel_job {
    const ls_launch *launch;
    const ls_tensor *x, *dy;
    const ls_tensor *more, *relu; /* backward: second term of dy, relu's result; or NULL */
    const ls_tensor *residual;    /* forward, or NULL */
    int relus;                    /* forward: negatives become 0 */
    ls_tensor *y;
    ls_channels n;
    double eps;
} channel_job;

/* A stretch of a channel's values: places [begin, begin + n) of batch rows [row, row + n_rows). */
typedef struct stretch {
    int64_t row, n_rows, begin, n;
} stretch;

/* The first stretch of a channel and the one after: short runs are taken several at a time, long ones in parts. */
static int next_stretch(const channel_job *job, stretch *s) {
    if (s->n && s->begin + s->n < job->n.n_places) {
        s->begin += s->n;
    } else {
        s->row += s->n_rows;
        s->begin = 0;
    }
    if (s->row >= job->n.n_batch) return 0;
    const int64_t fits = RUN_ELEMENTS / job->n.n_places, left = job->n.n_batch - s->row;
    s->n_rows = fits < 1 ? 1 : fits < left ? fits : left;
    s->n = job->n.n_places - s->begin < RUN_ELEMENTS ? job->n.n_places - s->begin : RUN_ELEMENTS;
    return 1;
}

static int64_t stretch_at(const channel_job *job, const stretch *s, int64_t c, int64_t row) {
    return ((s->row + row) * job->n.n_channels + c) * job->n.n_places + s->begin;
}

/* Returns the number of values; the buffer is padded with `rest` to a whole vector. */
static int64_t load_stretch(const channel_job *job, const ls_tensor *x, const stretch *s, int64_t c,
                            float rest, float *values) {
    const int64_t count = s->n_rows * s->n;
    for (int64_t r = 0; r < s->n_rows; r++) {
        float *to = values + r * s->n;
        row_load(to, x->data, x->dtype, stretch_at(job, s, c, r), s->n, rest);
    }
    for (int64_t i = count; i % V16_LANES; i++) values[i] = rest;
    return count;
}

static void store_stretch(const channel_job *job, const stretch *s, int64_t c,
                          const float *values) {
    for (int64_t r = 0; r < s->n_rows; r++)
        row_store(job->y->data, job->y->dtype, stretch_at(job, s, c, r), values + r * s->n, s->n);
}

static double sum_channel(const channel_job *job, int64_t c) {
    float values[RUN_ELEMENTS + V16_LANES];
    double total = 0;
    for (stretch s = {0}; next_stretch(job, &s);) {
        const int64_t count = load_stretch(job, job->x, &s, c, 0, values);
        v16 sum = v16_set(0);
        for (int64_t i = 0; i < count; i += 16) sum += v16_load_f32(values + i);
        total += v16_sum(sum);
    }
    return total;
}

static double sum_squares(const channel_job *job, int64_t c, float mean) {
    float values[RUN_ELEMENTS + V16_LANES];
    double total = 0;
    for (stretch s = {0}; next_stretch(job, &s);) {
        const int64_t count = load_stretch(job, job->x, &s, c, mean, values);
        v16 sum = v16_set(0);
        for (int64_t i = 0; i < count; i += 16) {
            const v16 d = v16_load_f32(values + i) - mean;
            sum += d * d;
        }
        total += v16_sum(sum);
    }
    return total;
}

/* What comes behind the norm, on `count` values (padded) that are rounded as they would be in memory. */
static void finish_stretch(const channel_job *job, const stretch *s, int64_t c, int64_t count,
                           float *values) {
    const int64_t padded = (count + V16_LANES - 1) / V16_LANES * V16_LANES;
    float other[RUN_ELEMENTS + V16_LANES];
    if (job->residual) {
        row_round(values, job->y->dtype, padded);
        load_stretch(job, job->residual, s, c, 0, other);
        row_add(values, other, LS_DTYPE_F32, 0, padded);
    }
    if (!job->relus) return;
    row_round(values, job->y->dtype, padded);
    for (int64_t i = 0; i < padded; i += 16) {
        const v16 y = v16_load_f32(values + i);
        v16_store_f32(values + i, v16_select(v16_ge(v16_set(0), y), v16_set(0), y));
    }
}

/* y = x * factor + shift */
static void write_affine(const channel_job *job, int64_t c, float mean, float factor, float beta) {
    float values[RUN_ELEMENTS + V16_LANES];
    for (stretch s = {0}; next_stretch(job, &s);) {
        const int64_t count = load_stretch(job, job->x, &s, c, 0, values);
        for (int64_t i = 0; i < count; i += 16)
            v16_store_f32(values + i, (v16_load_f32(values + i) - mean) * factor + beta);
        if (job->residual || job->relus) finish_stretch(job, &s, c, count, values);
        store_stretch(job, &s, c, values);
    }
}

static float vector_get(const ls_tensor *vector, int64_t c) {
    return (float)ls_tensor_get(vector, c);
}

static ls_status normalize_channel(void *user, int64_t c, int worker) {
    const channel_job *job = user;
    const ls_launch *l = job->launch;
    const double count = (double)(job->n.n_batch * job->n.n_places);
    (void)worker;
    const float mean = (float)(sum_channel(job, c) / count);
    const double var = sum_squares(job, c, mean) / count;
    const float rstd = (float)(1.0 / sqrt(var + job->eps));
    ((float *)l->out[1].data)[c] = mean;
    ((float *)l->out[2].data)[c] = (float)var;
    ((float *)l->out[3].data)[c] = rstd;
    write_affine(job, c, mean, rstd * vector_get(&l->in[1], c), vector_get(&l->in[2], c));
    return LS_OK;
}

static ls_status evaluate_channel(void *user, int64_t c, int worker) {
    const channel_job *job = user;
    const ls_launch *l = job->launch;
    (void)worker;
    const float rstd = (float)(1.0 / sqrt(ls_tensor_get(&l->in[4], c) + job->eps));
    write_affine(job, c, vector_get(&l->in[3], c), rstd * vector_get(&l->in[1], c),
                 vector_get(&l->in[2], c));
    return LS_OK;
}

/* dy: the sum of its terms, 0 where relu's result is. */
static void load_dy(const channel_job *job, const stretch *s, int64_t c, float *dy) {
    const int64_t count = load_stretch(job, job->dy, s, c, 0, dy);
    const int64_t padded = (count + V16_LANES - 1) / V16_LANES * V16_LANES;
    float other[RUN_ELEMENTS + V16_LANES];
    if (job->more) {
        load_stretch(job, job->more, s, c, 0, other);
        row_add(dy, other, LS_DTYPE_F32, 0, padded);
        row_round(dy, job->dy->dtype, padded);
    }
    if (!job->relu) return;
    load_stretch(job, job->relu, s, c, 0, other);
    for (int64_t i = 0; i < padded; i += 16) {
        const v16i off = v16_ge(v16_set(0), v16_load_f32(other + i));
        v16_store_f32(dy + i, v16_select(off, v16_set(0), v16_load_f32(dy + i)));
    }
}

/* sums[0] = sum dy * (x - mean), sums[1] = sum dy */
static void sum_gradients(const channel_job *job, int64_t c, float mean, double sums[2]) {
    float x[RUN_ELEMENTS + V16_LANES], dy[RUN_ELEMENTS + V16_LANES];
    sums[0] = sums[1] = 0;
    for (stretch s = {0}; next_stretch(job, &s);) {
        const int64_t count = load_stretch(job, job->x, &s, c, mean, x);
        load_dy(job, &s, c, dy);
        v16 product = v16_set(0), plain = v16_set(0);
        for (int64_t i = 0; i < count; i += 16) {
            const v16 up = v16_load_f32(dy + i);
            product += up * (v16_load_f32(x + i) - mean);
            plain += up;
        }
        sums[0] += v16_sum(product);
        sums[1] += v16_sum(plain);
    }
}

static ls_status differentiate_channel(void *user, int64_t c, int worker) {
    const channel_job *job = user;
    const ls_launch *l = job->launch;
    float x[RUN_ELEMENTS + V16_LANES], dy[RUN_ELEMENTS + V16_LANES];
    const double count = (double)(job->n.n_batch * job->n.n_places);
    const float mean = vector_get(&l->in[2], c), rstd = vector_get(&l->in[3], c);
    double sums[2];
    (void)worker;
    sum_gradients(job, c, mean, sums);
    const double dgamma = sums[0] * rstd;
    const float factor = rstd * vector_get(&l->in[1], c), mean_dy = (float)(sums[1] / count);
    const float slope = (float)(dgamma / count) * rstd;
    for (stretch s = {0}; next_stretch(job, &s);) {
        const int64_t n = load_stretch(job, job->x, &s, c, 0, x);
        load_dy(job, &s, c, dy);
        for (int64_t i = 0; i < n; i += 16) {
            const v16 centered = v16_load_f32(x + i) - mean;
            v16_store_f32(x + i, factor * (v16_load_f32(dy + i) - mean_dy - centered * slope));
        }
        store_stretch(job, &s, c, x);
    }
    ls_tensor_set(&l->out[1], c, dgamma);
    ls_tensor_set(&l->out[2], c, sums[1]);
    return LS_OK;
}

static const char *refuses(const ls_sig *sig) {
    for (int i = 0; i < sig->n_in; i++)
        if (!v16_accepts(sig->in[i].dtype)) return "an input is not f32, bf16 or f16";
    return NULL;
}

static ls_status run_channels(const ls_launch *l, channel_job *job, ls_task_fn task) {
    job->launch = l;
    job->x = &l->in[0];
    job->y = &l->out[0];
    job->n = ls_channels_of(&job->x->shape);
    return ls_pool_run(l->pool, job->n.n_channels, task, job);
}

static ls_status launch_norm(const ls_launch *l, ls_task_fn task) {
    const ls_batchnorm_attr *a = l->sig->attr;
    channel_job job = {.eps = a->eps, .relus = a->relu};
    if (a->has_residual) job.residual = &l->in[l->sig->n_in - 1];
    return run_channels(l, &job, task);
}

static ls_status fwd_launch(const ls_launch *l) {
    return launch_norm(l, normalize_channel);
}
static ls_status eval_launch(const ls_launch *l) {
    return launch_norm(l, evaluate_channel);
}
static ls_status grad_launch(const ls_launch *l) {
    const ls_batchnorm_grad_attr *a = l->sig->attr;
    channel_job job = {.dy = &l->in[4]};
    if (a->has_more) job.more = &l->in[5];
    if (a->relu) job.relu = &l->in[l->sig->n_in - 1];
    return run_channels(l, &job, differentiate_channel);
}

LS_CPU_KERNEL(batchnorm) = {LS_CPU_KERNEL_HEAD("batchnorm"), .refuses = refuses,
                            .launch = fwd_launch};
LS_CPU_KERNEL(batchnorm_eval) = {LS_CPU_KERNEL_HEAD("batchnorm_eval"), .refuses = refuses,
                                 .launch = eval_launch};
LS_CPU_KERNEL(batchnorm_grad) = {LS_CPU_KERNEL_HEAD("batchnorm_grad"), .refuses = refuses,
                                 .launch = grad_launch};
