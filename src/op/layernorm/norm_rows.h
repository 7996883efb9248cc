/* The row loops of layernorm and rmsnorm (rmsnorm is the case without a mean and without beta), forward; op/layernorm/norm_grad_rows.h has
 * those of the gradients. For kernel files only, which say NORM_HAS_MEAN before: 0 leaves mean, beta and dbeta out.
 *
 * A task is LS_NORM_ROW_BLOCK rows; rows are independent, and each one's sums are taken in its own order. Forward walks a block in one go:
 * while a row is written, a later one is measured vector by vector beside it, so that memory is read, the processor busy and memory written
 * all the time. Backward walks groups of rows side by side, so that the sums of one hide the latency of the others'. Both read rows again,
 * from the first-level cache, but for what NORM_KEPT_FLOATS says and a dy that is a sum. Sums over rows (dgamma, dbeta) are taken in row
 * order inside a block and in tree order over blocks. Workspace, floats: gamma, beta [n_pad] each; in backward n_blocks partial sums
 * [2][n_pad]; then rows per worker: [NORM_AHEAD][n_pad] where forward keeps them, [NORM_GRAD_GROUP][n_pad] in backward. */
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
/* Rows that each pass of forward is ahead of the next: when a row is written, its sums over lanes, its root and quotients were on the way
 * for a whole row. The first pass is NORM_REACH ahead of the last. */
enum { NORM_AHEAD = 2, NORM_REACH = NORM_HAS_MEAN ? 2 * NORM_AHEAD : NORM_AHEAD };
/* Forward fetches this far ahead of the first pass: by itself a processor foresees a walk up to the end of a page. */
enum { NORM_FETCH_AHEAD = 8192 };
/* 16-bit rows up to this length are kept as f32, without their mean, between the last two passes: that takes a conversion and a
 * subtraction off each element, 6 to 17 % off the time. Longer ones crowd the first-level cache: they are read again, as are rows
 * without a mean and those below AVX-512, where it does not pay. */
#ifdef __AVX512F__
enum { NORM_KEPT_FLOATS = NORM_HAS_MEAN ? 1024 : 0 };
#else
enum { NORM_KEPT_FLOATS = 0 };
#endif
/* In backward a group has as many rows as the level's registers hold sums for; a group of one has no forms of its own. */
#define NORM_OF_DTYPES(forms) \
    forms(f32, LS_DTYPE_F32) forms(bf16, LS_DTYPE_BF16) forms(f16, LS_DTYPE_F16)
#if defined(__AVX512F__)
enum { NORM_GRAD_GROUP = 4 };
#elif defined(__AVX2__)
enum { NORM_GRAD_GROUP = 2 };
#else
enum { NORM_GRAD_GROUP = 1 };
#endif
#ifdef __AVX2__
#define NORM_ROWS(form)               form##_rows
#define NORM_OF_DTYPES_IN_ROWS(forms) NORM_OF_DTYPES(forms)
#else
#define NORM_ROWS(form) form##_row
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
    float *rows; /* per worker: forward [NORM_AHEAD][n_pad], backward [NORM_GRAD_GROUP][n_pad] */
    int stream;  /* y or dx goes past the caches: its rows are aligned to 64 bytes */
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

/* Rows of floats that a worker has. */
static inline int64_t norm_worker_rows(int64_t n, int is_backward) {
    if (is_backward) return NORM_GRAD_GROUP;
    return n <= NORM_KEPT_FLOATS ? NORM_AHEAD : 0;
}

/* n_parts: norm_parts in backward, 0 in forward. */
static inline size_t norm_workspace(int64_t n, int64_t n_parts, int n_threads) {
    const int64_t n_rows = norm_worker_rows(n, n_parts > 0) * n_threads;
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
    job->rows = job->parts + (job->dx ? 2 * job->n_pad * norm_parts(job->n_rows) : 0);
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

/* --- vectors of rows --------------------------------------------------------------------------------------------------
 * dtype and lanes are constants where these are inlined; lanes is V16_LANES but for the last vector of a row. */

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

/* n elements from `at` on to the second level: the rows at hand fill the first. */
V16_INLINE void norm_fetch_range(const void *data, ls_dtype dtype, int64_t at, int64_t n) {
    enum { TO_L2 = 2 };
    const int64_t bytes = dtype == LS_DTYPE_F32 ? 4 : 2;
    for (int64_t k = 0; k < n * bytes; k += 64)
        __builtin_prefetch((const char *)data + at * bytes + k, 0, TO_L2);
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

/* A sum that a loop carries, lane by lane. With AVX it is the two registers themselves: a v16 would go through memory at every step. */
typedef struct norm_lanes {
#if defined(__AVX__) && !defined(__AVX512F__)
    __m256 y[2];
#else
    v16 all;
#endif
} norm_lanes;

V16_INLINE norm_lanes norm_lanes_add(norm_lanes sum, v16 x) {
#if defined(__AVX__) && !defined(__AVX512F__)
    const v16_parts in = {x};
    for (int i = 0; i < 2; i++) sum.y[i] += in.y[i];
#else
    sum.all += x;
#endif
    return sum;
}

V16_INLINE norm_lanes norm_lanes_add_square(norm_lanes sum, v16 x) {
#if defined(__AVX__) && !defined(__AVX512F__)
    const v16_parts in = {x};
    for (int i = 0; i < 2; i++) sum.y[i] += in.y[i] * in.y[i];
#else
    sum.all += x * x;
#endif
    return sum;
}

V16_INLINE float norm_lanes_sum(norm_lanes sum) {
#if defined(__AVX__) && !defined(__AVX512F__)
    v16_parts x;
    for (int i = 0; i < 2; i++) x.y[i] = sum.y[i];
    return v16_sum(x.all);
#else
    return v16_sum(sum.all);
#endif
}

typedef struct norm_row {
    int64_t at; /* of its first element */
    float mean, rstd;
} norm_row;

/* (x - mean) * rstd */
V16_INLINE v16 norm_unit(const void *x, ls_dtype dtype, norm_row row, int64_t i, int64_t lanes) {
    const v16 value = v16_read_n(x, dtype, row.at + i, lanes, 0);
    return (NORM_HAS_MEAN ? value - v16_set(row.mean) : value) * v16_set(row.rstd);
}

/* --- forward ----------------------------------------------------------------------------------------------------------
 * Three passes over a row: its mean, its squares about the mean (rstd), its results; rmsnorm has the last two. */

/* What the passes need of the job: a local of its own, for a store through a vector pointer might change what others can reach. */
typedef struct norm_walk {
    const char *x;
    char *to;
    const float *gamma, *beta;
    float *mean, *rstd; /* of all rows */
    float *kept;        /* x - mean of rows between the last two passes [NORM_AHEAD][n_pad] */
    int64_t n, n_pad;
    float eps;
    int stream;
} norm_walk;

V16_INLINE norm_walk norm_walk_of(const norm_job *job, int worker) {
    return (norm_walk){.x = job->x->data,
                       .to = job->y->data,
                       .gamma = job->gamma,
                       .beta = job->beta,
                       .mean = NORM_HAS_MEAN ? job->mean_out->data : NULL,
                       .rstd = job->rstd_out->data,
                       .kept = job->rows + worker * NORM_AHEAD * job->n_pad,
                       .n = job->n,
                       .n_pad = job->n_pad,
                       .eps = job->eps,
                       .stream = job->stream};
}

/* Row r, as far as it is measured. */
V16_INLINE norm_row norm_centered_row(const norm_walk *w, int64_t r) {
    return (norm_row){r * w->n, NORM_HAS_MEAN ? w->mean[r] : 0, 0};
}
V16_INLINE norm_row norm_measured_row(const norm_walk *w, int64_t r) {
    return (norm_row){r * w->n, NORM_HAS_MEAN ? w->mean[r] : 0, w->rstd[r]};
}

/* A row takes the place of the one NORM_AHEAD before it. */
V16_INLINE float *norm_kept_row(const norm_walk *w, int64_t r) {
    return w->kept + r % NORM_AHEAD * w->n_pad;
}

V16_INLINE norm_lanes norm_add(const norm_walk *w, ls_dtype dtype, int64_t at, int64_t lanes,
                               norm_lanes sum) {
    return norm_lanes_add(sum, v16_read_n(w->x, dtype, at, lanes, 0));
}

/* sum + (x - mean)^2, without the padding. kept: whole vectors of x - mean are stored there, where it is not NULL. */
V16_INLINE norm_lanes norm_add_square(const norm_walk *w, ls_dtype dtype, norm_row row, int64_t i,
                                      int64_t lanes, float *kept, norm_lanes sum) {
    v16 centered = v16_read_n(w->x, dtype, row.at + i, lanes, 0);
    if (NORM_HAS_MEAN) centered -= v16_set(row.mean);
    if (NORM_HAS_MEAN && lanes < V16_LANES) centered = v16_keep_first(centered, lanes, 0);
    if (kept && lanes == V16_LANES) v16_store_f32(kept + i, centered);
    return norm_lanes_add_square(sum, centered);
}

/* The rest of the row's sum from element i on, and its mean. */
V16_INLINE void norm_end_mean(const norm_walk *w, ls_dtype dtype, int64_t r, int64_t i,
                              norm_lanes sum) {
    const int64_t n = w->n, at = r * n;
    for (; i + V16_LANES <= n; i += V16_LANES) sum = norm_add(w, dtype, at + i, V16_LANES, sum);
    if (i < n) sum = norm_add(w, dtype, at + i, n - i, sum);
    w->mean[r] = norm_lanes_sum(sum) / (float)n;
}

/* The rest of the row's squares from element i on, and 1 / deviation. */
V16_INLINE void norm_end_squares(const norm_walk *w, ls_dtype dtype, int64_t r, int64_t i,
                                 float *kept, norm_lanes sum) {
    const int64_t n = w->n;
    const norm_row row = norm_centered_row(w, r);
    for (; i + V16_LANES <= n; i += V16_LANES)
        sum = norm_add_square(w, dtype, row, i, V16_LANES, kept, sum);
    if (i < n) sum = norm_add_square(w, dtype, row, i, n - i, kept, sum);
    w->rstd[r] = 1.0f / sqrtf(norm_lanes_sum(sum) / (float)n + w->eps);
}

/* unit: (x - mean) * rstd of elements i and on. */
V16_INLINE v16 norm_result(const norm_walk *w, v16 unit, int has_beta, int64_t i) {
    const v16 scaled = unit * v16_load_f32(w->gamma + i);
    return has_beta ? norm_rounded(scaled) + v16_load_f32(w->beta + i) : scaled;
}

/* Of x, or of what was kept of it. */
V16_INLINE v16 norm_unit_of(const norm_walk *w, ls_dtype dtype, norm_row row, const float *kept,
                            int64_t i) {
    if (kept) return v16_load_f32(kept + i) * v16_set(row.rstd);
    return norm_unit(w->x, dtype, row, i, V16_LANES);
}

/* Two vectors at a time: a cache line of 16-bit results is written at once. */
V16_INLINE void norm_put_two(const norm_walk *w, ls_dtype dtype, norm_row row, const float *kept,
                             int has_beta, int64_t i) {
    const int64_t second = i + V16_LANES;
    norm_store_two(
        w->to, dtype, row.at + i, norm_result(w, norm_unit_of(w, dtype, row, kept, i), has_beta, i),
        norm_result(w, norm_unit_of(w, dtype, row, kept, second), has_beta, second), w->stream);
}

V16_INLINE void norm_put_row(const norm_walk *w, ls_dtype dtype, int has_beta, int64_t r) {
    const norm_row row = norm_measured_row(w, r);
    for (int64_t i = 0; i + 2 * V16_LANES <= w->n; i += 2 * V16_LANES)
        norm_put_two(w, dtype, row, NULL, has_beta, i);
}

/* Writes row r, takes the squares of the one NORM_AHEAD behind it and the sum of the one as far behind that, side by side. */
V16_INLINE void norm_turn_row(const norm_walk *w, ls_dtype dtype, int keeps, int has_beta,
                              int64_t r) {
    const norm_row row = norm_measured_row(w, r), next = norm_centered_row(w, r + NORM_AHEAD);
    const int64_t n = w->n, first = row.at + NORM_REACH * n; /* of the first pass */
    const int64_t ahead = first + NORM_FETCH_AHEAD / (dtype == LS_DTYPE_F32 ? 4 : 2);
    float *kept = keeps ? norm_kept_row(w, r) : NULL;
    norm_lanes sum = {0}, squares = {0};
    int64_t i = 0;
    /* Loads before stores: rows of whole pages look alike to a load behind a store. A kept row is read before the next takes its place. */
    for (; i + 2 * V16_LANES <= n; i += 2 * V16_LANES) {
        norm_fetch_range(w->x, dtype, ahead + i, 2 * V16_LANES);
        if (NORM_HAS_MEAN) {
            sum = norm_add(w, dtype, first + i, V16_LANES, sum);
            sum = norm_add(w, dtype, first + i + V16_LANES, V16_LANES, sum);
        }
        if (keeps) norm_put_two(w, dtype, row, kept, has_beta, i);
        squares = norm_add_square(w, dtype, next, i, V16_LANES, kept, squares);
        squares = norm_add_square(w, dtype, next, i + V16_LANES, V16_LANES, kept, squares);
        if (!keeps) norm_put_two(w, dtype, row, kept, has_beta, i);
    }
    norm_end_squares(w, dtype, r + NORM_AHEAD, i, kept, squares);
    if (NORM_HAS_MEAN) norm_end_mean(w, dtype, r + NORM_REACH, i, sum);
}

/* What is left of a row behind the last two whole vectors. */
V16_INLINE void norm_put_rest(const norm_walk *w, ls_dtype dtype, int64_t r) {
    const int64_t n = w->n, begin = n - n % (2 * V16_LANES), whole = n - n % V16_LANES;
    const int has_beta = w->beta != NULL;
    const norm_row row = norm_measured_row(w, r);
    if (begin < whole) {
        const v16 unit = norm_unit(w->x, dtype, row, begin, V16_LANES);
        v16_write(w->to, dtype, row.at + begin, norm_result(w, unit, has_beta, begin));
    }
    if (whole < n) {
        const v16 unit = norm_unit(w->x, dtype, row, whole, n - whole);
        v16_write_n(w->to, dtype, row.at + whole, norm_result(w, unit, has_beta, whole), n - whole);
    }
}

/* --- one function a form ---------------------------------------------------------------------------------------------
 * A compiler's time grows faster than a function does (under sanitizers to minutes for all forms in one): each pass over rows of one
 * form is a function of its own, by a name that begins with the dtype's behind its own. What they share is set once a block: a load of a
 * whole vector must not find stores of its parts under way. */
#define NORM_APART static __attribute__((noinline, unused)) void

typedef void (*norm_pass_fn)(const norm_job *job, int worker, int64_t first, int64_t end);
#define NORM_PASS(form, of_row)                                                    \
    NORM_APART form(const norm_job *job, int worker, int64_t first, int64_t end) { \
        const norm_walk w = norm_walk_of(job, worker);                             \
        for (int64_t r = first; r < end; r++) of_row;                              \
    }
#define NORM_FORWARD(word, dtype)                                           \
    NORM_PASS(mean_##word, norm_end_mean(&w, dtype, r, 0, (norm_lanes){0})) \
    NORM_PASS(put_##word, norm_put_row(&w, dtype, 0, r))                    \
    NORM_PASS(put_##word##_beta, norm_put_row(&w, dtype, 1, r))             \
    NORM_PASS(put_rest_##word, norm_put_rest(&w, dtype, r))                 \
    NORM_TURN(word, dtype, 0)
#define NORM_FORWARD_KEPT(word, dtype) NORM_TURN(word##_kept, dtype, 1)
#define NORM_TURN(form, dtype, keeps)                                                            \
    NORM_PASS(                                                                                   \
        square_##form,                                                                           \
        norm_end_squares(&w, dtype, r, 0, keeps ? norm_kept_row(&w, r) : NULL, (norm_lanes){0})) \
    NORM_PASS(turn_##form, norm_turn_row(&w, dtype, keeps, 0, r))                                \
    NORM_PASS(turn_##form##_beta, norm_turn_row(&w, dtype, keeps, 1, r))

NORM_OF_DTYPES(NORM_FORWARD)
NORM_FORWARD_KEPT(bf16, LS_DTYPE_BF16)
NORM_FORWARD_KEPT(f16, LS_DTYPE_F16)

typedef struct norm_forward { /* of a dtype, kept or not; index: beta */
    norm_pass_fn mean, square, turn[2], put[2], put_rest;
} norm_forward;
#define NORM_FORWARD_OF(word, form)                                                 \
    {                                                                               \
        NORM_HAS_MEAN ? mean_##word : NULL, square_##form,                          \
            {turn_##form, NORM_HAS_MEAN ? turn_##form##_beta : NULL},               \
            {put_##word, NORM_HAS_MEAN ? put_##word##_beta : NULL}, put_rest_##word \
    }

static inline const norm_forward *norm_forward_of(ls_dtype dtype, int64_t n) {
    static const norm_forward f32 = NORM_FORWARD_OF(f32, f32), bf16 = NORM_FORWARD_OF(bf16, bf16),
                              f16 = NORM_FORWARD_OF(f16, f16);
    static const norm_forward bf16_kept = NORM_FORWARD_OF(bf16, bf16_kept),
                              f16_kept = NORM_FORWARD_OF(f16, f16_kept);
    const int keeps = NORM_KEPT_FLOATS > 0 && n <= NORM_KEPT_FLOATS;
    if (NORM_BF16_ONLY || dtype == LS_DTYPE_BF16) return keeps ? &bf16_kept : &bf16;
    if (dtype == LS_DTYPE_F32) return &f32;
    return keeps ? &f16_kept : &f16;
}

/* The first rows are measured ahead of the walk, the last ones written behind it. */
static inline ls_status normalize_block(void *user, int64_t task, int worker) {
    const norm_job *job = user;
    const norm_forward *form = norm_forward_of(job->x->dtype, job->n);
    const int64_t first = task * LS_NORM_ROW_BLOCK, end = norm_block_end(job, task);
    const int64_t n_rows = end - first, n_turned = n_rows > NORM_REACH ? n_rows - NORM_REACH : 0;
    const int64_t n_ahead = n_rows < NORM_AHEAD ? n_rows : NORM_AHEAD;
    const int has_beta = job->beta != NULL;
    if (NORM_HAS_MEAN) form->mean(job, worker, first, end - n_turned);
    form->square(job, worker, first, first + n_ahead);
    form->turn[has_beta](job, worker, first, first + n_turned);
    form->square(job, worker, first + n_ahead + n_turned, end);
    form->put[has_beta](job, worker, first + n_turned, end);
    if (job->n % (2 * V16_LANES)) form->put_rest(job, worker, first, end);
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
