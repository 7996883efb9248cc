/* The vector part of op/reduce/reduce_cpu.h, for *_cpu.c files. */
#ifndef LS_OP_REDUCE_TILE_H
#define LS_OP_REDUCE_TILE_H
#include "op/reduce/reduce_cpu.h"
#include "op/simd_bf16.h"
#include "op/tile.h"

enum { REDUCE_COLUMNS = 2048, REDUCE_TASK_ELEMENTS = 16384 };

typedef struct reduce_job {
    const ls_tensor *x, *y;
    float *partial; /* [outer, blocks, inner]; unused with one block */
    ls_dim_view view;
    int64_t blocks;
    int64_t lines_per_task; /* inner is 1 and one block: outer lines in a task */
    ls_reduce_kind kind;
} reduce_job;

V16_INLINE v16 reduce_pair(ls_reduce_kind kind, v16 a, v16 b) {
    return kind == LS_REDUCE_MAX ? v16_max(a, b) : a + b;
}
static inline float reduce_identity(ls_reduce_kind kind) {
    return kind == LS_REDUCE_MAX ? -INFINITY : 0.0f;
}
static inline float reduce_scale(const reduce_job *job) {
    return job->kind == LS_REDUCE_MEAN ? (float)(1.0 / (double)job->view.n) : 1.0f;
}

/* n elements at `at` to one: four vector accumulators, then lanes. */
V16_INLINE float reduce_run(const ls_tensor *x, int64_t at, int64_t n, ls_reduce_kind kind) {
    const float rest = reduce_identity(kind);
    v16 acc[4] = {v16_set(rest), v16_set(rest), v16_set(rest), v16_set(rest)};
    int64_t i = 0;
    for (; i + 4 * V16_LANES <= n; i += 4 * V16_LANES)
        for (int k = 0; k < 4; k++)
            acc[k] = reduce_pair(kind, acc[k], v16_load(x->data, x->dtype, at + i + k * V16_LANES));
    for (int k = 0; i < n; k++, i += V16_LANES) {
        const int64_t left = n - i < V16_LANES ? n - i : V16_LANES;
        acc[k] = reduce_pair(kind, acc[k], v16_load_n(x->data, x->dtype, at + i, left, rest));
    }
    const v16 all =
        reduce_pair(kind, reduce_pair(kind, acc[0], acc[1]), reduce_pair(kind, acc[2], acc[3]));
    return kind == LS_REDUCE_MAX ? v16_max_of(all) : v16_sum(all);
}

static inline float reduce_line_block(const reduce_job *job, int64_t line, int64_t block) {
    const int64_t from = block * REDUCE_LINE, left = job->view.n - from;
    const int64_t n = left < REDUCE_LINE ? left : REDUCE_LINE, at = line * job->view.n + from;
    return job->kind == LS_REDUCE_MAX ? reduce_run(job->x, at, n, LS_REDUCE_MAX)
                                      : reduce_run(job->x, at, n, LS_REDUCE_SUM);
}

/* inner 1, one block a line: whole lines to y. */
static inline ls_status run_lines(void *user, int64_t task, int worker) {
    const reduce_job *job = user;
    const int64_t begin = task * job->lines_per_task, end = begin + job->lines_per_task;
    (void)worker;
    for (int64_t line = begin; line < end && line < job->view.outer; line++)
        v16_store_n(job->y->data, job->y->dtype, line,
                    v16_set(reduce_line_block(job, line, 0) * reduce_scale(job)), 1);
    return LS_OK;
}

/* inner 1, many blocks: task = line * blocks + block. */
static inline ls_status run_line_block(void *user, int64_t task, int worker) {
    const reduce_job *job = user;
    (void)worker;
    job->partial[task] = reduce_line_block(job, task / job->blocks, task % job->blocks);
    return LS_OK;
}

/* The whole vectors of one row from `at` on. dtype and kind are constants where this is inlined. */
V16_INLINE void reduce_row(const void *data, ls_dtype dtype, int64_t at, int64_t n,
                           ls_reduce_kind kind, float *acc) {
    for (int64_t j = 0; j + V16_LANES <= n; j += V16_LANES)
        v16_store_f32(acc + j,
                      reduce_pair(kind, v16_load_f32(acc + j), v16_read(data, dtype, at + j)));
}

/* The vectors of a block that are whole, in the order of memory: rows walked side by side, as a compiler would have them, come from memory
 * at half the rate. Returns the columns that are done. */
V16_INLINE int64_t reduce_whole(const reduce_job *job, ls_dtype dtype, int64_t at, int64_t n_rows,
                                int64_t n, ls_reduce_kind kind, float *acc) {
    const void *data = job->x->data;
    const int64_t stride = job->view.inner, whole = n / V16_LANES * V16_LANES;
    for (int64_t j = 0; j < whole; j++) acc[j] = reduce_identity(kind);
    for (int64_t r = 0; r < n_rows; r++) {
        reduce_row(data, dtype, at + r * stride, whole, kind, acc);
        __asm__ volatile("" ::: "memory");
    }
    return whole;
}

/* REDUCE_ROWS rows of REDUCE_COLUMNS columns to acc (padded with the identity). */
V16_INLINE void reduce_rows_block(const reduce_job *job, int64_t first_row, int64_t n_rows,
                                  int64_t column, int64_t n, ls_reduce_kind kind, float *acc) {
    const ls_tensor *x = job->x;
    const int64_t inner = job->view.inner, at = first_row * inner + column;
    int64_t j;
    if (x->dtype == LS_DTYPE_F32)
        j = reduce_whole(job, LS_DTYPE_F32, at, n_rows, n, kind, acc);
    else if (x->dtype == LS_DTYPE_BF16)
        j = reduce_whole(job, LS_DTYPE_BF16, at, n_rows, n, kind, acc);
    else
        j = reduce_whole(job, LS_DTYPE_F16, at, n_rows, n, kind, acc);
    if (j == n) return;
    v16 sum = v16_set(reduce_identity(kind));
    for (int64_t r = 0; r < n_rows; r++)
        sum =
            reduce_pair(kind, sum, v16_load_n(x->data, x->dtype, at + r * inner + j, n - j, 0.0f));
    v16_store_f32(acc + j, sum);
}

/* inner > 1: task = (outer * blocks + block) * chunks + column chunk. */
static inline ls_status run_row_block(void *user, int64_t task, int worker) {
    const reduce_job *job = user;
    const ls_dim_view *v = &job->view;
    const int64_t chunks = (v->inner + REDUCE_COLUMNS - 1) / REDUCE_COLUMNS;
    const int64_t column = task % chunks * REDUCE_COLUMNS, part = task / chunks;
    const int64_t outer = part / job->blocks, row = part % job->blocks * REDUCE_ROWS;
    const int64_t n = v->inner - column < REDUCE_COLUMNS ? v->inner - column : REDUCE_COLUMNS;
    const int64_t n_rows = v->n - row < REDUCE_ROWS ? v->n - row : REDUCE_ROWS;
    float acc[REDUCE_COLUMNS] __attribute__((aligned(64)));
    (void)worker;
    if (job->kind == LS_REDUCE_MAX)
        reduce_rows_block(job, outer * v->n + row, n_rows, column, n, LS_REDUCE_MAX, acc);
    else
        reduce_rows_block(job, outer * v->n + row, n_rows, column, n, LS_REDUCE_SUM, acc);
    if (job->blocks > 1) {
        memcpy(job->partial + part * v->inner + column, acc, (size_t)n * sizeof *acc);
        return LS_OK;
    }
    for (int64_t j = 0; j < n; j += V16_LANES)
        v16_store_f32(acc + j, v16_load_f32(acc + j) * reduce_scale(job));
    row_store(job->y->data, job->y->dtype, outer * v->inner + column, acc, n);
    return LS_OK;
}

/* Tree over the blocks of REDUCE_COLUMNS columns, then to y. Works in the partial results. */
static inline ls_status run_tree(void *user, int64_t task, int worker) {
    const reduce_job *job = user;
    const int64_t inner = job->view.inner, chunks = (inner + REDUCE_COLUMNS - 1) / REDUCE_COLUMNS;
    const int64_t column = task % chunks * REDUCE_COLUMNS, outer = task / chunks;
    const int64_t n = inner - column < REDUCE_COLUMNS ? inner - column : REDUCE_COLUMNS;
    float *partial = job->partial + outer * job->blocks * inner + column;
    (void)worker;
    for (int64_t step = 1; step < job->blocks; step *= 2)
        for (int64_t b = 0; b + step < job->blocks; b += 2 * step)
            for (int64_t j = 0; j < n; j += V16_LANES) {
                const int64_t left = n - j < V16_LANES ? n - j : V16_LANES;
                float *to = partial + b * inner + j;
                const v16 sum = reduce_pair(job->kind, v16_load_f32_n(to, left, 0.0f),
                                            v16_load_f32_n(to + step * inner, left, 0.0f));
                v16_store_f32_n(to, sum, left);
            }
    for (int64_t j = 0; j < n; j += V16_LANES) {
        const int64_t left = n - j < V16_LANES ? n - j : V16_LANES;
        v16_store_n(job->y->data, job->y->dtype, outer * inner + column + j,
                    v16_load_f32_n(partial + j, left, 0.0f) * reduce_scale(job), left);
    }
    return LS_OK;
}

static inline ls_status run_reduce(ls_pool *pool, reduce_job *job) {
    const ls_dim_view *v = &job->view;
    const int64_t chunks = (v->inner + REDUCE_COLUMNS - 1) / REDUCE_COLUMNS;
    job->blocks = ls_reduce_blocks(v);
    if (job->blocks == 0) job->blocks = 1; /* an empty sum: one block of nothing */
    if (v->inner == 1 && job->blocks == 1) {
        job->lines_per_task = REDUCE_TASK_ELEMENTS / (v->n + 1) + 1;
        return ls_pool_run(pool, (v->outer + job->lines_per_task - 1) / job->lines_per_task,
                           run_lines, job);
    }
    if (v->inner == 1)
        LS_TRY(ls_pool_run(pool, v->outer * job->blocks, run_line_block, job));
    else
        LS_TRY(ls_pool_run(pool, v->outer * job->blocks * chunks, run_row_block, job));
    return job->blocks > 1 ? ls_pool_run(pool, v->outer * chunks, run_tree, job) : LS_OK;
}

#endif
