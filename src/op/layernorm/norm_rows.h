/* The row loops of layernorm and rmsnorm (rmsnorm is the case without a mean and without beta). For kernel files only.
 *
 * A task is LS_NORM_ROW_BLOCK rows; rows are independent. NORM_GROUP rows are walked side by side, so that the sums of one hide the
 * latency of the others'; each row's sum is taken in its own order all the same. Forward reads rows again, from the first-level cache,
 * rather than keep them as f32; so does backward, but for a dy that is a sum. Sums over rows (dgamma, dbeta) are taken in row order inside
 * a block and in tree order over blocks. Workspace, floats: gamma, beta [n_pad] each; in backward n_blocks partial sums [2][n_pad], then
 * rows [NORM_GROUP][n_pad] per worker. */
#ifndef LS_OP_LAYERNORM_NORM_ROWS_H
#define LS_OP_LAYERNORM_NORM_ROWS_H
#include "op/cpu_kernel.h"
#include "op/layernorm/layernorm.h"
#include "op/simd_bf16.h"

enum { LS_NORM_ROW_BLOCK = 64, NORM_COLUMN_BLOCK = 256 };
/* Results of this many bytes and more are in no cache any more when they are read: they are written past the caches, so that their lines
 * are not read first. */
enum { NORM_STREAM_BYTES = 32 << 20 };
#ifdef __AVX512BF16__
enum { NORM_BF16_ONLY = 1 };
#else
enum { NORM_BF16_ONLY = 0 };
#endif
/* As many as the level's registers hold sums for. */
#if defined(__AVX512F__)
enum { NORM_GROUP = 4 };
#elif defined(__AVX2__)
enum { NORM_GROUP = 2 };
#else
enum { NORM_GROUP = 1 };
#endif

typedef struct norm_job {
    const ls_tensor *x, *dy;
    int n_more;                   /* backward: further terms of dy, behind it */
    const ls_tensor *residual;    /* backward: added to dx; NULL: none */
    const ls_tensor *mean, *rstd; /* backward; mean NULL: zero */
    ls_tensor *y, *mean_out, *rstd_out, *dx;
    float eps;
    float *gamma, *beta; /* beta NULL: none */
    float *parts;        /* [n_blocks][2][n_pad] */
    float *rows;         /* [n_workers][NORM_GROUP][n_pad] */
    int stream;          /* y or dx goes past the caches: its rows are aligned to 64 bytes */
    int64_t n, n_pad, n_rows, n_blocks;
} norm_job;

static inline int64_t norm_pad(int64_t n) {
    return (n + V16_LANES - 1) / V16_LANES * V16_LANES;
}

static inline int64_t norm_blocks(int64_t n_rows) {
    return (n_rows + LS_NORM_ROW_BLOCK - 1) / LS_NORM_ROW_BLOCK;
}

/* Partial sums kept in backward: one a block, and room for the zeros of an empty sum. */
static inline int64_t norm_parts(int64_t n_rows) {
    return n_rows ? norm_blocks(n_rows) : 1;
}

/* n_parts: norm_parts in backward, 0 in forward. */
static inline size_t norm_workspace(int64_t n, int64_t n_parts, int n_threads) {
    const int64_t n_rows = n_parts ? NORM_GROUP * n_threads : 0;
    return (size_t)norm_pad(n) * (size_t)(2 + 2 * n_parts + n_rows) * sizeof(float);
}

/* Not where the result takes the place of an operand, whose lines are at hand. */
static inline int norm_streams(const ls_launch *l, int64_t n) {
    const ls_tensor *to = &l->out[0];
    for (int i = 0; i < l->sig->n_in; i++)
        if (l->in[i].data == to->data) return 0;
    return ls_tensor_bytes(to) >= NORM_STREAM_BYTES && (uintptr_t)to->data % 64 == 0 &&
           (size_t)n * ls_dtype_bytes(to->dtype) % 64 == 0;
}

/* Fills in the sizes and cuts up the workspace. */
static inline void norm_prepare(norm_job *job, const ls_launch *l, const ls_tensor *gamma,
                                const ls_tensor *beta) {
    job->x = &l->in[0];
    job->n = ls_shape_count(&gamma->shape);
    job->n_pad = norm_pad(job->n);
    job->n_rows = ls_shape_count(&job->x->shape) / job->n;
    job->n_blocks = norm_blocks(job->n_rows);
    job->gamma = l->workspace;
    job->beta = beta ? job->gamma + job->n_pad : NULL;
    job->parts = job->gamma + 2 * job->n_pad;
    job->rows = job->parts + 2 * job->n_pad * norm_parts(job->n_rows);
    job->stream = norm_streams(l, job->n);
    row_load(job->gamma, gamma->data, gamma->dtype, 0, job->n, 0);
    if (beta) row_load(job->beta, beta->data, beta->dtype, 0, job->n, 0);
}

static inline void norm_prepare_sums(norm_job *job, const ls_launch *l, const ls_norm_sums *sums) {
    job->n_more = sums->n_more;
    if (sums->has_residual) job->residual = &l->in[l->sig->n_in - 1];
}

/* --- a group of rows ------------------------------------------------------------------------------------------------
 * n_rows, dtype and lanes are constants where these are inlined; lanes is V16_LANES but for the last vector of a row. */

/* Rows first, first + 1, ... of one tensor. */
typedef struct norm_view {
    const char *data;
    int64_t n, first;
} norm_view;

V16_INLINE norm_view norm_view_of(const ls_tensor *tensor, int64_t n, int64_t first) {
    return (norm_view){tensor->data, n, first};
}

V16_INLINE v16 norm_get(norm_view view, ls_dtype dtype, int k, int64_t i, int64_t lanes) {
    return v16_read_n(view.data, dtype, (view.first + k) * view.n + i, lanes, 0);
}

/* The result's vector; a row that streams is whole vectors. */
V16_INLINE void norm_store(void *to, ls_dtype dtype, int64_t at, v16 x, int64_t lanes, int stream) {
    if (!stream)
        v16_write_n(to, dtype, at, x, lanes);
    else if (dtype == LS_DTYPE_F32)
        v16_stream_f32((float *)to + at, x);
    else
        v16h_stream((uint16_t *)to + at,
                    dtype == LS_DTYPE_BF16 ? v16_narrow_bf16(x) : v16_to_f16(x));
}

/* Two vectors side by side. */
V16_INLINE void norm_store_two(void *to, ls_dtype dtype, int64_t at, v16 low, v16 high,
                               int stream) {
#ifdef __AVX512BF16__
    if (dtype == LS_DTYPE_BF16) {
        v16_write_two_bf16((uint16_t *)to + at, low, high, stream);
        return;
    }
#endif
    norm_store(to, dtype, at, low, V16_LANES, stream);
    norm_store(to, dtype, at + V16_LANES, high, V16_LANES, stream);
}

/* What one of two passes fetches of the next group of rows, in quarters: memory is to be busy all the time. Forward, 16-bit rows keep the
 * processor busy when they are written: the pass before fetches all. */
typedef struct norm_share {
    int from, to;
} norm_share;

V16_INLINE norm_share norm_share_of(int pass, ls_dtype dtype) {
    const int of_first = dtype == LS_DTYPE_F32 ? 2 : 4;
    return pass == 0 ? (norm_share){0, of_first} : (norm_share){of_first, 4};
}

/* n elements from `at` on to the second level: the group at hand fills the first. */
V16_INLINE void norm_fetch_range(const void *data, ls_dtype dtype, int64_t at, int64_t n) {
    enum { TO_L2 = 2 };
    const int64_t bytes = dtype == LS_DTYPE_F32 ? 4 : 2;
    for (int64_t k = 0; k < n * bytes; k += 64)
        __builtin_prefetch((const char *)data + at * bytes + k, 0, TO_L2);
}

/* Fetches from the next group of rows, of its share, as much as elements [i, i + width) are of this one, in the order of memory: the walk of
 * several rows at a time is none that a processor foresees. What lies past the end is fetched in vain. */
V16_INLINE void norm_fetch(const void *data, ls_dtype dtype, norm_view x, int n_rows,
                           norm_share share, int64_t i, int width) {
    const int64_t quarters = share.to - share.from;
    const int64_t at = (x.first + n_rows) * x.n + (share.from * x.n + quarters * i) * n_rows / 4;
    norm_fetch_range(data, dtype, at, quarters * n_rows * width / 4);
}

V16_INLINE void norm_add(norm_view x, ls_dtype dtype, int n_rows, int64_t i, int64_t lanes,
                         v16 *sum) {
    for (int k = 0; k < n_rows; k++) sum[k] += norm_get(x, dtype, k, i, lanes);
}

V16_INLINE void norm_row_sums(norm_view x, ls_dtype dtype, int n_rows, v16 *sum) {
    int64_t i = 0;
    for (int k = 0; k < n_rows; k++) sum[k] = v16_set(0);
    for (; i + V16_LANES <= x.n; i += V16_LANES) norm_add(x, dtype, n_rows, i, V16_LANES, sum);
    if (i < x.n) norm_add(x, dtype, n_rows, i, x.n - i, sum);
}

/* sum += (x - mean)^2, without the padding. */
V16_INLINE void norm_add_squares(norm_view x, ls_dtype dtype, int n_rows, int64_t i, int64_t lanes,
                                 const float *mean, v16 *sum) {
    for (int k = 0; k < n_rows; k++) {
        v16 centered = norm_get(x, dtype, k, i, lanes) - mean[k];
        if (lanes < V16_LANES) centered = v16_keep_first(centered, lanes, 0);
        sum[k] += centered * centered;
    }
}

V16_INLINE void norm_row_squares(norm_view x, ls_dtype dtype, int n_rows, const float *mean,
                                 v16 *sum) {
    int64_t i = 0;
    for (int k = 0; k < n_rows; k++) sum[k] = v16_set(0);
    for (; i + V16_LANES <= x.n; i += V16_LANES) {
        norm_fetch(x.data, dtype, x, n_rows, norm_share_of(0, dtype), i, V16_LANES);
        norm_add_squares(x, dtype, n_rows, i, V16_LANES, mean, sum);
    }
    if (i < x.n) norm_add_squares(x, dtype, n_rows, i, x.n - i, mean, sum);
}

/* Stands between a multiplication and an addition that are not to become one rounding. */
V16_INLINE v16 norm_rounded(v16 x) {
#if defined(__AVX512F__)
    __m512 y = (__m512)x;
    __asm__("" : "+v"(y));
    return (v16)y;
#elif defined(__AVX__)
    v16_parts y = {x};
    __asm__("" : "+x"(y.y[0]), "+x"(y.y[1]));
    return y.all;
#else
    return x;
#endif
}

/* What a pass that writes needs of the job, by value: a store through a vector pointer might change the job itself. */
typedef struct norm_group {
    norm_view x;
    const float *gamma, *beta;
    char *to;
    float mean[NORM_GROUP], rstd[NORM_GROUP];
} norm_group;

V16_INLINE v16 norm_result(const norm_group *g, ls_dtype dtype, int k, int has_beta, int64_t i,
                           int64_t lanes) {
    const v16 gamma = v16_load_f32(g->gamma + i);
    const v16 unit = (norm_get(g->x, dtype, k, i, lanes) - g->mean[k]) * g->rstd[k] * gamma;
    return has_beta ? norm_rounded(unit) + v16_load_f32(g->beta + i) : unit;
}

V16_INLINE void norm_put(const norm_group *g, ls_dtype dtype, int n_rows, int has_beta, int stream,
                         int64_t i, int64_t lanes) {
    for (int k = 0; k < n_rows; k++)
        norm_store(g->to, dtype, (g->x.first + k) * g->x.n + i,
                   norm_result(g, dtype, k, has_beta, i, lanes), lanes, stream);
}

/* Two vectors of every row at a time: a cache line of 16-bit results is written at once. */
V16_INLINE void norm_put_rows(const norm_group *g, ls_dtype dtype, int n_rows, int has_beta,
                              int stream) {
    int64_t i = 0;
    for (; i + 2 * V16_LANES <= g->x.n; i += 2 * V16_LANES) {
        norm_fetch(g->x.data, dtype, g->x, n_rows, norm_share_of(1, dtype), i, 2 * V16_LANES);
        for (int k = 0; k < n_rows; k++)
            norm_store_two(g->to, dtype, (g->x.first + k) * g->x.n + i,
                           norm_result(g, dtype, k, has_beta, i, V16_LANES),
                           norm_result(g, dtype, k, has_beta, i + V16_LANES, V16_LANES), stream);
    }
    for (; i + V16_LANES <= g->x.n; i += V16_LANES)
        norm_put(g, dtype, n_rows, has_beta, stream, i, V16_LANES);
    if (i < g->x.n) norm_put(g, dtype, n_rows, has_beta, 0, i, g->x.n - i);
}

V16_INLINE void normalize_group(const norm_job *job, int64_t first, int n_rows, ls_dtype dtype) {
    norm_group g = {.x = norm_view_of(job->x, job->n, first)};
    const float n = (float)job->n;
    v16 sum[NORM_GROUP];
    g.gamma = job->gamma;
    g.beta = job->beta;
    g.to = job->y->data;
    if (job->mean_out) {
        norm_row_sums(g.x, dtype, n_rows, sum);
        for (int k = 0; k < n_rows; k++) g.mean[k] = v16_sum(sum[k]) / n;
        memcpy((float *)job->mean_out->data + first, g.mean, sizeof(float) * (size_t)n_rows);
    } else {
        for (int k = 0; k < n_rows; k++) g.mean[k] = 0;
    }
    norm_row_squares(g.x, dtype, n_rows, g.mean, sum);
    for (int k = 0; k < n_rows; k++) g.rstd[k] = 1.0f / sqrtf(v16_sum(sum[k]) / n + job->eps);
    memcpy((float *)job->rstd_out->data + first, g.rstd, sizeof(float) * (size_t)n_rows);
    if (g.beta)
        norm_put_rows(&g, dtype, n_rows, 1, job->stream);
    else
        norm_put_rows(&g, dtype, n_rows, 0, job->stream);
}

V16_INLINE void normalize_range(const norm_job *job, int64_t begin, int64_t end, ls_dtype dtype) {
    int64_t r = begin;
    for (; r + NORM_GROUP <= end; r += NORM_GROUP) normalize_group(job, r, NORM_GROUP, dtype);
    for (; r < end; r++) normalize_group(job, r, 1, dtype);
}

static inline int64_t norm_block_end(const norm_job *job, int64_t task) {
    const int64_t end = (task + 1) * LS_NORM_ROW_BLOCK;
    return end < job->n_rows ? end : job->n_rows;
}

static inline ls_status normalize_block(void *user, int64_t task, int worker) {
    const norm_job *job = user;
    const int64_t begin = task * LS_NORM_ROW_BLOCK, end = norm_block_end(job, task);
    (void)worker;
    if (NORM_BF16_ONLY || job->x->dtype == LS_DTYPE_BF16)
        normalize_range(job, begin, end, LS_DTYPE_BF16);
    else if (job->x->dtype == LS_DTYPE_F32)
        normalize_range(job, begin, end, LS_DTYPE_F32);
    else
        normalize_range(job, begin, end, LS_DTYPE_F16);
    if (job->stream) v16_stream_end();
    return LS_OK;
}

/* --- backward -------------------------------------------------------------------------------------------------------
 * h = (x - mean) * rstd, g = dy * gamma; dx = rstd * (g - mean(g) - h mean(g h)). */

/* What a store to the dtype and a load would leave of x. */
V16_INLINE v16 norm_as(ls_dtype dtype, v16 x) {
    if (dtype == LS_DTYPE_BF16) return v16_round_bf16(x);
    return dtype == LS_DTYPE_F16 ? v16_from_f16(v16_to_f16(x)) : x;
}

typedef struct norm_pull {
    norm_view x;
    const ls_tensor *dy; /* [1 + n_more] */
    const void *only_dy; /* where n_more is 0 */
    int n_more;
    const void *residual;
    const float *gamma;
    char *to;
    float *up; /* rows of dy [NORM_GROUP][n_pad], where it is a sum */
    int64_t n_pad;
    float mean[NORM_GROUP], rstd[NORM_GROUP], mean_g[NORM_GROUP], mean_gh[NORM_GROUP];
} norm_pull;

/* up = a row of `from` (NULL: up) and of `term`, rounded to the dtype. */
V16_INLINE void norm_add_term(float *up, ls_dtype dtype, const void *from, const void *term,
                              int64_t at, int64_t n) {
    int64_t i = 0;
    for (; i + V16_LANES <= n; i += V16_LANES) {
        const v16 sum = from ? v16_read(from, dtype, at + i) : v16_load_f32(up + i);
        v16_store_f32(up + i, norm_as(dtype, sum + v16_read(term, dtype, at + i)));
    }
    if (i == n) return;
    const v16 sum = from ? v16_load_n(from, dtype, at + i, n - i, 0) : v16_load_f32(up + i);
    v16_store_f32(up + i, norm_as(dtype, sum + v16_load_n(term, dtype, at + i, n - i, 0)));
}

/* The sum of dy's terms, of the group's rows: loops of their own, for the number of terms is no constant. */
V16_INLINE void norm_add_dy(const norm_pull *p, ls_dtype dtype, int n_rows) {
    for (int k = 0; k < n_rows; k++) {
        const int64_t at = (p->x.first + k) * p->x.n;
        float *up = p->up + k * p->n_pad;
        norm_add_term(up, dtype, p->dy[0].data, p->dy[1].data, at, p->x.n);
        for (int m = 2; m <= p->n_more; m++)
            norm_add_term(up, dtype, NULL, p->dy[m].data, at, p->x.n);
    }
}

V16_INLINE v16 norm_up(const norm_pull *p, ls_dtype dtype, int k, int64_t i, int64_t lanes) {
    if (p->n_more > 0) return v16_load_f32(p->up + k * p->n_pad + i);
    return v16_read_n(p->only_dy, dtype, (p->x.first + k) * p->x.n + i, lanes, 0);
}

typedef struct norm_terms { /* of a block's sums, and the rows' own */
    float *dgamma, *dbeta;
    v16 g[NORM_GROUP], gh[NORM_GROUP];
} norm_terms;

V16_INLINE v16 norm_unit(const norm_pull *p, ls_dtype dtype, int k, int64_t i, int64_t lanes) {
    return (norm_get(p->x, dtype, k, i, lanes) - p->mean[k]) * p->rstd[k];
}

/* The terms of the rows are added, row by row. */
V16_INLINE void norm_add_terms(const norm_pull *p, ls_dtype dtype, int n_rows, int64_t i,
                               int64_t lanes, norm_terms *sum) {
    const v16 gamma = v16_load_f32(p->gamma + i);
    v16 to_gamma = v16_load_f32(sum->dgamma + i), to_beta = v16_load_f32(sum->dbeta + i);
    for (int k = 0; k < n_rows; k++) {
        const v16 h = norm_unit(p, dtype, k, i, lanes);
        const v16 up = norm_up(p, dtype, k, i, lanes), g = norm_rounded(up * gamma);
        to_gamma += up * h;
        to_beta += up;
        sum->g[k] += g;
        sum->gh[k] += g * h;
    }
    v16_store_f32(sum->dgamma + i, to_gamma);
    v16_store_f32(sum->dbeta + i, to_beta);
}

/* n elements of x, dy and the residual. */
V16_INLINE void norm_fetch_all(const norm_pull *p, ls_dtype dtype, int64_t at, int64_t n) {
    norm_fetch_range(p->x.data, dtype, at, n);
    if (p->n_more == 0) norm_fetch_range(p->only_dy, dtype, at, n);
    if (p->residual) norm_fetch_range(p->residual, dtype, at, n);
}

/* How dx is written: constants but for stream. */
typedef struct norm_form {
    ls_dtype dtype;
    int n_rows, has_residual, stream;
} norm_form;

/* h and g once more: a row is nearer in its own type than as f32. */
V16_INLINE v16 norm_pull_one(const norm_pull *p, norm_form form, int k, int64_t i, int64_t lanes) {
    const ls_dtype dtype = form.dtype;
    const v16 h = norm_unit(p, dtype, k, i, lanes);
    const v16 g = norm_rounded(norm_up(p, dtype, k, i, lanes) * v16_load_f32(p->gamma + i));
    const v16 dx = p->rstd[k] * ((g - p->mean_g[k]) - h * p->mean_gh[k]);
    if (!form.has_residual) return dx;
    const int64_t at = (p->x.first + k) * p->x.n + i;
    return norm_rounded(norm_as(dtype, dx)) + v16_read_n(p->residual, dtype, at, lanes, 0);
}

V16_INLINE void norm_pull_some(const norm_pull *p, norm_form form, int k, int64_t i,
                               int64_t lanes) {
    norm_store(p->to, form.dtype, (p->x.first + k) * p->x.n + i,
               norm_pull_one(p, form, k, i, lanes), lanes, form.stream);
}

/* One row after the other, two vectors at a time; fetches the second half of the next group. */
V16_INLINE void norm_pull_rows(const norm_pull *p, norm_form form) {
    const int64_t n = p->x.n, first = p->x.first;
    const int64_t next = (first + form.n_rows) * n + form.n_rows * n / 2;
    for (int k = 0; k < form.n_rows; k++) {
        int64_t i = 0;
        for (; i + 2 * V16_LANES <= n; i += 2 * V16_LANES) {
            norm_fetch_all(p, form.dtype, next + (k * n + i) / 2, V16_LANES);
            norm_store_two(p->to, form.dtype, (first + k) * n + i,
                           norm_pull_one(p, form, k, i, V16_LANES),
                           norm_pull_one(p, form, k, i + V16_LANES, V16_LANES), form.stream);
        }
        for (; i + V16_LANES <= n; i += V16_LANES) norm_pull_some(p, form, k, i, V16_LANES);
        norm_form tail = form;
        tail.stream = 0;
        if (i < n) norm_pull_some(p, tail, k, i, n - i);
    }
}

V16_INLINE void differentiate_group(const norm_job *job, norm_pull *p, int n_rows, ls_dtype dtype,
                                    float *part) {
    const int64_t n = job->n, first = p->x.first;
    norm_terms sum = {part, part + job->n_pad, {{0}}, {{0}}};
    for (int k = 0; k < n_rows; k++) {
        p->mean[k] = job->mean ? ((const float *)job->mean->data)[first + k] : 0;
        p->rstd[k] = ((const float *)job->rstd->data)[first + k];
    }
    if (p->n_more > 0) norm_add_dy(p, dtype, n_rows);
    int64_t i = 0;
    for (; i + V16_LANES <= n; i += V16_LANES) {
        norm_fetch_all(p, dtype, (p->x.first + n_rows) * n + i * n_rows / 2,
                       n_rows * V16_LANES / 2);
        norm_add_terms(p, dtype, n_rows, i, V16_LANES, &sum);
    }
    if (i < n) norm_add_terms(p, dtype, n_rows, i, n - i, &sum);
    for (int k = 0; k < n_rows; k++) {
        p->mean_g[k] = job->mean ? v16_sum(sum.g[k]) / (float)n : 0;
        p->mean_gh[k] = v16_sum(sum.gh[k]) / (float)n;
    }
    if (p->residual)
        norm_pull_rows(p, (norm_form){dtype, n_rows, 1, job->stream});
    else
        norm_pull_rows(p, (norm_form){dtype, n_rows, 0, job->stream});
}

/* n_more: the job's, a constant where it is 0. */
V16_INLINE void differentiate_range(const norm_job *job, int64_t task, int worker, ls_dtype dtype,
                                    int n_more) {
    const int64_t end = norm_block_end(job, task);
    float *part = job->parts + task * 2 * job->n_pad;
    norm_pull p = {.x = norm_view_of(job->x, job->n, task * LS_NORM_ROW_BLOCK), .dy = job->dy};
    p.n_more = n_more;
    p.only_dy = job->dy->data;
    p.residual = job->residual ? job->residual->data : NULL;
    p.gamma = job->gamma;
    p.to = job->dx->data;
    p.n_pad = job->n_pad;
    p.up = job->rows + worker * NORM_GROUP * job->n_pad;
    for (; p.x.first + NORM_GROUP <= end; p.x.first += NORM_GROUP)
        differentiate_group(job, &p, NORM_GROUP, dtype, part);
    for (; p.x.first < end; p.x.first++) differentiate_group(job, &p, 1, dtype, part);
}

V16_INLINE void differentiate_as(const norm_job *job, int64_t task, int worker, ls_dtype dtype) {
    if (job->n_more == 0)
        differentiate_range(job, task, worker, dtype, 0);
    else
        differentiate_range(job, task, worker, dtype, job->n_more);
}

/* x, dy and dx of one dtype. */
static inline ls_status differentiate_block(void *user, int64_t task, int worker) {
    const norm_job *job = user;
    memset(job->parts + task * 2 * job->n_pad, 0, sizeof(float) * (size_t)(2 * job->n_pad));
    if (NORM_BF16_ONLY || job->x->dtype == LS_DTYPE_BF16)
        differentiate_as(job, task, worker, LS_DTYPE_BF16);
    else if (job->x->dtype == LS_DTYPE_F32)
        differentiate_as(job, task, worker, LS_DTYPE_F32);
    else
        differentiate_as(job, task, worker, LS_DTYPE_F16);
    if (job->stream) v16_stream_end();
    return LS_OK;
}

/* Adds the blocks' sums for one range of columns, in tree order over blocks, into block 0. */
static inline ls_status add_parts(void *user, int64_t task, int worker) {
    const norm_job *job = user;
    const int64_t width = 2 * job->n_pad, begin = task * NORM_COLUMN_BLOCK;
    const int64_t end = begin + NORM_COLUMN_BLOCK < width ? begin + NORM_COLUMN_BLOCK : width;
    (void)worker;
    for (int64_t step = 1; step < job->n_blocks; step *= 2)
        for (int64_t b = 0; b + step < job->n_blocks; b += 2 * step)
            for (int64_t i = begin; i < end; i += 16) {
                float *sum = job->parts + b * width + i;
                v16_store_f32(sum, v16_load_f32(sum) + v16_load_f32(sum + step * width));
            }
    return LS_OK;
}

static inline ls_status normalize_rows(norm_job *job, ls_pool *pool) {
    return ls_pool_run(pool, job->n_blocks, normalize_block, job);
}

/* dgamma and dbeta (may be NULL) get the sums over all rows. */
static inline ls_status differentiate_rows(norm_job *job, ls_pool *pool, ls_tensor *dgamma,
                                           ls_tensor *dbeta) {
    LS_TRY(ls_pool_run(pool, job->n_blocks, differentiate_block, job));
    const int64_t n_ranges = (2 * job->n_pad + NORM_COLUMN_BLOCK - 1) / NORM_COLUMN_BLOCK;
    LS_TRY(ls_pool_run(pool, n_ranges, add_parts, job));
    if (job->n_blocks == 0)
        for (int64_t i = 0; i < 2 * job->n_pad; i++) job->parts[i] = 0;
    row_store(dgamma->data, dgamma->dtype, 0, job->parts, job->n);
    if (dbeta) row_store(dbeta->data, dbeta->dtype, 0, job->parts + job->n_pad, job->n);
    return LS_OK;
}

/* The first operand that is not f32, bf16 or f16. */
static inline const char *norm_refuses(const ls_sig *sig) {
    if (NORM_BF16_ONLY && sig->in[0].dtype != LS_DTYPE_BF16) return "x is not bf16";
    for (int i = 0; i < sig->n_in; i++)
        if (!v16_accepts(sig->in[i].dtype)) return "an input is not f32, bf16 or f16";
    for (int i = 0; i < sig->n_out; i++)
        if (!v16_accepts(sig->out[i].dtype)) return "a result is not f32, bf16 or f16";
    return NULL;
}

#endif
