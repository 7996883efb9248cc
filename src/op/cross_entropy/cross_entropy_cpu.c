/* One row at a time, the logits read from memory once and their gradient written once: the row is walked in tiles. Of a tile exp(x - m_t)
 * is kept, m_t its maximum or one that will do, while it is summed, in a row of scratch (of the worker, in its second-level cache). The
 * gradient is then that times exp(m_t - m) / sum: one exponential per logit. It is written while the next row is summed, from the place
 * that the next row's exponentials take: so memory is read and written all the time, and scratch crosses the first-level cache once.
 * The gradient may lie over the logits, whose row was read by then. Tasks are blocks of rows. */
#include "op/cross_entropy/cross_entropy.h"
#include "op/cross_entropy/cross_entropy_rows.h"
#include "op/exp_row.h"
#include "op/tile.h"

enum { LOSS_TILE = 2048, LOSS_TASK_LOGITS = 32768, LOSS_TASK_ROWS = 16, TASKS_PER_THREAD = 8 };

typedef struct loss_job {
    const ls_launch *launch;
    const ls_cross_entropy_attr *attr;
    float *scratch; /* per worker: padded row, tile maxima, tile sums */
    int64_t n, v, row_floats, rows_per_task;
    float scale, even,
        share;  /* of the gradient: all, what smoothing takes from each class, the target's */
    int stream; /* the gradient goes past the caches */
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

static int64_t tile_length(const loss_job *job, int64_t from) {
    return job->v - from < LOSS_TILE ? job->v - from : LOSS_TILE;
}

/* One worker's row. */
typedef struct loss_row {
    float *e;             /* exp(x - what was subtracted) */
    float *maxima, *sums; /* per tile: what was subtracted, then exp(that - maximum); sum of e */
    float largest, sum;   /* maximum, sum of exp(x - maximum) */
    float total;          /* sum of x, with label smoothing only */
    /* The gradient that is still to be written, from e and maxima: e * (exp(..) * scale) - even at `at`. */
    int is_open;
    int64_t at, target, done; /* done: elements that were written */
    float scale;
    float own, own_factor; /* of the target */
} loss_row;

/* The tile's gradient is e * this - even. */
static float find_factor(const loss_row *r, int64_t from) {
    return r->maxima[from / LOSS_TILE] * r->scale;
}

/* exp_row of tile `from` of the row at `at` with m, and the gradient of the row before as far as that goes over its e. */
V16_INLINE float turn_tile(const loss_job *job, ls_dtype dtype, int stream, int64_t at,
                           int64_t from, float m, loss_row *r) {
    const int64_t bytes = dtype == LS_DTYPE_F32 ? 4 : 2, v = job->v, next = from + LOSS_TILE;
    const void *x = job->launch->in[0].data;
    void *y = job->launch->out[2].data;
    exp_row_walk walk = {.e = r->e, .x = x, .at = at, .m = m};
    exp_row_old old = {.y = y, .at = r->at, .n = v, .done = r->done, .less = job->even};
    walk.read = (const char *)x + (at + LOSS_TILE) * bytes;
    if (!stream && x != y) walk.written = (const char *)y + (r->at + LOSS_TILE) * bytes;
    old.factor = find_factor(r, from);
    old.next_factor = find_factor(r, next < v ? next : from);
    exp_row_turn(&walk, dtype, stream, from, next < v ? next : v, &old);
    r->done = old.done;
    return v16_sum(walk.first + walk.second);
}

/* A maximum for rows of 16-bit logits, which lie unchanged until all of them are read: of a few logits only. Where it proves too small
 * for a tile, that tile is walked again with its own. */
enum { LOSS_SAMPLE = 256 };
static const float most_sum = 0x1p60f;

V16_INLINE void scan_tile(const loss_job *job, ls_dtype dtype, int stream, int64_t at, int64_t from,
                          loss_row *r) {
    const void *x = job->launch->in[0].data;
    const int64_t n = tile_length(job, from), t = from / LOSS_TILE;
    const exp_row_next next = {LOSS_TILE, NULL};
    float *e = r->e + from, m = r->largest, sum = INFINITY;
    const int is_sampled = dtype != LS_DTYPE_F32 && m > -INFINITY;
    if (!is_sampled) m = exp_row_max(x, dtype, at + from, n);
    if (r->is_open)
        sum = turn_tile(job, dtype, stream, at, from, pivot(m), r);
    else
        sum = exp_row(e, x, dtype, at + from, n, pivot(m), next);
    if (is_sampled && !(sum <= most_sum)) {
        m = exp_row_max(x, dtype, at + from, n);
        sum = exp_row(e, x, dtype, at + from, n, pivot(m), next);
    }
    if (m > r->largest) r->largest = m;
    r->maxima[t] = m;
    r->sums[t] = sum;
}

V16_INLINE void scan_as(const loss_job *job, ls_dtype dtype, int stream, int64_t at, loss_row *r) {
    const void *x = job->launch->in[0].data;
    const int64_t few = job->v < LOSS_SAMPLE ? job->v : LOSS_SAMPLE;
    r->largest = -INFINITY;
    r->total = 0;
    if (dtype != LS_DTYPE_F32) r->largest = exp_row_max(x, dtype, at, few);
    for (int64_t from = 0; from < job->v; from += LOSS_TILE) {
        if (job->attr->label_smoothing > 0)
            r->total += sum_as(x, dtype, at + from, tile_length(job, from));
        scan_tile(job, dtype, stream, at, from, r);
    }
}

/* The row's sum from those of its tiles; a tile's maximum becomes the factor exp(maximum - row's). */
static void join_tiles(int64_t v, loss_row *s) {
    if (v <= LOSS_TILE && fabsf(s->largest) < INFINITY) { /* what follows would come to this */
        s->maxima[0] = 1;
        s->sum = s->sums[0];
        return;
    }
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

static __attribute__((noinline)) void scan_f32(const loss_job *job, int64_t at, loss_row *r) {
    job->stream ? scan_as(job, LS_DTYPE_F32, 1, at, r) : scan_as(job, LS_DTYPE_F32, 0, at, r);
}

static __attribute__((noinline)) void scan_bf16(const loss_job *job, int64_t at, loss_row *r) {
    job->stream ? scan_as(job, LS_DTYPE_BF16, 1, at, r) : scan_as(job, LS_DTYPE_BF16, 0, at, r);
}

static __attribute__((noinline)) void scan_f16(const loss_job *job, int64_t at, loss_row *r) {
    job->stream ? scan_as(job, LS_DTYPE_F16, 1, at, r) : scan_as(job, LS_DTYPE_F16, 0, at, r);
}

static void scan_row(const loss_job *job, int64_t at, loss_row *r) {
    const ls_dtype dtype = job->launch->in[0].dtype;
    if (dtype == LS_DTYPE_F32)
        scan_f32(job, at, r);
    else if (dtype == LS_DTYPE_BF16)
        scan_bf16(job, at, r);
    else
        scan_f16(job, at, r);
    join_tiles(job->v, r);
}

static void open_row(const loss_job *job, int64_t at, int64_t target, loss_row *r) {
    r->is_open = 1;
    r->at = at;
    r->target = target;
    r->done = 0;
    r->scale = job->scale / r->sum;
    r->own = r->e[target];
    r->own_factor = find_factor(r, target);
}

/* The gradient of the target comes after the others; its share is taken off before it is rounded. */
static void close_row(const loss_job *job, loss_row *r) {
    const ls_tensor *dx = &job->launch->out[2];
    const v16 of_target = v16_set(r->own) * r->own_factor - job->even - job->share;
    v16_store_n(dx->data, dx->dtype, r->at + r->target, of_target, 1);
    r->is_open = 0;
}

static void finish_row(const loss_job *job, loss_row *r) {
    const ls_tensor *dx = &job->launch->out[2];
    if (!r->is_open) return;
    for (int64_t from = 0; from < job->v; from += LOSS_TILE) {
        const float factor = find_factor(r, from);
        const int64_t n = tile_length(job, from), to = r->at + from;
        const float *e = r->e + from;
        if (dx->dtype == LS_DTYPE_F32)
            exp_row_store(dx->data, LS_DTYPE_F32, to, e, n, factor, job->even, job->stream);
        else if (dx->dtype == LS_DTYPE_BF16)
            exp_row_store(dx->data, LS_DTYPE_BF16, to, e, n, factor, job->even, job->stream);
        else
            exp_row_store(dx->data, LS_DTYPE_F16, to, e, n, factor, job->even, job->stream);
    }
    close_row(job, r);
}

static void clear_gradient(const loss_job *job, int64_t at) {
    const size_t bytes = ls_dtype_bytes(job->launch->out[2].dtype);
    memset((char *)job->launch->out[2].data + (size_t)at * bytes, 0, (size_t)job->v * bytes);
}

static float run_row(const loss_job *job, int64_t row, loss_row *r) {
    const int32_t target = ((const int32_t *)job->launch->in[1].data)[row];
    const int64_t at = row * job->v;
    const float smoothing = job->attr->label_smoothing;
    if (target == job->attr->ignore_index) {
        clear_gradient(job, at);
        return 0;
    }
    const float picked = read_scalar(&job->launch->in[0], at + target);
    scan_row(job, at, r);
    if (r->is_open) close_row(job, r);
    open_row(job, at, target, r);
    /* logarithm and difference in double: the loss of a row keeps f32's digits also where it is small */
    const double log_sum = (double)r->largest + log((double)r->sum);
    const double loss = (1.0 - (double)smoothing) * (log_sum - (double)picked);
    const double even = log_sum - (double)r->total / (double)job->v;
    return (float)(smoothing > 0 ? loss + (double)smoothing * even : loss);
}

static ls_status run_rows(void *user, int64_t task, int worker) {
    const loss_job *job = user;
    loss_row r = {.e = job->scratch + worker * job->row_floats};
    float *losses = job->launch->out[3].data;
    const int64_t begin = task * job->rows_per_task, end = begin + job->rows_per_task;
    r.maxima = r.e + count_tiles(job->v) * LOSS_TILE;
    r.sums = r.maxima + pad_tiles(job->v);
    for (int64_t row = begin; row < end && row < job->n; row++) losses[row] = run_row(job, row, &r);
    finish_row(job, &r);
    if (job->stream) v16_stream_end();
    return LS_OK;
}

/* Several rows, so that there is a next one. */
static int64_t count_task_rows(const loss_job *job) {
    const int64_t share = job->n / (TASKS_PER_THREAD * ls_pool_threads(job->launch->pool));
    const int64_t few = LOSS_TASK_LOGITS / job->v + 1;
    const int64_t rows = share < LOSS_TASK_ROWS ? share : LOSS_TASK_ROWS;
    return few > rows ? few : rows;
}

static ls_status launch(const ls_launch *launch) {
    const ls_shape *x = &launch->in[0].shape;
    loss_job job = {.launch = launch, .attr = launch->sig->attr, .scratch = launch->workspace};
    LS_TRY(ls_cross_entropy_check(launch));
    job.n = ls_shape_count(&launch->in[1].shape);
    job.v = x->dims[x->n_dims - 1];
    job.row_floats = count_row_floats(job.v);
    job.stream = exp_row_streams(&launch->in[0], &launch->out[2]);
    job.rows_per_task = count_task_rows(&job);
    job.scale = job.attr->grad_scale * (launch->sig->n_in > 2 ? read_scalar(&launch->in[2], 0) : 1);
    job.even = job.scale * job.attr->label_smoothing / (float)job.v;
    job.share = job.scale * (1.0f - job.attr->label_smoothing);
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
