/* The row loops of layernorm and rmsnorm (rmsnorm is the case without a mean and without beta), forward; op/layernorm/norm_grad_rows.h has
 * those of the gradients. For kernel files only, which say NORM_HAS_MEAN before: 0 leaves mean, beta and dbeta out.
 *
 * A task is LS_NORM_ROW_BLOCK rows; rows are independent. Groups of rows are walked side by side, so that the sums of one hide the
 * latency of the others'; each row's sum is taken in its own order all the same. Forward reads rows again, from the first-level cache,
 * rather than keep them as f32; so does backward, but for a dy that is a sum. Sums over rows (dgamma, dbeta) are taken in row order inside
 * a block and in tree order over blocks. Workspace, floats: gamma, beta [n_pad] each; in backward n_blocks partial sums [2][n_pad], then
 * rows [NORM_GRAD_GROUP][n_pad] per worker. */
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
/* A group has as many rows as the level's registers hold sums for; a group of one has no forms of its own. Forward, more rows pay: rows
 * of a few vectors end in sums over lanes, which wait for each other. */
#define NORM_OF_DTYPES(forms) \
    forms(f32, LS_DTYPE_F32) forms(bf16, LS_DTYPE_BF16) forms(f16, LS_DTYPE_F16)
#if defined(__AVX512F__)
enum { NORM_GROUP = 8, NORM_GRAD_GROUP = 4 };
#elif defined(__AVX2__)
enum { NORM_GROUP = 2, NORM_GRAD_GROUP = 2 };
#else
enum { NORM_GROUP = 1, NORM_GRAD_GROUP = 1 };
#endif
#ifdef __AVX2__
#define NORM_ROWS(form)               form##_rows
#define NORM_FEW_ROWS(form)           form##_few_rows
#define NORM_OF_DTYPES_IN_ROWS(forms) NORM_OF_DTYPES(forms)
#else
#define NORM_ROWS(form)     form##_row
#define NORM_FEW_ROWS(form) form##_row
#define NORM_OF_DTYPES_IN_ROWS(forms)
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
    float *rows;         /* [n_workers][NORM_GRAD_GROUP][n_pad] */
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
    const int64_t n_rows = n_parts ? NORM_GRAD_GROUP * n_threads : 0;
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

static inline int64_t norm_block_end(const norm_job *job, int64_t task) {
    const int64_t end = (task + 1) * LS_NORM_ROW_BLOCK;
    return end < job->n_rows ? end : job->n_rows;
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
        v16 centered = norm_get(x, dtype, k, i, lanes);
        if (NORM_HAS_MEAN) centered -= mean[k];
        if (NORM_HAS_MEAN && lanes < V16_LANES) centered = v16_keep_first(centered, lanes, 0);
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

/* What the pass that writes needs of the job: a local of its own, for a store through a vector pointer might change what others can
 * reach. */
typedef struct norm_put {
    const char *x;
    char *to;
    const float *gamma, *beta, *mean, *rstd; /* mean and rstd of the group's rows */
    int64_t n, first;
    int n_rows, stream;
} norm_put;

typedef struct norm_row {
    int64_t at; /* of its first element */
    float mean, rstd;
} norm_row;

V16_INLINE norm_row norm_put_row(const norm_put *p, int k) {
    return (norm_row){(p->first + k) * p->n, NORM_HAS_MEAN ? p->mean[k] : 0, p->rstd[k]};
}

/* (x - mean) * rstd */
V16_INLINE v16 norm_unit(const void *x, ls_dtype dtype, norm_row row, int64_t i, int64_t lanes) {
    const v16 value = v16_read_n(x, dtype, row.at + i, lanes, 0);
    return (NORM_HAS_MEAN ? value - row.mean : value) * row.rstd;
}

V16_INLINE v16 norm_result(const norm_put *p, ls_dtype dtype, norm_row row, int has_beta, int64_t i,
                           int64_t lanes) {
    const v16 scaled = norm_unit(p->x, dtype, row, i, lanes) * v16_load_f32(p->gamma + i);
    return has_beta ? norm_rounded(scaled) + v16_load_f32(p->beta + i) : scaled;
}

/* Two vectors at a time: a cache line of 16-bit results is written at once. */
V16_INLINE void norm_put_two(const norm_put *p, ls_dtype dtype, norm_row row, int has_beta,
                             int64_t i) {
    norm_store_two(p->to, dtype, row.at + i, norm_result(p, dtype, row, has_beta, i, V16_LANES),
                   norm_result(p, dtype, row, has_beta, i + V16_LANES, V16_LANES), p->stream);
}

/* One row after the other. Fetches its share of the next group. */
V16_INLINE void norm_put_rows(const norm_put *p, ls_dtype dtype, int has_beta) {
    const norm_share share = norm_share_of(1, dtype);
    const int64_t quarters = share.to - share.from, all = p->n_rows * p->n;
    const int64_t next = p->first * p->n + all + share.from * all / 4;
    for (int k = 0; k < p->n_rows; k++) {
        const norm_row row = norm_put_row(p, k);
        for (int64_t i = 0; i + 2 * V16_LANES <= p->n; i += 2 * V16_LANES) {
            norm_fetch_range(p->x, dtype, next + (k * p->n + i) * quarters / 4,
                             2 * V16_LANES * quarters / 4);
            norm_put_two(p, dtype, row, has_beta, i);
        }
    }
}

/* A group's n_rows rows side by side: faster than row by row for f32 past the caches, slower elsewhere. */
V16_INLINE void norm_put_group(const norm_put *p, ls_dtype dtype, int n_rows, int has_beta) {
    const norm_view x = {p->x, p->n, p->first};
    norm_row rows[NORM_GROUP];
    for (int k = 0; k < n_rows; k++) rows[k] = norm_put_row(p, k);
    for (int64_t i = 0; i + 2 * V16_LANES <= p->n; i += 2 * V16_LANES) {
        norm_fetch(p->x, dtype, x, n_rows, norm_share_of(1, dtype), i, 2 * V16_LANES);
        for (int k = 0; k < n_rows; k++) norm_put_two(p, dtype, rows[k], has_beta, i);
    }
}

V16_INLINE void norm_put_all(const norm_put *p, ls_dtype dtype, int has_beta) {
    if (dtype == LS_DTYPE_F32 && p->stream && p->n_rows == NORM_GRAD_GROUP)
        norm_put_group(p, dtype, NORM_GRAD_GROUP, has_beta);
    else
        norm_put_rows(p, dtype, has_beta);
}

/* What is left of every row behind the last two whole vectors. */
V16_INLINE void norm_put_rest(const norm_put *p, ls_dtype dtype) {
    const int64_t n = p->n, begin = n - n % (2 * V16_LANES), whole = n - n % V16_LANES;
    const int has_beta = p->beta != NULL;
    for (int k = 0; k < p->n_rows; k++) {
        const norm_row row = norm_put_row(p, k);
        if (begin < whole)
            v16_write(p->to, dtype, row.at + begin,
                      norm_result(p, dtype, row, has_beta, begin, V16_LANES));
        if (whole < n)
            v16_write_n(p->to, dtype, row.at + whole,
                        norm_result(p, dtype, row, has_beta, whole, n - whole), n - whole);
    }
}

/* Mean and 1 / deviation of n_rows rows from `first` on. */
V16_INLINE void norm_measure(const norm_job *job, int64_t first, ls_dtype dtype, int n_rows) {
    const float n = (float)job->n;
    const norm_view x = norm_view_of(job->x, job->n, first);
    float *rstd = (float *)job->rstd_out->data + first, mean[NORM_GROUP] = {0};
    v16 sum[NORM_GROUP];
    if (NORM_HAS_MEAN) {
        norm_row_sums(x, dtype, n_rows, sum);
        for (int k = 0; k < n_rows; k++) mean[k] = v16_sum(sum[k]) / n;
        memcpy((float *)job->mean_out->data + first, mean, sizeof(float) * (size_t)n_rows);
    }
    norm_row_squares(x, dtype, n_rows, mean, sum);
    for (int k = 0; k < n_rows; k++) rstd[k] = 1.0f / sqrtf(v16_sum(sum[k]) / n + job->eps);
}

/* --- one function a form ---------------------------------------------------------------------------------------------
 * A compiler's time grows faster than a function does (under sanitizers to minutes for all forms in one): each pass over rows of one
 * form is a function of its own, by a name that ends in the dtype's and in the number of rows. What they share is set once a block: a
 * load of a whole vector must not find stores of its parts under way. */
#define NORM_APART static __attribute__((noinline, unused)) void

#define NORM_MEASURE(form, dtype, n_rows)                           \
    NORM_APART measure_##form(const norm_job *job, int64_t first) { \
        norm_measure(job, first, dtype, n_rows);                    \
    }
#define NORM_PUT(form, dtype, has_beta)                                     \
    NORM_APART put_##form(const norm_job *job, int64_t first, int n_rows) { \
        const norm_put p = norm_put_of(job, first, n_rows);                 \
        norm_put_all(&p, dtype, has_beta);                                  \
    }
#define NORM_FORWARD(word, dtype)                                                \
    NORM_MEASURE(word##_row, dtype, 1)                                           \
    NORM_PUT(word, dtype, 0)                                                     \
    NORM_PUT(word##_beta, dtype, NORM_HAS_MEAN)                                  \
    NORM_APART put_rest_##word(const norm_job *job, int64_t first, int n_rows) { \
        const norm_put p = norm_put_of(job, first, n_rows);                      \
        norm_put_rest(&p, dtype);                                                \
    }
#define NORM_FORWARD_ROWS(word, dtype)                    \
    NORM_MEASURE(word##_few_rows, dtype, NORM_GRAD_GROUP) \
    NORM_MEASURE(word##_rows, dtype, NORM_GROUP)

V16_INLINE norm_put norm_put_of(const norm_job *job, int64_t first, int n_rows) {
    return (norm_put){.x = job->x->data,
                      .to = job->y->data,
                      .gamma = job->gamma,
                      .beta = job->beta,
                      .mean = NORM_HAS_MEAN ? (const float *)job->mean_out->data + first : NULL,
                      .rstd = (const float *)job->rstd_out->data + first,
                      .n = job->n,
                      .first = first,
                      .n_rows = n_rows,
                      .stream = job->stream};
}

NORM_OF_DTYPES(NORM_FORWARD)
NORM_OF_DTYPES_IN_ROWS(NORM_FORWARD_ROWS)

typedef void (*norm_put_fn)(const norm_job *job, int64_t first, int n_rows);
typedef struct norm_forward { /* of a dtype */
    void (*measure_row)(const norm_job *job, int64_t first);
    void (*measure_rows[2])(const norm_job *job, int64_t first); /* index: NORM_GROUP rows */
    norm_put_fn put[2], put_rest;                                /* index: beta */
} norm_forward;
#define NORM_FORWARD_OF(word)                                                             \
    {                                                                                     \
        measure_##word##_row, {NORM_FEW_ROWS(measure_##word), NORM_ROWS(measure_##word)}, \
            {put_##word, put_##word##_beta}, put_rest_##word                              \
    }

static inline void normalize_group(const norm_job *job, int64_t first, int n_rows,
                                   const norm_forward *form) {
    (n_rows > 1 ? form->measure_rows[n_rows == NORM_GROUP] : form->measure_row)(job, first);
    form->put[job->beta != NULL](job, first, n_rows);
    if (job->n % (2 * V16_LANES)) form->put_rest(job, first, n_rows);
}

static inline const norm_forward *norm_forward_of(ls_dtype dtype) {
    static const norm_forward f32 = NORM_FORWARD_OF(f32), bf16 = NORM_FORWARD_OF(bf16),
                              f16 = NORM_FORWARD_OF(f16);
    if (NORM_BF16_ONLY || dtype == LS_DTYPE_BF16) return &bf16;
    return dtype == LS_DTYPE_F32 ? &f32 : &f16;
}

static inline ls_status normalize_block(void *user, int64_t task, int worker) {
    const norm_job *job = user;
    const norm_forward *form = norm_forward_of(job->x->dtype);
    const int64_t end = norm_block_end(job, task);
    const int is_few = job->stream && job->x->dtype == LS_DTYPE_F32; /* norm_put_all says why */
    const int group = is_few ? NORM_GRAD_GROUP : NORM_GROUP;
    int64_t r = task * LS_NORM_ROW_BLOCK;
    (void)worker;
    for (; r + group <= end; r += group) normalize_group(job, r, group, form);
    for (; r < end; r++) normalize_group(job, r, 1, form);
    if (job->stream) v16_stream_end();
    return LS_OK;
}

static inline ls_status normalize_rows(norm_job *job, ls_pool *pool) {
    return ls_pool_run(pool, job->n_blocks, normalize_block, job);
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
