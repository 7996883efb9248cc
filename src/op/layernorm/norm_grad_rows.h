/* The row loops of layernorm_grad and rmsnorm_grad, as op/layernorm/norm_rows.h has them of the ops. For kernel files only.
 *
 * h = (x - mean) * rstd, g = dy * gamma; dx = rstd * (g - mean(g) - h mean(g h)). Sums over rows (dgamma, dbeta) are taken in row order
 * inside a block and in tree order over blocks.
 *
 * A row is read twice: for its means, and for dx. One loop writes dx of a row and sums the next one, vector by vector, so that operands and
 * result are walked in the order of memory, all the time, and what waits for a sum has other work beside it. Rows two or four at a time
 * (each sum over rows is loaded and stored less often) were slower: the walks of several rows are none that a processor foresees. */
#ifndef LS_OP_LAYERNORM_NORM_GRAD_ROWS_H
#define LS_OP_LAYERNORM_NORM_GRAD_ROWS_H
#include "op/layernorm/norm_rows.h"

/* Results of this many bytes and more have operands that are asked for ahead: smaller ones lie in caches that a processor foresees alone. */
enum { NORM_GRAD_FETCH_BYTES = 8 << 20 };

/* What a store to the dtype and a load would leave of x. */
V16_INLINE v16 norm_as(ls_dtype dtype, v16 x) {
    if (dtype == LS_DTYPE_BF16) return v16_round_bf16(x);
    return dtype == LS_DTYPE_F16 ? v16_from_f16(v16_to_f16(x)) : x;
}

/* The same of two vectors. */
V16_INLINE void norm_as_two(ls_dtype dtype, v16 *low, v16 *high) {
#ifdef __AVX512BF16__
    enum { SUBNORMAL = 0x20 }; /* which the instruction takes for zero */
    const __mmask16 few = _kor_mask16(_mm512_fpclass_ps_mask((__m512)*low, SUBNORMAL),
                                      _mm512_fpclass_ps_mask((__m512)*high, SUBNORMAL));
    if (dtype == LS_DTYPE_BF16 && __builtin_expect(!few, 1)) {
        const __m512i upper =
            _mm512_set_epi16(31, 0, 30, 0, 29, 0, 28, 0, 27, 0, 26, 0, 25, 0, 24, 0, 23, 0, 22, 0,
                             21, 0, 20, 0, 19, 0, 18, 0, 17, 0, 16, 0);
        const __m512i both = (__m512i)_mm512_cvtne2ps_pbh((__m512)*high, (__m512)*low);
        *low = v16_widen_bf16((v16h)_mm512_castsi512_si256(both));
        *high = (v16)_mm512_maskz_permutexvar_epi16(0xaaaaaaaau, upper, both);
        return;
    }
#endif
    *low = norm_as(dtype, *low);
    *high = norm_as(dtype, *high);
}

/* What the passes over a block's rows need of the job: a local of its own, as norm_walk is. */
typedef struct norm_pull {
    const char *x;
    const ls_tensor *dy; /* [1 + n_more] */
    const void *only_dy; /* the first */
    int n_more, stream, fetches;
    const void *residual;
    const float *gamma, *mean, *rstd;
    char *to;
    float *dgamma, *dbeta; /* the block's sums */
    float *up, *h;         /* of the row that dx is made of, where they are kept */
    int64_t n;
} norm_pull;

V16_INLINE norm_row norm_pull_row(const norm_pull *p, int64_t row) {
    return (norm_row){row * p->n, NORM_HAS_MEAN ? p->mean[row] : 0, p->rstd[row]};
}

typedef struct norm_sums { /* of g and of g h over a row */
    v16 g, gh;
} norm_sums;

typedef struct norm_means {
    float g, gh;
} norm_means;

V16_INLINE norm_means norm_means_of(const norm_pull *p, const norm_sums *sum) {
    const float n = (float)p->n;
    return (norm_means){NORM_HAS_MEAN ? v16_sum(sum->g) / n : 0, v16_sum(sum->gh) / n};
}

/* Whether h and dy are kept as f32 between a row's two readings, where there is room for it: where conversions bind, not stores. */
V16_INLINE int norm_keeps(ls_dtype dtype, int has_residual) {
    return NORM_GRAD_GROUP > 1 &&
           (dtype == LS_DTYPE_F16 || (dtype == LS_DTYPE_BF16 && has_residual));
}

/* A form of the loops: constants where these are inlined, but for the number of further terms of dy. */
typedef struct norm_form {
    ls_dtype dtype;
    int has_residual, n_more, keeps, keeps_up;
} norm_form;

V16_INLINE norm_form norm_form_of(ls_dtype dtype, int has_residual, int n_more) {
    const int keeps = norm_keeps(dtype, has_residual);
    return (norm_form){dtype, has_residual, n_more, keeps, keeps || n_more > 0};
}

typedef struct norm_vector { /* of a row: h, dy and g */
    v16 h, up, g;
} norm_vector;

/* From memory. */
V16_INLINE norm_vector norm_first(const norm_pull *p, norm_form f, norm_row row, int64_t i,
                                  int64_t lanes) {
    v16 up = v16_read_n(p->only_dy, f.dtype, row.at + i, lanes, 0);
    for (int m = 1; m <= f.n_more; m++)
        up = norm_as(f.dtype, up + v16_read_n(p->dy[m].data, f.dtype, row.at + i, lanes, 0));
    return (norm_vector){norm_unit(p->x, f.dtype, row, i, lanes), up,
                         norm_rounded(up * v16_load_f32(p->gamma + i))};
}

V16_INLINE void norm_keep(const norm_pull *p, norm_form f, const norm_vector *v, int64_t i) {
    if (f.keeps_up) v16_store_f32(p->up + i, v->up);
    if (f.keeps) v16_store_f32(p->h + i, v->h);
}

/* Once more; the sum of several terms of dy was kept. */
V16_INLINE norm_vector norm_again(const norm_pull *p, norm_form f, norm_row row, int64_t i,
                                  int64_t lanes) {
    v16 h, up;
    if (f.keeps)
        h = v16_load_f32(p->h + i);
    else
        h = norm_unit(p->x, f.dtype, row, i, lanes);
    if (f.keeps_up)
        up = v16_load_f32(p->up + i);
    else
        up = v16_read_n(p->only_dy, f.dtype, row.at + i, lanes, 0);
    return (norm_vector){h, up, norm_rounded(up * v16_load_f32(p->gamma + i))};
}

V16_INLINE void norm_sum(norm_sums *sum, const norm_vector *v) {
    if (NORM_HAS_MEAN) sum->g += v->g;
    sum->gh += v->g * v->h;
}

typedef struct norm_terms { /* of the block's sums */
    v16 gamma, beta;
} norm_terms;

V16_INLINE norm_terms norm_add_terms(const norm_pull *p, const norm_vector *v, int64_t i) {
    norm_terms sum = {v16_load_f32(p->dgamma + i) + v->up * v->h, v16_set(0)};
    if (NORM_HAS_MEAN) sum.beta = v16_load_f32(p->dbeta + i) + v->up;
    return sum;
}

V16_INLINE void norm_store_terms(const norm_pull *p, const norm_terms *sum, int64_t i) {
    v16_store_f32(p->dgamma + i, sum->gamma);
    if (NORM_HAS_MEAN) v16_store_f32(p->dbeta + i, sum->beta);
}

typedef struct norm_pulled { /* the row that dx is made of */
    norm_row row;
    norm_means mean;
} norm_pulled;

/* dx without the residual. */
V16_INLINE v16 norm_dx(const norm_pulled *r, const norm_vector *v) {
    return r->row.rstd * ((NORM_HAS_MEAN ? v->g - r->mean.g : v->g) - v->h * r->mean.gh);
}

V16_INLINE v16 norm_plus_residual(const norm_pull *p, ls_dtype dtype, v16 dx, int64_t at,
                                  int64_t lanes) {
    return norm_rounded(dx) + v16_read_n(p->residual, dtype, at, lanes, 0);
}

/* Asks for n elements of every operand a page ahead of `at`, which is where a processor's own foresight ends. What lies past the end is asked
 * for in vain. */
V16_INLINE void norm_fetch_ahead(const norm_pull *p, norm_form f, int64_t at, int64_t n) {
    enum { PAGE = 4096 };
    const int64_t ahead = at + PAGE / (f.dtype == LS_DTYPE_F32 ? 4 : 2);
    norm_fetch_range(p->x, f.dtype, ahead, n);
    norm_fetch_range(p->only_dy, f.dtype, ahead, n);
    for (int m = 1; m <= f.n_more; m++) norm_fetch_range(p->dy[m].data, f.dtype, ahead, n);
    if (f.has_residual) norm_fetch_range(p->residual, f.dtype, ahead, n);
}

/* norm_store_two, f16 past the caches by whole lines: other stores are under way between them. */
V16_INLINE void norm_store_both(void *to, ls_dtype dtype, int64_t at, v16 low, v16 high,
                                int stream) {
#ifdef __AVX512F__
    if (dtype == LS_DTYPE_F16 && stream) {
        const __m512i both = _mm512_castsi256_si512((__m256i)v16_to_f16(low));
        _mm512_stream_si512((void *)((uint16_t *)to + at),
                            _mm512_inserti64x4(both, (__m256i)v16_to_f16(high), 1));
        return;
    }
#endif
    norm_store_two(to, dtype, at, low, high, stream);
}

/* Two whole vectors of both rows. All is read before anything is written: a load has not to wait for a store before it to what may be its
 * place, as far as the lower bits of addresses tell (rows of 4 KiB). */
V16_INLINE void norm_pull_two(const norm_pull *p, norm_form f, const norm_pulled *now,
                              norm_row next, int64_t i, norm_sums *sum) {
    const int64_t j = i + V16_LANES, at = now->row.at + i;
    const norm_vector now_i = norm_again(p, f, now->row, i, V16_LANES);
    const norm_vector now_j = norm_again(p, f, now->row, j, V16_LANES);
    const norm_terms terms_i = norm_add_terms(p, &now_i, i), terms_j = norm_add_terms(p, &now_j, j);
    const norm_vector next_i = norm_first(p, f, next, i, V16_LANES);
    const norm_vector next_j = norm_first(p, f, next, j, V16_LANES);
    v16 low = norm_dx(now, &now_i), high = norm_dx(now, &now_j);
    norm_sum(sum, &next_i);
    norm_sum(sum, &next_j);
    if (f.has_residual) {
        norm_as_two(f.dtype, &low, &high);
        low = norm_plus_residual(p, f.dtype, low, at, V16_LANES);
        high = norm_plus_residual(p, f.dtype, high, at + V16_LANES, V16_LANES);
    }
    norm_keep(p, f, &next_i, i);
    norm_keep(p, f, &next_j, j);
    norm_store_terms(p, &terms_i, i);
    norm_store_terms(p, &terms_j, j);
    norm_store_both(p->to, f.dtype, at, low, high, p->stream);
}

/* The last vectors of both rows, of which there are not two whole ones. */
V16_INLINE void norm_pull_rest(const norm_pull *p, norm_form f, const norm_pulled *now,
                               norm_row next, int64_t i, norm_sums *sum) {
    const int64_t left = p->n - i, lanes = left < V16_LANES ? left : V16_LANES;
    const int64_t at = now->row.at + i;
    const norm_vector v = norm_again(p, f, now->row, i, lanes);
    const norm_vector w = norm_first(p, f, next, i, lanes);
    const norm_terms terms = norm_add_terms(p, &v, i);
    v16 dx = norm_dx(now, &v);
    norm_sum(sum, &w);
    if (f.has_residual) dx = norm_plus_residual(p, f.dtype, norm_as(f.dtype, dx), at, lanes);
    norm_keep(p, f, &w, i);
    norm_store_terms(p, &terms, i);
    v16_write_n(p->to, f.dtype, at, dx, lanes);
}

/* dx of row `now`; returns the means of row `next`. */
V16_INLINE norm_means norm_pull_rows(const norm_pull *p, norm_form f, norm_pulled now,
                                     norm_row next) {
    norm_sums sum = {{0}, {0}};
    int64_t i = 0;
    for (; i + 2 * V16_LANES <= p->n; i += 2 * V16_LANES) {
        if (p->fetches) norm_fetch_ahead(p, f, next.at + i, 2 * V16_LANES);
        norm_pull_two(p, f, &now, next, i, &sum);
    }
    for (; i < p->n; i += V16_LANES) norm_pull_rest(p, f, &now, next, i, &sum);
    return norm_means_of(p, &sum);
}

/* The means of a block's first row. */
V16_INLINE norm_means norm_sum_row(const norm_pull *p, norm_form f, norm_row row) {
    norm_sums sum = {{0}, {0}};
    for (int64_t i = 0; i < p->n; i += V16_LANES) {
        const int64_t left = p->n - i, lanes = left < V16_LANES ? left : V16_LANES;
        const norm_vector v = norm_first(p, f, row, i, lanes);
        norm_sum(&sum, &v);
        norm_keep(p, f, &v, i);
    }
    return norm_means_of(p, &sum);
}

/* One function a form, as forward; `more` is the number of further terms of dy, or 0 where that is a constant. `mean` is that of row `now` and
 * becomes that of row `next`. */
#define NORM_SUM(form, dtype, more)                                                     \
    NORM_APART sum_##form(const norm_pull *from, int64_t row, norm_means *mean) {       \
        const norm_pull p = *from;                                                      \
        *mean = norm_sum_row(&p, norm_form_of(dtype, 1, more), norm_pull_row(&p, row)); \
    }
#define NORM_PULL(form, dtype, has_residual, more)                                               \
    NORM_APART pull_##form(const norm_pull *from, int64_t now, int64_t next, norm_means *mean) { \
        const norm_pull p = *from;                                                               \
        const norm_pulled r = {norm_pull_row(&p, now), *mean};                                   \
        *mean = norm_pull_rows(&p, norm_form_of(dtype, has_residual, more), r,                   \
                               norm_pull_row(&p, next));                                         \
    }
#define NORM_BACKWARD(word, dtype)                \
    NORM_SUM(word, dtype, 0)                      \
    NORM_SUM(word##_of_sums, dtype, p.n_more)     \
    NORM_PULL(word, dtype, 0, 0)                  \
    NORM_PULL(word##_residual, dtype, 1, 0)       \
    NORM_PULL(word##_of_sums, dtype, 0, p.n_more) \
    NORM_PULL(word##_of_sums_residual, dtype, 1, p.n_more)

NORM_OF_DTYPES(NORM_BACKWARD)

typedef void (*norm_sum_fn)(const norm_pull *p, int64_t row, norm_means *mean);
typedef void (*norm_pull_fn)(const norm_pull *p, int64_t now, int64_t next, norm_means *mean);
typedef struct
    norm_backward { /* of a dtype; first index: dy is a sum; second: there is a residual */
    norm_sum_fn sum[2];
    norm_pull_fn pull[2][2];
} norm_backward;
#define NORM_BACKWARD_OF(word)                                        \
    {                                                                 \
        {sum_##word, sum_##word##_of_sums}, {                         \
            {pull_##word, pull_##word##_residual}, {                  \
                pull_##word##_of_sums, pull_##word##_of_sums_residual \
            }                                                         \
        }                                                             \
    }

static inline const norm_backward *norm_backward_of(ls_dtype dtype) {
    static const norm_backward f32 = NORM_BACKWARD_OF(f32), bf16 = NORM_BACKWARD_OF(bf16),
                               f16 = NORM_BACKWARD_OF(f16);
    if (NORM_BF16_ONLY || dtype == LS_DTYPE_BF16) return &bf16;
    return dtype == LS_DTYPE_F32 ? &f32 : &f16;
}

static inline norm_pull norm_pull_of(const norm_job *job, int64_t block, int worker) {
    float *part = job->parts + block * 2 * job->n_pad;
    return (norm_pull){.x = job->x->data,
                       .dy = job->dy,
                       .only_dy = job->dy->data,
                       .n_more = job->n_more,
                       .stream = job->stream,
                       .fetches = ls_tensor_bytes(job->dx) >= NORM_GRAD_FETCH_BYTES,
                       .residual = job->residual ? job->residual->data : NULL,
                       .gamma = job->gamma,
                       .mean = NORM_HAS_MEAN ? job->mean->data : NULL,
                       .rstd = job->rstd->data,
                       .to = job->dx->data,
                       .dgamma = part,
                       .dbeta = part + job->n_pad,
                       .up = job->rows + worker * NORM_GRAD_GROUP * job->n_pad,
                       .h = job->rows + (worker * NORM_GRAD_GROUP + 1) * job->n_pad,
                       .n = job->n};
}

/* x, dy and dx of one dtype. The last row stands in for the one behind it: its means are taken once more, in vain. */
static inline ls_status differentiate_block(void *user, int64_t task, int worker) {
    const norm_job *job = user;
    const norm_backward *form = norm_backward_of(job->x->dtype);
    const norm_pull p = norm_pull_of(job, task, worker);
    const norm_pull_fn pull = form->pull[p.n_more > 0][p.residual != NULL];
    const int64_t first = task * LS_NORM_ROW_BLOCK, last = norm_block_end(job, task) - 1;
    norm_means mean;
    memset(p.dgamma, 0, sizeof(float) * (size_t)(2 * job->n_pad));
    form->sum[p.n_more > 0](&p, first, &mean);
    for (int64_t row = first; row <= last; row++) pull(&p, row, row < last ? row + 1 : last, &mean);
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
