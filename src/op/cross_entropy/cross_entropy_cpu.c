/* One row at a time, the logits read from memory once and their gradient written once: the row is walked in tiles. Of a tile exp(x - m_t)
 * is kept, m_t its maximum or one that will do, while it is summed and the next tile is fetched: in a row of scratch (of the worker, in
 * its second-level cache), in f32 in the gradient's own place if that stays in a cache. The gradient is then that times exp(m_t - m) / sum: one exponential
 * per logit. A tile is read before its place is written: the gradient may lie over the logits. Tasks are blocks of rows. */
#include "op/cross_entropy/cross_entropy.h"
#include "op/cross_entropy/cross_entropy_rows.h"
#include "op/exp_row.h"
#include "op/tile.h"

enum { LOSS_TILE = 2048, LOSS_TASK_LOGITS = 32768 };

typedef struct loss_job {
    const ls_launch *launch;
    const ls_cross_entropy_attr *attr;
    float *scratch; /* per worker: padded row, tile maxima, tile sums */
    int64_t n, v, row_floats, rows_per_task;
    float scale;
    int stream;        /* the gradient goes past the caches */
    const void *ahead; /* its place, to be fetched while it is not written yet; or NULL */
} loss_job;

static int64_t count_tiles(int64_t v) {
    return (v + LOSS_TILE - 1) / LOSS_TILE;
}

/* Room for a float per tile, in whole vectors. */
static int64_t pad_tiles(int64_t v) {
    return (count_tiles(v) + V16_LANES - 1) / V16_LANES * V16_LANES;
}

/* Floats of scratch of one worker: row, then maxima and sums of its tiles, in whole cache lines. */
static int64_t count_row_floats(int64_t v) {
    return count_tiles(v) * LOSS_TILE + 2 * pad_tiles(v);
}

/* Sum of logits [at, at + n). */
V16_INLINE float sum_as(const void *x, ls_dtype dtype, int64_t at, int64_t n) {
    v16 sum = v16_set(0);
    int64_t i = 0;
    for (; i + V16_LANES <= n; i += V16_LANES) sum += v16_load(x, dtype, at + i);
    if (i < n) sum += v16_load_n(x, dtype, at + i, n - i, 0);
    return v16_sum(sum);
}

/* The maximum to subtract: a tile of -inf alone must not make inf - inf. */
static float pivot(float largest) {
    return largest == -INFINITY ? 0.0f : largest;
}

/* Where the exponentials of a tile at `from` wait: in f32 their gradient's own place, but for a last tile that is no whole number of
 * vectors, and where that is past the caches; else in the worker's scratch. */
static float *find_place(const loss_job *job, int64_t at, int64_t from, float *scratch) {
    const ls_tensor *dx = &job->launch->out[2];
    const int is_whole = (job->v - from) % V16_LANES == 0 || job->v - from >= LOSS_TILE;
    return dx->dtype == LS_DTYPE_F32 && is_whole && !job->stream ? (float *)dx->data + at + from
                                                                 : scratch + from;
}

static int64_t tile_length(const loss_job *job, int64_t from) {
    return job->v - from < LOSS_TILE ? job->v - from : LOSS_TILE;
}

typedef struct row_sums {
    float largest, sum;   /* maximum, sum of exp(x - maximum) */
    float total;          /* sum of x, with label smoothing only */
    float *maxima, *sums; /* per tile: what was subtracted, sum of exp(x - that) */
} row_sums;

/* A maximum for rows of 16-bit logits, which lie unchanged until all of them are read: of a few logits only. Where it proves too small
 * for a tile, that tile is walked again with its own. */
enum { LOSS_SAMPLE = 256 };
static const float most_sum = 0x1p60f;

V16_INLINE void scan_tile(const loss_job *job, ls_dtype dtype, int64_t at, int64_t from, float *e,
                          row_sums *s) {
    const void *x = job->launch->in[0].data;
    const int64_t n = tile_length(job, from), t = from / LOSS_TILE;
    const exp_row_next next = {LOSS_TILE, job->ahead};
    float *place = find_place(job, at, from, e), m = s->largest, sum = INFINITY;
    if (dtype != LS_DTYPE_F32 && m > -INFINITY)
        sum = exp_row(place, x, dtype, at + from, n, m, next);
    if (!(sum <= most_sum)) {
        m = exp_row_max(x, dtype, at + from, n);
        sum = exp_row(place, x, dtype, at + from, n, pivot(m), next);
    }
    if (m > s->largest) s->largest = m;
    s->maxima[t] = m;
    s->sums[t] = sum;
}

V16_INLINE void scan_as(const loss_job *job, ls_dtype dtype, int64_t at, float *e, row_sums *s) {
    const void *x = job->launch->in[0].data;
    const int64_t few = job->v < LOSS_SAMPLE ? job->v : LOSS_SAMPLE;
    if (dtype != LS_DTYPE_F32) s->largest = exp_row_max(x, dtype, at, few);
    for (int64_t from = 0; from < job->v; from += LOSS_TILE) {
        if (job->attr->label_smoothing > 0)
            s->total += sum_as(x, dtype, at + from, tile_length(job, from));
        scan_tile(job, dtype, at, from, e, s);
    }
}

/* The row's sum from those of its tiles; a tile's maximum becomes the factor exp(maximum - row's). */
static void join_tiles(int64_t v, row_sums *s) {
    v16 sum = v16_set(0);
    for (int64_t t = count_tiles(v); t < pad_tiles(v); t++)
        s->maxima[t] = -INFINITY, s->sums[t] = 0;
    for (int64_t t = 0; t < pad_tiles(v); t += V16_LANES) {
        const v16 factor =
            exp_row_one(v16_load_f32(s->maxima + t) - pivot(s->largest), LS_DTYPE_F32);
        v16_store_f32(s->maxima + t, factor);
        sum += factor * v16_load_f32(s->sums + t);
    }
    s->sum = v16_sum(sum);
}

static row_sums scan_row(const loss_job *job, int64_t at, float *e) {
    const ls_dtype dtype = job->launch->in[0].dtype;
    row_sums s = {.largest = -INFINITY, .maxima = e + count_tiles(job->v) * LOSS_TILE};
    s.sums = s.maxima + pad_tiles(job->v);
    if (dtype == LS_DTYPE_F32)
        scan_as(job, LS_DTYPE_F32, at, e, &s);
    else if (dtype == LS_DTYPE_BF16)
        scan_as(job, LS_DTYPE_BF16, at, e, &s);
    else
        scan_as(job, LS_DTYPE_F16, at, e, &s);
    join_tiles(job->v, &s);
    return s;
}

static void store_tile(const loss_job *job, int64_t at, const float *e, int64_t n, float factor,
                       float even) {
    const ls_tensor *dx = &job->launch->out[2];
    if (dx->dtype == LS_DTYPE_F32)
        exp_row_store(dx->data, LS_DTYPE_F32, at, e, n, factor, even, job->stream);
    else if (dx->dtype == LS_DTYPE_BF16)
        exp_row_store(dx->data, LS_DTYPE_BF16, at, e, n, factor, even, job->stream);
    else
        exp_row_store(dx->data, LS_DTYPE_F16, at, e, n, factor, even, job->stream);
}

/* The target's share is taken off before its gradient is rounded. */
static void write_gradient(const loss_job *job, int64_t at, int32_t target, const row_sums *s,
                           float *e) {
    const ls_tensor *dx = &job->launch->out[2];
    const float smoothing = job->attr->label_smoothing;
    const float even = job->scale * smoothing / (float)job->v, scale = job->scale / s->sum;
    const float share = job->scale * (1.0f - smoothing);
    const int64_t home = target / LOSS_TILE * LOSS_TILE;
    const float own = find_place(job, at, home, e)[target - home];
    for (int64_t from = 0; from < job->v; from += LOSS_TILE)
        store_tile(job, at + from, find_place(job, at, from, e), tile_length(job, from),
                   s->maxima[from / LOSS_TILE] * scale, even);
    const v16 of_target = v16_set(own) * (s->maxima[home / LOSS_TILE] * scale) - even - share;
    v16_store_n(dx->data, dx->dtype, at + target, of_target, 1);
}

static void clear_gradient(const loss_job *job, int64_t at) {
    const size_t bytes = ls_dtype_bytes(job->launch->out[2].dtype);
    memset((char *)job->launch->out[2].data + (size_t)at * bytes, 0, (size_t)job->v * bytes);
}

static float run_row(const loss_job *job, int64_t row, float *scratch) {
    const int32_t target = ((const int32_t *)job->launch->in[1].data)[row];
    const int64_t at = row * job->v;
    const float smoothing = job->attr->label_smoothing;
    if (target == job->attr->ignore_index) {
        clear_gradient(job, at);
        return 0;
    }
    const float picked = read_scalar(&job->launch->in[0], at + target);
    const row_sums s = scan_row(job, at, scratch);
    write_gradient(job, at, target, &s, scratch);
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
    if (job->stream) v16_stream_end();
    return LS_OK;
}

static ls_status launch(const ls_launch *launch) {
    const ls_shape *x = &launch->in[0].shape;
    loss_job job = {.launch = launch, .attr = launch->sig->attr, .scratch = launch->workspace};
    LS_TRY(ls_cross_entropy_check(launch));
    job.n = ls_shape_count(&launch->in[1].shape);
    job.v = x->dims[x->n_dims - 1];
    job.row_floats = count_row_floats(job.v);
    job.stream = exp_row_streams(&launch->in[0], &launch->out[2]);
    const int is_apart = launch->in[0].data != launch->out[2].data && !job.stream;
    if (is_apart && launch->in[0].dtype != LS_DTYPE_F32) job.ahead = launch->out[2].data;
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
#ifdef __AVX512BF16__
    if (sig->in[0].dtype != LS_DTYPE_BF16) return "logits are not bf16";
#endif
    if (!v16_accepts(sig->in[0].dtype)) return "logits are not f32, bf16 or f16";
    return sig->n_in > 2 && !v16_accepts(sig->in[2].dtype) ? "loss_scale is f64" : NULL;
}

LS_CPU_KERNEL(cross_entropy_fwd) = {LS_CPU_KERNEL_HEAD("cross_entropy_fwd"), .refuses = refuses,
                                    .workspace_bytes = workspace, .launch = launch};
