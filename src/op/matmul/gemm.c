/* The loops around the register tiles.
 *
 * A few rows go another way (gemm_direct.c). Two ways to share the work of more, with the same bits:
 * - "resident a": A is small (it stays in L2); it is packed once, then each task takes some panels of B, packs one after the other into its
 *   own scratch and runs all of A against it. Each element of B is touched once. Where only a block of k of A is small, a few panels go
 *   through all blocks together, so that a block of A comes once for them; their sums stay with the task.
 * - "shared b": for each chunk of columns B is packed once by all, block of k by block or all blocks; a task then packs its rows of A,
 *   where they cannot be read in place, and runs them against all panels of B (or its share of them). */
#include "base/stream_copy.h"
#include "op/matmul/gemm_direct_run.h"
#include "op/matmul/gemm_plan.h"

enum {
    LINE_BYTES = 64,
    STREAM_BYTES = 2 << 20, /* of a result that goes past the caches */
};

size_t ls_gemm_workspace_bytes(const ls_gemm_engine *engine, const ls_gemm *gemm, int n_threads) {
    if (ls_gemm_is_direct(engine, gemm))
        return ls_gemm_direct_workspace_bytes(engine, gemm, n_threads);
    const ls_gemm_plan plan = ls_gemm_make_plan(engine, gemm, n_threads);
    return plan.shared_bytes + (size_t)n_threads * plan.scratch_bytes + plan.acc_bytes;
}

typedef struct gemm_job {
    const ls_gemm_engine *engine;
    const ls_gemm *gemm;
    ls_gemm_plan plan;
    char *shared, *scratch;
    float *acc; /* element (0, n0) */
    int64_t acc_ld;
    int64_t n0, chunk_cols; /* shared b: the chunk at work */
    int64_t k_index;        /* first block of k of the round at work */
    int is_plain;           /* the result is the sums */
    int streams;            /* it goes past the caches where whole tiles are made at once */
} gemm_job;

static char *scratch_of(const gemm_job *job, int worker) {
    return job->scratch + (size_t)worker * job->plan.scratch_bytes;
}

static int64_t k_count(const gemm_job *job, int64_t k_index) {
    return min_of(job->plan.k_block, job->gemm->k - k_index * job->plan.k_block);
}

/* Where the panel of column `col` and block `k_index` of k lies in a whole packed B. */
static size_t panel_offset(const gemm_job *job, int64_t col, int64_t k_index) {
    const ls_gemm_plan *plan = &job->plan;
    const int64_t panels = divide_up(job->gemm->n, job->engine->nr);
    const int64_t panel = k_index * panels + col / job->engine->nr;
    return (size_t)(panel * plan->words * job->engine->nr * WORD_BYTES);
}

static const char *packed_panel(const gemm_job *job, int64_t col, int64_t k_index) {
    return (const char *)job->gemm->packed_b + panel_offset(job, col, k_index);
}

/* Memory of B that will be packed next: asked for a few lines with each tile, so that it has come when its turn comes. */
typedef struct gemm_ahead {
    ls_gemm_walk walk; /* all that is left */
    int64_t n_lines;   /* with each tile */
} gemm_ahead;

static gemm_ahead ask_with_tiles(ls_gemm_walk walk, int64_t n_rows, int64_t n_tiles) {
    walk.n = n_rows * divide_up(walk.row_bytes, LINE_BYTES);
    return (gemm_ahead){walk, divide_up(walk.n, n_tiles)};
}

/* Rows of A against one panel of B. */
typedef struct panel_run {
    const char *a, *b; /* packed; of an A read in place only the last rows */
    int64_t n_rows, k_index;
    float *c;
    gemm_ahead ahead;
} panel_run;

/* A tile's lines of a matrix, or of none. Rows that do not begin with a line may end in one more. */
static void ask_rows(ls_gemm_ask *ask, const void *data, int64_t step, int n_rows, int64_t bytes) {
    const int is_even = ((uintptr_t)data | (uintptr_t)step) % LINE_BYTES == 0;
    ls_gemm_walk walk = {.row = data, .ld = step, .row_bytes = bytes};
    if (!data) return;
    if (!is_even) walk.row_bytes += LINE_BYTES - 1;
    walk.n = n_rows * divide_up(walk.row_bytes, LINE_BYTES);
    ask->near[ask->n_near++] = walk;
}

/* Where a tile will be written to, and what is added to it. */
static void ask_tile(const ls_gemm_out *out, const ls_gemm_tile *tile, ls_gemm_ask *ask) {
    const int64_t size = (int64_t)ls_dtype_bytes(out->dtype), step = out->ld * size;
    const int64_t at = tile->row * step + tile->col * size, bytes = tile->n_cols * size;
    const int n = tile->n_rows;
    char *data = (char *)out->data + at;
    if (!(tile->first && tile->last) && (void *)tile->acc != data)
        ask_rows(ask, tile->acc, tile->acc_ld * (int64_t)sizeof(float), n,
                 tile->n_cols * (int64_t)sizeof(float));
    if (!tile->last && (void *)tile->acc != data) return;
    ask_rows(ask, data, step, n, bytes);
    if (out->pre) ask_rows(ask, (const char *)out->pre + at, step, n, bytes);
    if (out->residual) ask_rows(ask, (const char *)out->residual + at, step, n, bytes);
}

/* Whole tiles of sums with nothing else to do go where they belong at once. */
static void run_whole(const gemm_job *job, const panel_run *r, const char *a,
                      const ls_gemm_tile *tile, ls_gemm_ask *ask) {
    const ls_gemm_engine *e = job->engine;
    const ls_gemm_out *out = &job->gemm->out;
    const ls_gemm_operand *x = &job->gemm->a;
    ls_gemm_whole t = {
        .words = job->plan.words, .a = a, .b = r->b, .to = r->c, .to_ld = e->nr, .ask = ask};
    if (job->plan.a_in_place) {
        const int64_t size = (int64_t)ls_dtype_bytes(x->dtype);
        t.a = (const char *)x->data + (tile->row * x->ld + r->k_index * job->plan.k_block) * size;
        t.a_bytes = x->ld * size;
    }
    const int goes = tile->n_cols == e->nr && (!tile->last || job->is_plain);
    if (goes) {
        t.to = tile->last ? (float *)out->data + tile->row * out->ld + tile->col : tile->acc;
        t.to_ld = tile->last ? out->ld : tile->acc_ld;
        t.from = tile->first ? NULL : tile->acc;
        t.from_ld = tile->acc_ld;
        t.streams = job->streams;
    }
    e->whole(&t);
    if (!goes) e->store(out, tile);
}

/* `tile` comes with row, col, n_cols, first, last, and acc at (row, col). */
static void run_panel(const gemm_job *job, panel_run *r, ls_gemm_tile tile) {
    const ls_gemm_engine *e = job->engine;
    const ls_gemm_out *out = &job->gemm->out;
    const int64_t words = job->plan.words;
    const int64_t step = job->plan.a_in_place ? 0 : words * e->mr * WORD_BYTES;
    const char *a = r->a;
    ls_gemm_ask ask = {.far = r->ahead.walk};
    int64_t left = ask.far.n;
    tile.c = r->c;
    for (int64_t i = 0; i < r->n_rows; i += e->mr, a += step) {
        tile.n_rows = (int)min_of(e->mr, r->n_rows - i);
        ask.far.n = min_of(r->ahead.n_lines, left);
        left -= ask.far.n;
        ask.n_near = 0;
        if (!job->streams) ask_tile(out, &tile, &ask);
        if (e->whole && tile.n_rows == e->mr) {
            run_whole(job, r, a, &tile, &ask);
        } else {
            ls_gemm_ask_all(&ask);
            e->tile(words, tile.n_rows, a, r->b, r->c);
            e->store(out, &tile);
        }
        tile.row += e->mr;
        if (tile.acc) tile.acc += e->mr * tile.acc_ld;
    }
    r->ahead.walk = ask.far;
    r->ahead.walk.n = left;
}

/* --- resident a -------------------------------------------------------------------------------------------------- */

/* Blocks of k of the round at work. */
static int64_t count_blocks(const gemm_job *job) {
    return min_of(job->plan.round, job->plan.n_k_blocks - job->k_index);
}

/* Packed tiles of A of a block of k; only the last rows where the others are read in place. */
static int64_t count_packed_a(const gemm_job *job) {
    const int64_t m = job->gemm->m, mr = job->engine->mr;
    return job->plan.a_in_place ? m % mr != 0 : divide_up(m, mr);
}

static size_t packed_a_offset(const gemm_job *job, int64_t k_index) {
    const int64_t tiles = (k_index - job->k_index) * count_packed_a(job);
    return (size_t)(tiles * job->plan.words * job->engine->mr * WORD_BYTES);
}

static ls_status pack_resident_a(void *user, int64_t task, int worker) {
    const gemm_job *job = user;
    const ls_gemm_engine *e = job->engine;
    const ls_gemm_plan *plan = &job->plan;
    (void)worker;
    const int64_t tiles = count_packed_a(job), k_index = job->k_index + task / tiles;
    const int64_t skipped = divide_up(job->gemm->m, e->mr) - tiles;
    const int64_t i0 = (task % tiles + skipped) * e->mr;
    const int64_t range[4] = {i0, min_of(e->mr, job->gemm->m - i0), k_index * plan->k_block,
                              k_count(job, k_index)};
    char *dst = job->shared + (size_t)(task * plan->words * e->mr * WORD_BYTES);
    e->pack_a(&job->gemm->a, range, plan->words, dst);
    return LS_OK;
}

/* Panels of a task: columns [col, end), block `k_index` of k. */
typedef struct panel_group {
    int64_t col, end, k_index;
} panel_group;

/* The group after this one: its next block of k, then the columns beside it from the round's first block on; the task's last group is
 * followed by a guess at the next task. */
static panel_group next_group(const gemm_job *job, const panel_group *now) {
    const int64_t width = now->end - now->col, n = job->gemm->n;
    if (now->k_index + 1 < job->k_index + count_blocks(job))
        return (panel_group){now->col, now->end, now->k_index + 1};
    return (panel_group){now->end, min_of(now->end + width, n), job->k_index};
}

/* Memory of a group of B, to be asked for with n_tiles tiles. */
static gemm_ahead ask_for_group(const gemm_job *job, const panel_group *group, int64_t n_tiles) {
    const ls_gemm *g = job->gemm;
    const int64_t n = group->end - group->col, n_k = k_count(job, group->k_index);
    const int64_t bytes = (int64_t)ls_dtype_bytes(g->b.dtype);
    const int64_t k0 = group->k_index * job->plan.k_block;
    ls_gemm_walk walk = {.ld = g->b.ld * bytes};
    if (n <= 0) return (gemm_ahead){0};
    if (g->packed_b) {
        walk.row = packed_panel(job, group->col, group->k_index);
        walk.row_bytes = job->plan.words * round_up(n, job->engine->nr) * WORD_BYTES;
        return ask_with_tiles(walk, 1, n_tiles);
    }
    walk.row = (const char *)g->b.data +
               (g->b.k_inner ? group->col * g->b.ld + k0 : k0 * g->b.ld + group->col) * bytes;
    walk.row_bytes = (g->b.k_inner ? n_k : n) * bytes;
    return ask_with_tiles(walk, g->b.k_inner ? n : n_k, n_tiles);
}

/* One group: packed, then all of A against each panel. `acc`: sums of (0, col), or NULL. */
static void run_group(const gemm_job *job, const panel_group *group, char *panels, float *acc) {
    const ls_gemm_engine *e = job->engine;
    const ls_gemm_plan *plan = &job->plan;
    const ls_gemm *g = job->gemm;
    const int64_t col = group->col, end = group->end, k_index = group->k_index;
    const int64_t range[4] = {col, end - col, k_index * plan->k_block, k_count(job, k_index)};
    const int64_t n_tiles = divide_up(g->m, e->mr) * divide_up(end - col, e->nr);
    const panel_group next = next_group(job, group);
    panel_run r = {.a = job->shared + packed_a_offset(job, k_index),
                   .n_rows = g->m,
                   .k_index = k_index,
                   .c = (float *)(panels + plan->panel_bytes),
                   .ahead = ask_for_group(job, &next, n_tiles)};
    if (!g->packed_b) e->pack_b(&g->b, range, plan->words, panels);
    for (int64_t j = col; j < end; j += e->nr) {
        const int64_t step = plan->in_rounds ? 1 : round_up(g->m, e->mr); /* of acc, a column */
        const ls_gemm_tile tile = {.col = j,
                                   .n_cols = (int)min_of(e->nr, end - j),
                                   .acc = acc ? acc + (j - col) * step : NULL,
                                   .acc_ld = plan->in_rounds ? job->acc_ld : e->nr,
                                   .first = k_index == 0,
                                   .last = k_index + 1 == plan->n_k_blocks};
        r.b = g->packed_b ? packed_panel(job, j, k_index)
                          : panels + (size_t)((j - col) * plan->words * WORD_BYTES);
        run_panel(job, &r, tile);
    }
}

static ls_status run_resident_a(void *user, int64_t task, int worker) {
    const gemm_job *job = user;
    const ls_gemm_engine *e = job->engine;
    const ls_gemm_plan *plan = &job->plan;
    const int64_t panels = divide_up(job->gemm->n, e->nr);
    const int64_t end = min_of(panels * (task + 1) / plan->n_tasks * e->nr, job->gemm->n);
    const int64_t width = plan->group * e->nr, last_block = job->k_index + count_blocks(job);
    char *own = scratch_of(job, worker);
    float *sums = (float *)(own + plan->panel_bytes) + e->mr * e->nr;
    if (e->begin) e->begin();
    for (int64_t col = panels * task / plan->n_tasks * e->nr; col < end; col += width) {
        float *acc = plan->in_rounds ? job->acc + col : plan->n_k_blocks > 1 ? sums : NULL;
        for (int64_t kb = job->k_index; kb < last_block; kb++) {
            const panel_group group = {col, min_of(col + width, end), kb};
            run_group(job, &group, own, acc);
        }
    }
    if (e->end) e->end();
    return LS_OK;
}

static ls_status run_rounds(gemm_job *job, float *acc, ls_pool *pool) {
    const ls_gemm_plan *plan = &job->plan;
    const ls_gemm_out *out = &job->gemm->out;
    const int in_result = is_plain(out);
    job->acc = in_result ? out->data : acc;
    job->acc_ld = in_result ? out->ld : round_up(job->gemm->n, job->engine->nr);
    for (job->k_index = 0; job->k_index < plan->n_k_blocks; job->k_index += plan->round) {
        const int64_t n_packed = count_packed_a(job) * count_blocks(job);
        LS_TRY(ls_pool_run(pool, n_packed, pack_resident_a, job));
        LS_TRY(ls_pool_run(pool, plan->n_tasks, run_resident_a, job));
    }
    return LS_OK;
}

/* --- shared b ---------------------------------------------------------------------------------------------------- */

/* Panel `panel` of the chunk at work. */
static char *shared_panel(const gemm_job *job, int64_t panel, int64_t k_index) {
    const ls_gemm_plan *plan = &job->plan;
    const int64_t at = (k_index - job->k_index) * (plan->n_chunk / job->engine->nr) + panel;
    return job->shared + (size_t)(at * plan->words * job->engine->nr * WORD_BYTES);
}

static int64_t count_pack_tasks(const gemm_job *job) {
    return divide_up(job->chunk_cols, PACK_PANELS * job->engine->nr);
}

static ls_status pack_shared_b(void *user, int64_t task, int worker) {
    const gemm_job *job = user;
    const ls_gemm_engine *e = job->engine;
    const ls_gemm_plan *plan = &job->plan;
    (void)worker;
    const int64_t n = count_pack_tasks(job), k_index = job->k_index + task / n;
    const int64_t panel = task % n * PACK_PANELS, j0 = panel * e->nr;
    const int64_t range[4] = {job->n0 + j0, min_of(PACK_PANELS * e->nr, job->chunk_cols - j0),
                              k_index * plan->k_block, k_count(job, k_index)};
    e->pack_b(&job->gemm->b, range, plan->words, shared_panel(job, panel, k_index));
    return LS_OK;
}

/* Rows of a task, as panels, but for those that are read in place. */
static void pack_rows(const gemm_job *job, int64_t m0, int64_t n_rows, int64_t k_index, char *dst) {
    const ls_gemm_engine *e = job->engine;
    const ls_gemm_plan *plan = &job->plan;
    const int64_t skip = plan->a_in_place ? n_rows / e->mr * e->mr : 0;
    const int64_t range[4] = {m0 + skip, n_rows - skip, k_index * plan->k_block,
                              k_count(job, k_index)};
    if (skip < n_rows) e->pack_a(&job->gemm->a, range, plan->words, dst);
}

/* Rows and panels of a task. */
typedef struct shared_task {
    int64_t m0, n_rows, first, end;
    float *acc; /* (m0, first panel), or NULL */
    int64_t acc_ld;
} shared_task;

static const char *panel_of(const gemm_job *job, int64_t panel, int64_t k_index) {
    return job->gemm->packed_b ? packed_panel(job, job->n0 + panel * job->engine->nr, k_index)
                               : shared_panel(job, panel, k_index);
}

/* What of B comes after a panel, to be asked for with the tiles of `n_rows`. */
static gemm_ahead ask_for_panel(const gemm_job *job, const shared_task *t, int64_t panel,
                                int64_t k_index) {
    const ls_gemm_plan *plan = &job->plan;
    ls_gemm_walk walk = {.row_bytes = plan->words * job->engine->nr * WORD_BYTES};
    if (++panel == t->end) {
        panel = t->first;
        if (++k_index == min_of(job->k_index + plan->round, plan->n_k_blocks))
            return (gemm_ahead){0};
    }
    walk.row = panel_of(job, panel, k_index);
    return ask_with_tiles(walk, 1, divide_up(t->n_rows, job->engine->mr));
}

static void run_block(const gemm_job *job, const shared_task *t, int64_t k_index, char *rows) {
    const ls_gemm_engine *e = job->engine;
    const ls_gemm_plan *plan = &job->plan;
    panel_run r = {.a = rows,
                   .n_rows = t->n_rows,
                   .k_index = k_index,
                   .c = (float *)(rows + plan->panel_bytes)};
    pack_rows(job, t->m0, t->n_rows, k_index, rows);
    for (int64_t p = t->first; p < t->end; p++) {
        const int64_t j0 = p * e->nr;
        const ls_gemm_tile tile = {.row = t->m0,
                                   .col = job->n0 + j0,
                                   .n_cols = (int)min_of(e->nr, job->chunk_cols - j0),
                                   .acc = t->acc ? t->acc + (p - t->first) * e->nr : NULL,
                                   .acc_ld = t->acc_ld,
                                   .first = k_index == 0,
                                   .last = k_index + 1 == plan->n_k_blocks};
        r.b = panel_of(job, p, k_index);
        r.ahead = ask_for_panel(job, t, p, k_index);
        run_panel(job, &r, tile);
    }
}

static ls_status run_shared_b(void *user, int64_t task, int worker) {
    const gemm_job *job = user;
    const ls_gemm_engine *e = job->engine;
    const ls_gemm_plan *plan = &job->plan;
    const int64_t panels = divide_up(job->chunk_cols, e->nr), part = task % plan->n_split;
    char *rows = scratch_of(job, worker);
    shared_task t = {.m0 = task / plan->n_split * plan->m_block,
                     .first = panels * part / plan->n_split,
                     .end = panels * (part + 1) / plan->n_split};
    t.n_rows = min_of(plan->m_block, job->gemm->m - t.m0);
    if (plan->sum_bytes) {
        t.acc = (float *)(rows + plan->panel_bytes) + e->mr * e->nr;
        t.acc_ld = plan->group * e->nr;
    } else if (job->acc) {
        t.acc = job->acc + t.m0 * job->acc_ld + t.first * e->nr;
        t.acc_ld = job->acc_ld;
    }
    if (e->begin) e->begin();
    for (int64_t kb = job->k_index; kb < job->k_index + count_blocks(job); kb++)
        run_block(job, &t, kb, rows);
    if (e->end) e->end();
    return LS_OK;
}

static ls_status run_chunks(gemm_job *job, float *acc, ls_pool *pool) {
    const ls_gemm *g = job->gemm;
    const ls_gemm_plan *plan = &job->plan;
    const int64_t n_tasks = divide_up(g->m, plan->m_block) * plan->n_split;
    const int in_result = plan->in_rounds && is_plain(&g->out);
    for (job->n0 = 0; job->n0 < g->n; job->n0 += plan->n_chunk) {
        job->chunk_cols = min_of(plan->n_chunk, g->n - job->n0);
        job->acc = in_result ? (float *)g->out.data + job->n0 : acc;
        job->acc_ld = in_result ? g->out.ld : plan->n_chunk;
        for (job->k_index = 0; job->k_index < plan->n_k_blocks; job->k_index += plan->round) {
            if (!g->packed_b)
                LS_TRY(ls_pool_run(pool, count_pack_tasks(job) * count_blocks(job), pack_shared_b,
                                   job));
            LS_TRY(ls_pool_run(pool, n_tasks, run_shared_b, job));
        }
    }
    return LS_OK;
}

/* A large gradient of a weight (sums over rows of A) goes past the caches: it is read when the backward pass is over. */
static int may_stream(const ls_gemm_engine *e, const ls_gemm *g, int64_t n_k_blocks) {
    const int64_t bytes = g->m * g->n * (int64_t)sizeof(float);
    return e->whole && !g->a.k_inner && n_k_blocks == 1 && is_plain(&g->out) &&
           bytes >= STREAM_BYTES && g->out.ld % (LINE_BYTES / 4) == 0 &&
           (uintptr_t)g->out.data % LINE_BYTES == 0;
}

ls_status ls_gemm_run(const ls_gemm_engine *engine, const ls_gemm *gemm, void *workspace,
                      ls_pool *pool) {
    if (gemm->m == 0 || gemm->n == 0) return LS_OK;
    if (ls_gemm_is_direct(engine, gemm)) return ls_gemm_direct_run(engine, gemm, workspace, pool);
    const int n_threads = ls_pool_threads(pool);
    gemm_job job = {
        .engine = engine, .gemm = gemm, .plan = ls_gemm_make_plan(engine, gemm, n_threads)};
    const ls_gemm_plan *plan = &job.plan;
    job.is_plain = is_plain(&gemm->out);
    job.streams = may_stream(engine, gemm, plan->n_k_blocks);
    job.shared = workspace;
    job.scratch = job.shared + plan->shared_bytes;
    char *end = job.scratch + (size_t)n_threads * plan->scratch_bytes;
    if (plan->resident_a) return run_rounds(&job, (float *)end, pool);
    return run_chunks(&job, plan->acc_bytes ? (float *)end : NULL, pool);
}

/* --- b packed once for several products ---------------------------------------------------------------------------- */

size_t ls_gemm_packed_bytes(const ls_gemm_engine *engine, int64_t n, int64_t k) {
    const ls_gemm_k_plan plan = ls_gemm_plan_k(engine, k);
    return (size_t)(divide_up(n, engine->nr) * engine->nr * plan.n_blocks * plan.words) *
           WORD_BYTES;
}

size_t ls_gemm_pack_workspace_bytes(const ls_gemm_engine *engine, int64_t k, int n_threads) {
    const ls_gemm_k_plan plan = ls_gemm_plan_k(engine, k);
    return (size_t)(n_threads * PACK_PANELS * engine->nr * plan.words) * WORD_BYTES;
}

/* A few panels of one block, in the worker's cache, then past the caches to where they are to lie: nobody reads them soon. */
static ls_status pack_whole_b(void *user, int64_t task, int worker) {
    const gemm_job *job = user;
    const int64_t cols = PACK_PANELS * job->engine->nr, n_tasks = divide_up(job->gemm->n, cols);
    const int64_t col = task % n_tasks * cols, k_index = task / n_tasks;
    const int64_t range[4] = {col, min_of(cols, job->gemm->n - col), k_index * job->plan.k_block,
                              k_count(job, k_index)};
    const size_t panel_bytes = (size_t)(job->engine->nr * job->plan.words) * WORD_BYTES;
    char *panels = job->scratch + (size_t)worker * PACK_PANELS * panel_bytes;
    job->engine->pack_b(&job->gemm->b, range, job->plan.words, panels);
    ls_stream_copy(job->shared + panel_offset(job, col, k_index), panels,
                   (size_t)divide_up(range[1], job->engine->nr) * panel_bytes);
    return LS_OK;
}

ls_status ls_gemm_pack_b(const ls_gemm_engine *engine, const ls_gemm_operand *b, int64_t n,
                         int64_t k, void *dst, void *workspace, ls_pool *pool) {
    const ls_gemm_k_plan k_plan = ls_gemm_plan_k(engine, k);
    const ls_gemm gemm = {.n = n, .k = k, .b = *b};
    gemm_job job = {.engine = engine, .gemm = &gemm, .shared = dst, .scratch = workspace};
    job.plan.words = k_plan.words;
    job.plan.k_block = k_plan.k_block;
    job.plan.n_k_blocks = k_plan.n_blocks;
    return ls_pool_run(pool, divide_up(n, PACK_PANELS * engine->nr) * k_plan.n_blocks, pack_whole_b,
                       &job);
}
