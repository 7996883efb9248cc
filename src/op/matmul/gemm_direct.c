/* A few rows (decoding): B is read once, where it lies. Threads share its columns. */
#include "op/matmul/gemm_direct_run.h"

enum {
    ALIGN_BYTES = 64,
    WIDE_COLUMNS = 256, /* taken at a time by one pass */
    MOST_TASKS = 64,
    NARROW_COLUMNS = 64 /* by several: what they share stays in the second-level cache */
};

typedef struct direct_plan {
    ls_gemm_k_plan k;
    int64_t pass_rows, n_passes; /* rows of a pass: 1, 2, 4, 8 or 12 */
    int64_t step, n_tasks;       /* columns at a time, tasks of whole steps */
    int64_t pass_words;          /* of A: [k blocks][words][pass_rows] */
    size_t a_bytes, pack_bytes, tile_bytes, scratch_bytes;
} direct_plan;

typedef struct direct_job {
    const ls_gemm_engine *engine;
    const ls_gemm *gemm;
    direct_plan plan;
    uint32_t *a;
    char *scratch;
} direct_job;

int ls_gemm_is_direct(const ls_gemm_engine *e, const ls_gemm *g) {
    return e->direct && !g->packed_b && (e->direct_dtypes & LS_GEMM_DTYPE(g->b.dtype)) &&
           g->m > 0 && g->m <= e->direct_most[g->b.k_inner];
}

static int64_t choose_pass_rows(int64_t rows) {
    return rows <= 2 ? rows : rows <= 4 ? 4 : rows <= 8 ? 8 : 12;
}

/* A step for each task while there are few. Steps are not cut: fewer columns would not fill the registers. */
static int64_t count_tasks(int64_t n_steps, int n_threads) {
    return min_of(n_steps, round_up(MOST_TASKS, n_threads));
}

static direct_plan make_plan(const ls_gemm_engine *e, const ls_gemm *g, int n_threads) {
    direct_plan plan = {.k = ls_gemm_plan_k(e, g->k)};
    plan.n_passes = divide_up(g->m, e->direct_rows);
    plan.pass_rows = choose_pass_rows(divide_up(g->m, plan.n_passes));
    plan.step = plan.n_passes > 1 ? NARROW_COLUMNS : WIDE_COLUMNS;
    plan.n_tasks = count_tasks(divide_up(g->n, plan.step), n_threads);
    plan.pass_words = plan.k.n_blocks * plan.k.words * plan.pass_rows;
    plan.a_bytes = (size_t)round_up(plan.n_passes * plan.pass_words * WORD_BYTES, ALIGN_BYTES);
    plan.pack_bytes = (size_t)round_up(plan.k.words * e->mr * WORD_BYTES, ALIGN_BYTES);
    plan.tile_bytes = (size_t)(plan.pass_rows * plan.step) * sizeof(float);
    plan.scratch_bytes = 2 * plan.tile_bytes; /* a block's sums, those of the blocks before it */
    if (plan.scratch_bytes < plan.pack_bytes) plan.scratch_bytes = plan.pack_bytes;
    return plan;
}

size_t ls_gemm_direct_workspace_bytes(const ls_gemm_engine *engine, const ls_gemm *gemm,
                                      int n_threads) {
    const direct_plan plan = make_plan(engine, gemm, n_threads);
    return plan.a_bytes + (size_t)n_threads * plan.scratch_bytes;
}

static int64_t k_count(const direct_job *job, int64_t k_index) {
    return min_of(job->plan.k.k_block, job->gemm->k - k_index * job->plan.k.k_block);
}

static uint32_t *words_of(const direct_job *job, int64_t pass, int64_t k_index) {
    const direct_plan *plan = &job->plan;
    return job->a + pass * plan->pass_words + k_index * plan->k.words * plan->pass_rows;
}

/* One block of A: packed as for tiles, then narrowed to the rows of a pass. */
static ls_status pack_block(void *user, int64_t k_index, int worker) {
    const direct_job *job = user;
    const ls_gemm_engine *e = job->engine;
    const direct_plan *plan = &job->plan;
    uint32_t *panel = (uint32_t *)(job->scratch + (size_t)worker * plan->scratch_bytes);
    for (int64_t i0 = 0; i0 < job->gemm->m; i0 += e->mr) {
        const int64_t range[4] = {i0, min_of(e->mr, job->gemm->m - i0), k_index * plan->k.k_block,
                                  k_count(job, k_index)};
        e->pack_a(&job->gemm->a, range, plan->k.words, panel);
        for (int64_t i = 0; i < e->mr && i0 + i < plan->n_passes * plan->pass_rows; i++) {
            const int64_t row = i0 + i;
            const uint32_t *from = panel + i;
            uint32_t *to = words_of(job, row / plan->pass_rows, k_index) + row % plan->pass_rows;
            for (int64_t w = 0; w < plan->k.words; w++, from += e->mr, to += plan->pass_rows)
                *to = *from;
        }
    }
    return LS_OK;
}

/* Columns [col, col + n) of one pass: block of k by block. */
static void run_pass(const direct_job *job, int64_t pass, int64_t col, int64_t n, float *c) {
    const ls_gemm_engine *e = job->engine;
    const direct_plan *plan = &job->plan;
    const int64_t row = pass * plan->pass_rows, group = plan->pass_rows * e->nr;
    float *acc = c + plan->tile_bytes / sizeof(float);
    for (int64_t kb = 0; kb < plan->k.n_blocks; kb++) {
        const int64_t range[4] = {col, n, kb * plan->k.k_block, k_count(job, kb)};
        e->direct(&job->gemm->b, range, plan->k.words, (int)plan->pass_rows,
                  words_of(job, pass, kb), c);
        for (int64_t j = 0; j < n; j += e->nr) {
            const ls_gemm_tile tile = {.c = c + j / e->nr * group,
                                       .row = row,
                                       .col = col + j,
                                       .n_rows = (int)min_of(plan->pass_rows, job->gemm->m - row),
                                       .n_cols = (int)min_of(e->nr, n - j),
                                       .acc = acc + j / e->nr * group,
                                       .acc_ld = e->nr,
                                       .first = kb == 0,
                                       .last = kb + 1 == plan->k.n_blocks};
            e->store(&job->gemm->out, &tile);
        }
    }
}

static ls_status run_columns(void *user, int64_t task, int worker) {
    const direct_job *job = user;
    const direct_plan *plan = &job->plan;
    float *c = (float *)(job->scratch + (size_t)worker * plan->scratch_bytes);
    const int64_t n_steps = divide_up(job->gemm->n, plan->step);
    const int64_t end = min_of(n_steps * (task + 1) / plan->n_tasks * plan->step, job->gemm->n);
    for (int64_t col = n_steps * task / plan->n_tasks * plan->step; col < end; col += plan->step)
        for (int64_t pass = 0; pass < plan->n_passes; pass++)
            run_pass(job, pass, col, min_of(plan->step, end - col), c);
    return LS_OK;
}

ls_status ls_gemm_direct_run(const ls_gemm_engine *engine, const ls_gemm *gemm, void *workspace,
                             ls_pool *pool) {
    direct_job job = {.engine = engine, .gemm = gemm, .a = workspace};
    job.plan = make_plan(engine, gemm, ls_pool_threads(pool));
    job.scratch = (char *)workspace + job.plan.a_bytes;
    LS_TRY(ls_pool_run(pool, job.plan.k.n_blocks, pack_block, &job));
    return ls_pool_run(pool, job.plan.n_tasks, run_columns, &job);
}
