/* One row at a time, the logits read from memory once and their gradient written once: the row is walked in tiles; a tile is turned to
 * f32 while its maximum m_t is found, and exp(x - m_t) kept while its sum is carried on with the running maximum: in a row of scratch
 * (of the worker, in its second-level cache), in f32 in the gradient's own place. The gradient is then that times exp(m_t - m) / sum:
 * one exponential per logit. A tile is read before its place is written: the gradient may lie over the logits. Tasks are blocks of rows. */
#include "op/cross_entropy/cross_entropy.h"
#include "op/cross_entropy/cross_entropy_rows.h"
#include "op/tile.h"

enum { LOSS_TILE = 1024, LOSS_TASK_LOGITS = 32768 };

typedef struct loss_job {
    const ls_launch *launch;
    const ls_cross_entropy_attr *attr;
    float *scratch; /* per worker: padded row, tile maxima */
    int64_t n, v, row_floats, rows_per_task;
    float scale;
} loss_job;

static int64_t count_tiles(int64_t v) {
    return (v + LOSS_TILE - 1) / LOSS_TILE;
}

/* Floats of scratch of one worker: row, then tile maxima, in whole cache lines. */
static int64_t count_row_floats(int64_t v) {
    return count_tiles(v) * LOSS_TILE + (count_tiles(v) + 15) / 16 * 16;
}

/* The larger of two, without v16_max's care for NaN: a NaN among the logits makes the sum of exponentials NaN in any case. */
V16_INLINE v16 larger(v16 a, v16 b) {
#ifdef __AVX512F__
    return (v16)_mm512_max_ps((__m512)a, (__m512)b);
#else
    return v16_select(v16_gt(a, b), a, b);
#endif
}

/* Logits [at, at + n) as f32, padded with -inf to a whole vector; returns the largest. */
V16_INLINE float load_as(float *part, const void *x, ls_dtype dtype, int64_t at, int64_t n) {
    v16 largest = v16_set(-INFINITY), second = largest;
    int64_t i = 0;
    for (; i + 2 * V16_LANES <= n; i += 2 * V16_LANES) {
        const v16 a = v16_load(x, dtype, at + i), b = v16_load(x, dtype, at + i + V16_LANES);
        largest = larger(a, largest);
        second = larger(b, second);
        v16_store_f32(part + i, a);
        v16_store_f32(part + i + V16_LANES, b);
    }
    for (; i < n; i += V16_LANES) {
        const int64_t left = n - i < V16_LANES ? n - i : V16_LANES;
        const v16 a = v16_load_n(x, dtype, at + i, left, -INFINITY);
        largest = larger(a, largest);
        v16_store_f32(part + i, a);
    }
    return v16_max_of(v16_max(largest, second));
}

static float load_tile(float *part, const ls_tensor *x, int64_t at, int64_t n) {
    if (x->dtype == LS_DTYPE_F32) return load_as(part, x->data, LS_DTYPE_F32, at, n);
    if (x->dtype == LS_DTYPE_BF16) return load_as(part, x->data, LS_DTYPE_BF16, at, n);
    return load_as(part, x->data, LS_DTYPE_F16, at, n);
}

/* x becomes exp(x - m), the sum of which is returned. */
static float exp_row(float *x, int64_t n, float m) {
    v16 sum = v16_set(0);
    for (int64_t i = 0; i < n; i += V16_LANES) {
        const v16 e = v16_exp(v16_load_f32(x + i) - m);
        v16_store_f32(x + i, e);
        sum += e;
    }
    return v16_sum(sum);
}

/* Sum of the first n, n as given (the padding is -inf). */
static float sum_row(const float *x, int64_t n) {
    v16 sum = v16_set(0);
    int64_t i = 0;
    for (; i + V16_LANES <= n; i += V16_LANES) sum += v16_load_f32(x + i);
    if (i < n) sum += v16_load_f32_n(x + i, n - i, 0);
    return v16_sum(sum);
}

static float exp_of(float x) {
    return v16_exp(v16_set(x))[0];
}

typedef struct row_sums {
    float largest, sum,
        total; /* maximum, sum of exp(x - maximum), sum of x (label smoothing only) */
} row_sums;

/* The maximum to subtract: a tile of -inf alone must not make inf - inf. */
static float pivot(float largest) {
    return largest == -INFINITY ? 0.0f : largest;
}

/* Where the exponentials of a tile at `from` wait: in f32 their gradient's own place, but for a last tile that is no whole number of
 * vectors; else in the worker's scratch. */
static float *find_place(const loss_job *job, int64_t at, int64_t from, float *scratch) {
    const ls_tensor *dx = &job->launch->out[2];
    const int is_whole = (job->v - from) % V16_LANES == 0 || job->v - from >= LOSS_TILE;
    return dx->dtype == LS_DTYPE_F32 && is_whole ? (float *)dx->data + at + from : scratch + from;
}

static row_sums scan_row(const loss_job *job, int64_t at, float *e, float *maxima) {
    const ls_tensor *x = &job->launch->in[0];
    row_sums s = {-INFINITY, 0, 0};
    for (int64_t t = 0; t < count_tiles(job->v); t++) {
        const int64_t from = t * LOSS_TILE, left = job->v - from;
        const int64_t n = left < LOSS_TILE ? left : LOSS_TILE;
        float *part = find_place(job, at, from, e);
        maxima[t] = load_tile(part, x, at + from, n);
        if (job->attr->label_smoothing > 0) s.total += sum_row(part, n);
        const float sum = exp_row(part, n, pivot(maxima[t]));
        const float largest = v16_max(v16_set(s.largest), v16_set(maxima[t]))[0];
        const float m = pivot(largest);
        s.sum = s.sum * exp_of(pivot(s.largest) - m) + sum * exp_of(pivot(maxima[t]) - m);
        s.largest = largest;
    }
    return s;
}

/* n elements of e * factor - even, from `at` on. */
V16_INLINE void store_as(void *dx, ls_dtype dtype, int64_t at, const float *e, int64_t n,
                         float factor, float even) {
    int64_t i = 0;
    for (; i + V16_LANES <= n; i += V16_LANES)
        v16_store(dx, dtype, at + i, v16_load_f32(e + i) * factor - even);
    if (i < n) v16_store_n(dx, dtype, at + i, v16_load_f32(e + i) * factor - even, n - i);
}

static void store_tile(const ls_tensor *dx, int64_t at, const float *e, int64_t n, float factor,
                       float even) {
    if (dx->dtype == LS_DTYPE_F32)
        store_as(dx->data, LS_DTYPE_F32, at, e, n, factor, even);
    else if (dx->dtype == LS_DTYPE_BF16)
        store_as(dx->data, LS_DTYPE_BF16, at, e, n, factor, even);
    else
        store_as(dx->data, LS_DTYPE_F16, at, e, n, factor, even);
}

/* The same for the tile with the target, whose share is taken off before rounding. */
static void store_target_tile(const loss_job *job, int64_t at, float *e, int64_t n, float factor,
                              float even, int64_t target) {
    const ls_tensor *dx = &job->launch->out[2];
    for (int64_t i = 0; i < n; i += V16_LANES)
        v16_store_f32(e + i, v16_load_f32(e + i) * factor - even);
    e[target] -= job->scale * (1.0f - job->attr->label_smoothing);
    row_store(dx->data, dx->dtype, at, e, n);
}

static void write_gradient(const loss_job *job, int64_t at, int32_t target, const row_sums *s,
                           float *e, const float *maxima) {
    ls_tensor *dx = &job->launch->out[2];
    const float smoothing = job->attr->label_smoothing;
    const float even = job->scale * smoothing / (float)job->v;
    const float m = pivot(s->largest), scale = job->scale / s->sum;
    for (int64_t t = 0; t < count_tiles(job->v); t++) {
        const int64_t from = t * LOSS_TILE, left = job->v - from;
        const int64_t n = left < LOSS_TILE ? left : LOSS_TILE;
        const float factor = exp_of(pivot(maxima[t]) - m) * scale;
        float *part = find_place(job, at, from, e);
        if (target >= from && target < from + n)
            store_target_tile(job, at + from, part, n, factor, even, target - from);
        else
            store_tile(dx, at + from, part, n, factor, even);
    }
}

static void clear_gradient(const loss_job *job, int64_t at) {
    const size_t bytes = ls_dtype_bytes(job->launch->out[2].dtype);
    memset((char *)job->launch->out[2].data + (size_t)at * bytes, 0, (size_t)job->v * bytes);
}

static float run_row(const loss_job *job, int64_t row, float *scratch) {
    const int32_t target = ((const int32_t *)job->launch->in[1].data)[row];
    const int64_t at = row * job->v;
    const float smoothing = job->attr->label_smoothing;
    float *maxima = scratch + count_tiles(job->v) * LOSS_TILE;
    if (target == job->attr->ignore_index) {
        clear_gradient(job, at);
        return 0;
    }
    const float picked = read_scalar(&job->launch->in[0], at + target);
    const row_sums s = scan_row(job, at, scratch, maxima);
    write_gradient(job, at, target, &s, scratch, maxima);
    /* logarithm and difference in double: the loss of a row keeps f32's digits also where it is small */
    const double log_sum = (double)s.largest + log((double)s.sum);
    const double loss = (1.0 - (double)smoothing) * (log_sum - (double)picked);
    const double even = log_sum - (double)s.total / (double)job->v;
    return (float)(smoothing > 0 ? loss + (double)smoothing * even : loss);
}

static ls_status run_rows(void *user, int64_t task, int worker) {
    const loss_job *job = user;
    float *scratch = job->scratch + worker * job->row_floats;
    float *losses = job->launch->out[3].data;
    const int64_t begin = task * job->rows_per_task, end = begin + job->rows_per_task;
    for (int64_t row = begin; row < end && row < job->n; row++)
        losses[row] = run_row(job, row, scratch);
    return LS_OK;
}

static ls_status launch(const ls_launch *launch) {
    const ls_shape *x = &launch->in[0].shape;
    loss_job job = {.launch = launch, .attr = launch->sig->attr, .scratch = launch->workspace};
    LS_TRY(ls_cross_entropy_check(launch));
    job.n = ls_shape_count(&launch->in[1].shape);
    job.v = x->dims[x->n_dims - 1];
    job.row_floats = count_row_floats(job.v);
    job.rows_per_task = LOSS_TASK_LOGITS / job.v + 1;
    job.scale = job.attr->grad_scale * (launch->sig->n_in > 2 ? read_scalar(&launch->in[2], 0) : 1);
    LS_TRY(ls_pool_run(launch->pool, (job.n + job.rows_per_task - 1) / job.rows_per_task, run_rows,
                       &job));
    ls_cross_entropy_finish(launch);
    return LS_OK;
}

static size_t workspace(const ls_sig *sig, int n_threads) {
    const ls_shape *x = &sig->in[0].shape;
    return (size_t)(n_threads * count_row_floats(x->dims[x->n_dims - 1])) * sizeof(float);
}

static const char *refuses(const ls_sig *sig) {
    if (!v16_accepts(sig->in[0].dtype)) return "logits are not f32, bf16 or f16";
    return sig->n_in > 2 && !v16_accepts(sig->in[2].dtype) ? "loss_scale is f64" : NULL;
}

LS_CPU_KERNEL(cross_entropy_fwd) = {LS_CPU_KERNEL_HEAD("cross_entropy_fwd"), .refuses = refuses,
                                    .workspace_bytes = workspace, .launch = launch};
