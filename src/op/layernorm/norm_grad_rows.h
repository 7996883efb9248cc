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

/* How dx is written. */
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

/* One row after the other, two vectors at a time; fetches the second half of the next group. */
V16_INLINE void norm_pull_rows(const norm_pull *p, norm_form form) {
    const int64_t n = p->x.n, first = p->x.first;
    const int64_t next = (first + form.n_rows) * n + form.n_rows * n / 2;
    for (int k = 0; k < form.n_rows; k++)
        for (int64_t i = 0; i + 2 * V16_LANES <= n; i += 2 * V16_LANES) {
            norm_fetch_all(p, form.dtype, next + (k * n + i) / 2, V16_LANES);
            norm_store_two(p->to, form.dtype, (first + k) * n + i,
                           norm_pull_one(p, form, k, i, V16_LANES),
                           norm_pull_one(p, form, k, i + V16_LANES, V16_LANES), form.stream);
        }
}

/* What is left of every row behind the last two whole vectors. */
V16_INLINE void norm_pull_rest(const norm_pull *p, norm_form form) {
    const int64_t n = p->x.n, begin = n - n % (2 * V16_LANES), whole = n - n % V16_LANES;
    for (int k = 0; k < form.n_rows; k++) {
        const int64_t at = (p->x.first + k) * n;
        if (begin < whole)
            v16_write(p->to, form.dtype, at + begin, norm_pull_one(p, form, k, begin, V16_LANES));
        if (whole < n)
            v16_write_n(p->to, form.dtype, at + whole, norm_pull_one(p, form, k, whole, n - whole),
                        n - whole);
    }
}

/* The sums of a group of rows, and their terms of the block's. */
V16_INLINE void norm_pull_sums(const norm_job *job, norm_pull *rows, ls_dtype dtype, int n_rows,
                               int n_more, float *part) {
    const int64_t n = job->n, first = rows->x.first;
    norm_terms sum = {part, part + job->n_pad, {{0}}, {{0}}};
    norm_pull p = *rows;
    p.n_more = n_more;
    int64_t i = 0;
    for (; i + V16_LANES <= n; i += V16_LANES) {
        norm_fetch_all(&p, dtype, (first + n_rows) * n + i * n_rows / 2, n_rows * V16_LANES / 2);
        norm_add_terms(&p, dtype, n_rows, i, V16_LANES, &sum);
    }
    if (i < n) norm_add_terms(&p, dtype, n_rows, i, n - i, &sum);
    for (int k = 0; k < n_rows; k++) {
        rows->mean_g[k] = job->mean ? v16_sum(sum.g[k]) / (float)n : 0;
        rows->mean_gh[k] = v16_sum(sum.gh[k]) / (float)n;
    }
}

/* n_more is 0, or not known; a pass works on a copy: a store through a vector pointer might change what others can reach. */
#define NORM_SUM(form, dtype, n_rows, more)                                 \
    NORM_APART sum_##form(const norm_job *job, norm_pull *p, float *part) { \
        norm_pull_sums(job, p, dtype, n_rows, more, part);                  \
    }
#define NORM_PULL(form, dtype, has_residual, more)                                   \
    NORM_APART pull_##form(const norm_job *job, const norm_pull *p, int n_rows) {    \
        norm_pull own = *p;                                                          \
        own.n_more = more;                                                           \
        norm_pull_rows(&own, (norm_form){dtype, n_rows, has_residual, job->stream}); \
    }
#define NORM_BACKWARD(word, dtype)                                             \
    NORM_APART add_dy_##word(const norm_pull *p, int n_rows) {                 \
        norm_add_dy(p, dtype, n_rows);                                         \
    }                                                                          \
    NORM_SUM(word##_row, dtype, 1, 0)                                          \
    NORM_SUM(word##_of_sums_row, dtype, 1, p->n_more)                          \
    NORM_PULL(word, dtype, 0, 0)                                               \
    NORM_PULL(word##_residual, dtype, 1, 0)                                    \
    NORM_PULL(word##_of_sums, dtype, 0, p->n_more)                             \
    NORM_PULL(word##_of_sums_residual, dtype, 1, p->n_more)                    \
    NORM_APART pull_rest_##word(const norm_pull *p, int n_rows) {              \
        norm_pull_rest(p, (norm_form){dtype, n_rows, p->residual != NULL, 0}); \
    }
#define NORM_BACKWARD_ROWS(word, dtype)         \
    NORM_SUM(word##_rows, dtype, NORM_GROUP, 0) \
    NORM_SUM(word##_of_sums_rows, dtype, NORM_GROUP, p->n_more)

NORM_OF_DTYPES(NORM_BACKWARD)
NORM_OF_DTYPES_IN_ROWS(NORM_BACKWARD_ROWS)

typedef struct norm_backward { /* of a dtype; first index: dy is a sum */
    void (*add_dy)(const norm_pull *p, int n_rows);
    void (*sum_row[2])(const norm_job *job, norm_pull *p, float *part);
    void (*sum_rows[2])(const norm_job *job, norm_pull *p, float *part);
    void (*pull[2][2])(const norm_job *job, const norm_pull *p,
                       int n_rows); /* second: a residual */
    void (*pull_rest)(const norm_pull *p, int n_rows);
} norm_backward;
#define NORM_BACKWARD_OF(word)                                         \
    {                                                                  \
        add_dy_##word, {sum_##word##_row, sum_##word##_of_sums_row},   \
            {NORM_ROWS(sum_##word), NORM_ROWS(sum_##word##_of_sums)},  \
            {{pull_##word, pull_##word##_residual},                    \
             {pull_##word##_of_sums, pull_##word##_of_sums_residual}}, \
            pull_rest_##word                                           \
    }

static inline void differentiate_group(const norm_job *job, norm_pull *p, int n_rows,
                                       const norm_backward *form, float *part) {
    const int of_sums = p->n_more > 0;
    for (int k = 0; k < n_rows; k++) {
        p->mean[k] = job->mean ? ((const float *)job->mean->data)[p->x.first + k] : 0;
        p->rstd[k] = ((const float *)job->rstd->data)[p->x.first + k];
    }
    if (of_sums) form->add_dy(p, n_rows);
    (n_rows > 1 ? form->sum_rows : form->sum_row)[of_sums](job, p, part);
    form->pull[of_sums][p->residual != NULL](job, p, n_rows);
    if (p->x.n % (2 * V16_LANES)) form->pull_rest(p, n_rows);
    p->x.first += n_rows;
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
    norm_pull p = {.x = norm_view_of(job->x, job->n, task * LS_NORM_ROW_BLOCK), .dy = job->dy};
    p.n_more = job->n_more;
    p.only_dy = job->dy->data;
    p.residual = job->residual ? job->residual->data : NULL;
    p.gamma = job->gamma;
    p.to = job->dx->data;
    p.n_pad = job->n_pad;
    p.up = job->rows + worker * NORM_GROUP * job->n_pad;
    memset(part, 0, sizeof(float) * (size_t)(2 * job->n_pad));
    while (p.x.first + NORM_GROUP <= end) differentiate_group(job, &p, NORM_GROUP, form, part);
    while (p.x.first < end) differentiate_group(job, &p, 1, form, part);
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
