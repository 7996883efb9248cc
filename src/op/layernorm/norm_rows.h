/* The row loops of layernorm and rmsnorm (rmsnorm is the case without a mean and without beta). For kernel files only.
 *
 * A task is LS_NORM_ROW_BLOCK rows; rows are independent. Sums over rows (dgamma, dbeta) are taken in row order inside a
 * block and in tree order over blocks. Workspace, floats: gamma, beta [n_pad] each; in backward n_blocks partial sums
 * [2][n_pad]; then two rows [n_pad] per worker. */
#ifndef LS_OP_LAYERNORM_NORM_ROWS_H
#define LS_OP_LAYERNORM_NORM_ROWS_H
#include "op/cpu_kernel.h"
#include "op/layernorm/layernorm.h"
#include "op/simd.h"

enum { LS_NORM_ROW_BLOCK = 64, NORM_COLUMN_BLOCK = 256 };

typedef struct norm_job {
    const ls_tensor *x, *dy;
    int n_more;                   /* backward: further terms of dy, behind it */
    const ls_tensor *residual;    /* backward: added to dx; NULL: none */
    const ls_tensor *mean, *rstd; /* backward; mean NULL: zero */
    ls_tensor *y, *mean_out, *rstd_out, *dx;
    float eps;
    float *gamma, *beta; /* beta NULL: none */
    float *parts;        /* [n_blocks][2][n_pad] */
    float *rows;         /* [n_workers][2][n_pad] */
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
    return (size_t)norm_pad(n) * (size_t)(2 + 2 * n_parts + 2 * n_threads) * sizeof(float);
}

/* Fills in the sizes and cuts up the workspace. */
static inline void norm_prepare(norm_job *job, const ls_launch *l, const ls_tensor *gamma,
                                const ls_tensor *beta, int64_t n_parts) {
    job->x = &l->in[0];
    job->n = ls_shape_count(&gamma->shape);
    job->n_pad = norm_pad(job->n);
    job->n_rows = ls_shape_count(&job->x->shape) / job->n;
    job->n_blocks = norm_blocks(job->n_rows);
    job->gamma = l->workspace;
    job->beta = beta ? job->gamma + job->n_pad : NULL;
    job->parts = job->gamma + 2 * job->n_pad;
    job->rows = job->parts + 2 * job->n_pad * n_parts;
    row_load(job->gamma, gamma->data, gamma->dtype, 0, job->n, 0);
    if (beta) row_load(job->beta, beta->data, beta->dtype, 0, job->n, 0);
}

static inline void norm_prepare_sums(norm_job *job, const ls_launch *l, const ls_norm_sums *sums) {
    job->n_more = sums->n_more;
    if (sums->has_residual) job->residual = &l->in[l->sig->n_in - 1];
}

static inline float row_sum(const float *row, int64_t n_pad) {
    v16 sum = v16_set(0);
    for (int64_t i = 0; i < n_pad; i += 16) sum += v16_load_f32(row + i);
    return v16_sum(sum);
}

static inline float row_sum_squares(const float *row, int64_t n_pad) {
    v16 sum = v16_set(0);
    for (int64_t i = 0; i < n_pad; i += 16) {
        const v16 x = v16_load_f32(row + i);
        sum += x * x;
    }
    return v16_sum(sum);
}

/* row -= mean, leaving the padding at zero. */
static inline void row_center(float *row, float mean, int64_t n, int64_t n_pad) {
    for (int64_t i = 0; i < n_pad; i += 16) v16_store_f32(row + i, v16_load_f32(row + i) - mean);
    for (int64_t i = n; i < n_pad; i++) row[i] = 0;
}

static inline void normalize_row(const norm_job *job, int64_t r, float *row) {
    const int64_t n = job->n, n_pad = job->n_pad;
    row_load(row, job->x->data, job->x->dtype, r * n, n, 0);
    if (job->mean_out) {
        const float mean = row_sum(row, n_pad) / (float)n;
        row_center(row, mean, n, n_pad);
        ((float *)job->mean_out->data)[r] = mean;
    }
    const float rstd = 1.0f / sqrtf(row_sum_squares(row, n_pad) / (float)n + job->eps);
    ((float *)job->rstd_out->data)[r] = rstd;
    for (int64_t i = 0; i < n_pad; i += 16) {
        const v16 unit = v16_load_f32(row + i) * rstd * v16_load_f32(job->gamma + i);
        v16_store_f32(row + i, job->beta ? unit + v16_load_f32(job->beta + i) : unit);
    }
    row_store(job->y->data, job->y->dtype, r * n, row, n);
}

static inline ls_status normalize_block(void *user, int64_t task, int worker) {
    const norm_job *job = user;
    const int64_t begin = task * LS_NORM_ROW_BLOCK, limit = begin + LS_NORM_ROW_BLOCK;
    float *row = job->rows + worker * 2 * job->n_pad;
    for (int64_t r = begin; r < limit && r < job->n_rows; r++) normalize_row(job, r, row);
    return LS_OK;
}

/* h = (x - mean) * rstd and dy in, dx out; the row's terms are added to dgamma and dbeta. */
static inline void differentiate_row(const norm_job *job, int64_t r, float *h, float *dy,
                                     float *part) {
    const int64_t n = job->n, n_pad = job->n_pad;
    const float mean = job->mean ? ((const float *)job->mean->data)[r] : 0;
    const float rstd = ((const float *)job->rstd->data)[r];
    row_load(h, job->x->data, job->x->dtype, r * n, n, 0);
    row_load(dy, job->dy->data, job->dy->dtype, r * n, n, 0);
    for (int k = 1; k <= job->n_more; k++) row_add(dy, job->dy[k].data, job->dy->dtype, r * n, n);
    v16 sum_g = v16_set(0), sum_gh = v16_set(0);
    for (int64_t i = 0; i < n_pad; i += 16) {
        const v16 unit = (v16_load_f32(h + i) - mean) * rstd, up = v16_load_f32(dy + i);
        const v16 g = up * v16_load_f32(job->gamma + i);
        v16_store_f32(part + i, v16_load_f32(part + i) + up * unit);
        v16_store_f32(part + n_pad + i, v16_load_f32(part + n_pad + i) + up);
        v16_store_f32(h + i, unit);
        v16_store_f32(dy + i, g);
        sum_g += g;
        sum_gh += g * unit;
    }
    const float mean_g = job->mean ? v16_sum(sum_g) / (float)n : 0;
    const float mean_gh = v16_sum(sum_gh) / (float)n;
    for (int64_t i = 0; i < n_pad; i += 16) {
        const v16 g = v16_load_f32(dy + i) - mean_g;
        v16_store_f32(h + i, rstd * (g - v16_load_f32(h + i) * mean_gh));
    }
    if (job->residual) {
        row_round(h, job->dx->dtype, n_pad);
        row_add(h, job->residual->data, job->dx->dtype, r * n, n);
    }
    row_store(job->dx->data, job->dx->dtype, r * n, h, n);
}

static inline ls_status differentiate_block(void *user, int64_t task, int worker) {
    const norm_job *job = user;
    const int64_t begin = task * LS_NORM_ROW_BLOCK, limit = begin + LS_NORM_ROW_BLOCK;
    float *row = job->rows + worker * 2 * job->n_pad, *part = job->parts + task * 2 * job->n_pad;
    for (int64_t i = 0; i < 2 * job->n_pad; i++) part[i] = 0;
    for (int64_t r = begin; r < limit && r < job->n_rows; r++)
        differentiate_row(job, r, row, row + job->n_pad, part);
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
    for (int i = 0; i < sig->n_in; i++)
        if (!v16_accepts(sig->in[i].dtype)) return "an input is not f32, bf16 or f16";
    for (int i = 0; i < sig->n_out; i++)
        if (!v16_accepts(sig->out[i].dtype)) return "a result is not f32, bf16 or f16";
    return NULL;
}

#endif
