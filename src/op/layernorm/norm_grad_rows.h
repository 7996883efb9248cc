/* The row loops of layernorm_grad and rmsnorm_grad, as op/layernorm/norm_rows.h has them of the ops. For kernel files only.
 *
 * h = (x - mean) * rstd, g = dy * gamma; dx = rstd * (g - mean(g) - h mean(g h)). Sums over rows (dgamma, dbeta) are taken in row order
 * inside a block and in tree order over blocks. A group's rows are read twice, but for a dy that is a sum, which is kept as f32. */
#ifndef LS_OP_LAYERNORM_NORM_GRAD_ROWS_H
#define LS_OP_LAYERNORM_NORM_GRAD_ROWS_H
#include "op/layernorm/norm_rows.h"

/* What a store to the dtype and a load would leave of x. */
V16_INLINE v16 norm_as(ls_dtype dtype, v16 x) {
    if (dtype == LS_DTYPE_BF16) return v16_round_bf16(x);
    return dtype == LS_DTYPE_F16 ? v16_from_f16(v16_to_f16(x)) : x;
}

/* What a pass needs of the job, and the group that it is at: a local of its own, as norm_put is. */
typedef struct norm_pull {
    const char *x;
    const ls_tensor *dy; /* [1 + n_more] */
    const void *only_dy; /* where n_more is 0 */
    int n_more, n_rows, stream;
    const void *residual;
    const float *gamma, *mean, *rstd; /* mean and rstd of the group's rows */
    char *to;
    float *up; /* rows of dy [NORM_GRAD_GROUP][n_pad], where it is a sum */
    int64_t n, n_pad, first;
} norm_pull;

V16_INLINE norm_pull norm_pull_of(const norm_job *job, int worker, int64_t first, int n_rows,
                                  int n_more) {
    return (norm_pull){.x = job->x->data,
                       .dy = job->dy,
                       .only_dy = job->dy->data,
                       .n_more = n_more,
                       .n_rows = n_rows,
                       .stream = job->stream,
                       .residual = job->residual ? job->residual->data : NULL,
                       .gamma = job->gamma,
                       .mean = NORM_HAS_MEAN ? (const float *)job->mean->data + first : NULL,
                       .rstd = (const float *)job->rstd->data + first,
                       .to = job->dx->data,
                       .up = job->rows + worker * NORM_GRAD_GROUP * job->n_pad,
                       .n = job->n,
                       .n_pad = job->n_pad,
                       .first = first};
}

V16_INLINE norm_row norm_pull_row(const norm_pull *p, int k) {
    return (norm_row){(p->first + k) * p->n, NORM_HAS_MEAN ? p->mean[k] : 0, p->rstd[k]};
}

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
V16_INLINE void norm_add_dy(const norm_pull *p, ls_dtype dtype) {
    for (int k = 0; k < p->n_rows; k++) {
        const int64_t at = (p->first + k) * p->n;
        float *up = p->up + k * p->n_pad;
        norm_add_term(up, dtype, p->dy[0].data, p->dy[1].data, at, p->n);
        for (int m = 2; m <= p->n_more; m++)
            norm_add_term(up, dtype, NULL, p->dy[m].data, at, p->n);
    }
}

/* dy of the group's row k. */
V16_INLINE v16 norm_up(const norm_pull *p, ls_dtype dtype, int k, int64_t i, int64_t lanes) {
    if (p->n_more > 0) return v16_load_f32(p->up + k * p->n_pad + i);
    return v16_read_n(p->only_dy, dtype, (p->first + k) * p->n + i, lanes, 0);
}

typedef struct norm_terms { /* of a block's sums, and the rows' own */
    float *dgamma, *dbeta;
    v16 g[NORM_GRAD_GROUP], gh[NORM_GRAD_GROUP];
} norm_terms;

/* The terms of the rows are added, row by row. */
V16_INLINE void norm_add_terms(const norm_pull *p, const norm_row *rows, ls_dtype dtype, int n_rows,
                               int64_t i, int64_t lanes, norm_terms *sum) {
    const v16 gamma = v16_load_f32(p->gamma + i);
    v16 to_gamma = v16_load_f32(sum->dgamma + i), to_beta = v16_set(0);
    if (NORM_HAS_MEAN) to_beta = v16_load_f32(sum->dbeta + i);
    for (int k = 0; k < n_rows; k++) {
        const v16 h = norm_unit(p->x, dtype, rows[k], i, lanes);
        const v16 up = norm_up(p, dtype, k, i, lanes), g = norm_rounded(up * gamma);
        to_gamma += up * h;
        if (NORM_HAS_MEAN) to_beta += up;
        if (NORM_HAS_MEAN) sum->g[k] += g;
        sum->gh[k] += g * h;
    }
    v16_store_f32(sum->dgamma + i, to_gamma);
    if (NORM_HAS_MEAN) v16_store_f32(sum->dbeta + i, to_beta);
}

/* n elements of x, dy and the residual. */
V16_INLINE void norm_fetch_all(const norm_pull *p, ls_dtype dtype, int64_t at, int64_t n) {
    norm_fetch_range(p->x, dtype, at, n);
    if (p->n_more == 0) norm_fetch_range(p->only_dy, dtype, at, n);
    if (p->residual) norm_fetch_range(p->residual, dtype, at, n);
}

/* Means of g and of g h, of a group's rows. */
typedef struct norm_means {
    float g[NORM_GRAD_GROUP], gh[NORM_GRAD_GROUP];
} norm_means;

/* The sums of the group's n_rows rows, and their terms of the block's. Fetches the first half of the next group. */
V16_INLINE void norm_pull_sums(const norm_pull *p, ls_dtype dtype, int n_rows, float *part,
                               norm_means *out) {
    const int64_t n = p->n, next = (p->first + n_rows) * n;
    norm_terms sum = {part, part + p->n_pad, {{0}}, {{0}}};
    norm_row rows[NORM_GRAD_GROUP];
    for (int k = 0; k < n_rows; k++) rows[k] = norm_pull_row(p, k);
    int64_t i = 0;
    for (; i + V16_LANES <= n; i += V16_LANES) {
        norm_fetch_all(p, dtype, next + i * n_rows / 2, n_rows * V16_LANES / 2);
        norm_add_terms(p, rows, dtype, n_rows, i, V16_LANES, &sum);
    }
    if (i < n) norm_add_terms(p, rows, dtype, n_rows, i, n - i, &sum);
    for (int k = 0; k < n_rows; k++) {
        if (NORM_HAS_MEAN) out->g[k] = v16_sum(sum.g[k]) / (float)n;
        out->gh[k] = v16_sum(sum.gh[k]) / (float)n;
    }
}

typedef struct norm_pulled { /* one row of those that dx is made of */
    norm_row row;
    int k;
    float mean_g, mean_gh;
} norm_pulled;

V16_INLINE norm_pulled norm_pulled_of(const norm_pull *p, const norm_means *means, int k) {
    return (norm_pulled){norm_pull_row(p, k), k, NORM_HAS_MEAN ? means->g[k] : 0, means->gh[k]};
}

/* h and g once more: a row is nearer in its own type than as f32. */
V16_INLINE v16 norm_pull_one(const norm_pull *p, ls_dtype dtype, norm_pulled r, int has_residual,
                             int64_t i, int64_t lanes) {
    const v16 h = norm_unit(p->x, dtype, r.row, i, lanes);
    const v16 g = norm_rounded(norm_up(p, dtype, r.k, i, lanes) * v16_load_f32(p->gamma + i));
    const v16 dx = r.row.rstd * ((NORM_HAS_MEAN ? g - r.mean_g : g) - h * r.mean_gh);
    if (!has_residual) return dx;
    return norm_rounded(norm_as(dtype, dx)) +
           v16_read_n(p->residual, dtype, r.row.at + i, lanes, 0);
}

/* One row after the other, two vectors at a time; fetches the second half of the next group. */
V16_INLINE void norm_pull_rows(const norm_pull *p, const norm_means *means, ls_dtype dtype,
                               int has_residual) {
    const int64_t n = p->n, next = (p->first + p->n_rows) * n + p->n_rows * n / 2;
    for (int k = 0; k < p->n_rows; k++) {
        const norm_pulled r = norm_pulled_of(p, means, k);
        for (int64_t i = 0; i + 2 * V16_LANES <= n; i += 2 * V16_LANES) {
            norm_fetch_all(p, dtype, next + (k * n + i) / 2, V16_LANES);
            norm_store_two(
                p->to, dtype, r.row.at + i, norm_pull_one(p, dtype, r, has_residual, i, V16_LANES),
                norm_pull_one(p, dtype, r, has_residual, i + V16_LANES, V16_LANES), p->stream);
        }
    }
}

/* What is left of every row behind the last two whole vectors. */
V16_INLINE void norm_pull_rest(const norm_pull *p, const norm_means *means, ls_dtype dtype) {
    const int64_t n = p->n, begin = n - n % (2 * V16_LANES), whole = n - n % V16_LANES;
    const int has_residual = p->residual != NULL;
    for (int k = 0; k < p->n_rows; k++) {
        const norm_pulled r = norm_pulled_of(p, means, k);
        if (begin < whole)
            v16_write(p->to, dtype, r.row.at + begin,
                      norm_pull_one(p, dtype, r, has_residual, begin, V16_LANES));
        if (whole < n)
            v16_write_n(p->to, dtype, r.row.at + whole,
                        norm_pull_one(p, dtype, r, has_residual, whole, n - whole), n - whole);
    }
}

/* Of a group: `more` is job->n_more, or 0 where that is a constant. */
typedef struct norm_place {
    int worker, n_rows;
    int64_t first;
} norm_place;

#define NORM_SUM(form, dtype, rows, more)                                                       \
    NORM_APART sum_##form(const norm_job *job, norm_place at, float *part, norm_means *means) { \
        const norm_pull p = norm_pull_of(job, at.worker, at.first, rows, more);                 \
        norm_pull_sums(&p, dtype, rows, part, means);                                           \
    }
#define NORM_PULL(form, dtype, has_residual, more)                                        \
    NORM_APART pull_##form(const norm_job *job, norm_place at, const norm_means *means) { \
        const norm_pull p = norm_pull_of(job, at.worker, at.first, at.n_rows, more);      \
        norm_pull_rows(&p, means, dtype, has_residual);                                   \
    }
#define NORM_BACKWARD(word, dtype)                                                             \
    NORM_APART add_dy_##word(const norm_job *job, norm_place at) {                             \
        const norm_pull p = norm_pull_of(job, at.worker, at.first, at.n_rows, job->n_more);    \
        norm_add_dy(&p, dtype);                                                                \
    }                                                                                          \
    NORM_SUM(word##_row, dtype, 1, 0)                                                          \
    NORM_SUM(word##_of_sums_row, dtype, 1, job->n_more)                                        \
    NORM_PULL(word, dtype, 0, 0)                                                               \
    NORM_PULL(word##_residual, dtype, 1, 0)                                                    \
    NORM_PULL(word##_of_sums, dtype, 0, job->n_more)                                           \
    NORM_PULL(word##_of_sums_residual, dtype, 1, job->n_more)                                  \
    NORM_APART pull_rest_##word(const norm_job *job, norm_place at, const norm_means *means) { \
        const norm_pull p = norm_pull_of(job, at.worker, at.first, at.n_rows, job->n_more);    \
        norm_pull_rest(&p, means, dtype);                                                      \
    }
#define NORM_BACKWARD_ROWS(word, dtype)              \
    NORM_SUM(word##_rows, dtype, NORM_GRAD_GROUP, 0) \
    NORM_SUM(word##_of_sums_rows, dtype, NORM_GRAD_GROUP, job->n_more)

NORM_OF_DTYPES(NORM_BACKWARD)
NORM_OF_DTYPES_IN_ROWS(NORM_BACKWARD_ROWS)

typedef void (*norm_sum_fn)(const norm_job *job, norm_place at, float *part, norm_means *means);
typedef void (*norm_pull_fn)(const norm_job *job, norm_place at, const norm_means *means);
typedef struct
    norm_backward { /* of a dtype; first index: dy is a sum; second: there is a residual */
    void (*add_dy)(const norm_job *job, norm_place at);
    norm_sum_fn sum_row[2], sum_rows[2];
    norm_pull_fn pull[2][2], pull_rest;
} norm_backward;
#define NORM_BACKWARD_OF(word)                                         \
    {                                                                  \
        add_dy_##word, {sum_##word##_row, sum_##word##_of_sums_row},   \
            {NORM_ROWS(sum_##word), NORM_ROWS(sum_##word##_of_sums)},  \
            {{pull_##word, pull_##word##_residual},                    \
             {pull_##word##_of_sums, pull_##word##_of_sums_residual}}, \
            pull_rest_##word                                           \
    }

static inline void differentiate_group(const norm_job *job, norm_place at,
                                       const norm_backward *form, float *part) {
    const int of_sums = job->n_more > 0;
    norm_means means;
    if (of_sums) form->add_dy(job, at);
    (at.n_rows > 1 ? form->sum_rows : form->sum_row)[of_sums](job, at, part, &means);
    form->pull[of_sums][job->residual != NULL](job, at, &means);
    if (job->n % (2 * V16_LANES)) form->pull_rest(job, at, &means);
}

static inline const norm_backward *norm_backward_of(ls_dtype dtype) {
    static const norm_backward f32 = NORM_BACKWARD_OF(f32), bf16 = NORM_BACKWARD_OF(bf16),
                               f16 = NORM_BACKWARD_OF(f16);
    if (NORM_BF16_ONLY || dtype == LS_DTYPE_BF16) return &bf16;
    return dtype == LS_DTYPE_F32 ? &f32 : &f16;
}

/* x, dy and dx of one dtype. */
static inline ls_status differentiate_block(void *user, int64_t task, int worker) {
    const norm_job *job = user;
    const norm_backward *form = norm_backward_of(job->x->dtype);
    const int64_t end = norm_block_end(job, task);
    float *part = job->parts + task * 2 * job->n_pad;
    norm_place at = {worker, NORM_GRAD_GROUP, task * LS_NORM_ROW_BLOCK};
    memset(part, 0, sizeof(float) * (size_t)(2 * job->n_pad));
    for (; at.first + at.n_rows <= end; at.first += at.n_rows)
        differentiate_group(job, at, form, part);
    for (at.n_rows = 1; at.first < end; at.first++) differentiate_group(job, at, form, part);
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

#endif
