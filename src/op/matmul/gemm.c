/* The loops around the register tiles.
 *
 * A few rows go another way (gemm_direct.c). Two ways to share the work of more, with the same bits:
 * - "resident a": A is small (it stays in L2); it is packed once, then each task takes some panels of B, packs one after the other into its
 *   own scratch and runs all of A against it. Each element of B is touched once. Where only a block of k of A is small, block by block.
 * - "shared b": for each chunk of columns and block of k, B is packed once by all; a task then packs its rows of A and runs
 *   them against all panels of B (or its share of them). */
#include "op/matmul/gemm.h"
#include "base/stream_copy.h"
#include "op/matmul/gemm_direct_run.h"

enum {
    WORD_BYTES = 4,
    RESIDENT_A_BYTES = 512 << 10,     /* half of a 1 MiB L2 */
    RESIDENT_BLOCK_BYTES = 576 << 10, /* the same of one block of k: 280 rows */
    RESIDENT_A_ROWS = 64,             /* up to here B dominates, whatever the size of A */
    SHARED_B_BYTES = 8 << 20,         /* packed B in flight, in L3 */
    A_BLOCK_BYTES = 384 << 10,
    TASKS_PER_THREAD = 4,
    PACK_PANELS = 4, /* panels of B a task packs: whole lines of memory */
    MOST_GROUPS = 8, /* of a task, one after the other */
    LINE_BYTES = 64,
    PAGE_BYTES = 4096,      /* lines this far apart share a place in a first-level cache */
    STREAM_BYTES = 2 << 20, /* of a result that goes past the caches */
    ALIGN_BYTES = 64
};

typedef struct gemm_plan {
    int64_t k_block, words; /* k's and words of a block (the last block may be shorter, padded) */
    int64_t n_k_blocks;
    int a_in_place; /* whole tiles of A are not packed */
    int resident_a;
    int by_block;             /* resident a, a block of k at a time */
    int64_t group, n_groups;  /* panels of B packed at once, such groups of a task (resident a) */
    int64_t n_chunk;          /* columns of B packed at a time (shared b) */
    int64_t m_block, n_split; /* rows and column shares of a task (shared b) */
    size_t shared_bytes;      /* A (resident) or the chunk of B */
    size_t panel_bytes;       /* a worker's own panel(s) */
    size_t scratch_bytes;     /* a worker's: panels, tile, sums */
    size_t acc_bytes;         /* [m, n_chunk], or [m, n] (by block), sums over k blocks */
} gemm_plan;

static int64_t divide_up(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

static int64_t round_up(int64_t a, int64_t b) {
    return divide_up(a, b) * b;
}

static int64_t min_of(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t max_of(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* Sums over k blocks can live in the result itself. */
static int is_plain(const ls_gemm_out *out) {
    return out->dtype == LS_DTYPE_F32 && out->alpha == 1.0f && out->activation == LS_ACT_NONE &&
           !out->bias && !out->residual && !out->scaled;
}

ls_gemm_k_plan ls_gemm_plan_k(const ls_gemm_engine *e, int64_t k) {
    const int64_t words = max_of(divide_up(k, e->k_word), 1);
    ls_gemm_k_plan plan;
    plan.words = round_up(divide_up(words, divide_up(words, e->k_block)), e->k_step);
    plan.n_blocks = divide_up(words, plan.words);
    plan.k_block = plan.words * e->k_word;
    return plan;
}

static void plan_shared_b(const ls_gemm_engine *e, const ls_gemm *g, int n_threads,
                          gemm_plan *plan) {
    const int64_t panels = divide_up(g->n, e->nr);
    const int64_t fit = max_of(SHARED_B_BYTES / (plan->words * e->nr * WORD_BYTES), 1);
    const int64_t chunk_panels = divide_up(panels, divide_up(panels, fit));
    plan->n_chunk = chunk_panels * e->nr;
    const int64_t wanted = n_threads > 1 ? (int64_t)n_threads * TASKS_PER_THREAD : 1;
    const int64_t tiles = divide_up(g->m, e->mr);
    const int64_t most = max_of(A_BLOCK_BYTES / (plan->words * e->mr * WORD_BYTES), 1);
    const int64_t least = min_of(4, most); /* tiles of rows a task should have */
    int64_t n_blocks = max_of(divide_up(tiles, most), min_of(wanted, divide_up(tiles, least)));
    plan->m_block = divide_up(tiles, n_blocks) * e->mr;
    n_blocks = divide_up(g->m, plan->m_block);
    plan->n_split = max_of(min_of(divide_up(wanted, n_blocks), chunk_panels), 1);
    plan->shared_bytes = g->packed_b ? 0 : (size_t)(plan->words * plan->n_chunk * WORD_BYTES);
    plan->panel_bytes = (size_t)round_up(plan->words * plan->m_block * WORD_BYTES, ALIGN_BYTES);
    plan->scratch_bytes = plan->panel_bytes;
    if (plan->n_k_blocks > 1 && !is_plain(&g->out))
        plan->acc_bytes = (size_t)(g->m * plan->n_chunk) * sizeof(float);
}

/* Rows of k that lie far apart are read a few lines at a time: one panel's single line each would leave memory waiting. */
static int64_t group_panels(const ls_gemm_engine *e, const ls_gemm *g, int n_threads) {
    const int64_t panels = divide_up(g->n, e->nr);
    if (g->packed_b || g->b.k_inner || g->m > RESIDENT_A_ROWS ||
        panels < PACK_PANELS * TASKS_PER_THREAD * (int64_t)n_threads)
        return 1;
    return PACK_PANELS;
}

/* A task of several groups knows what it will read next. */
static int64_t count_groups(const ls_gemm_engine *e, const ls_gemm *g, int64_t group,
                            int n_threads) {
    const int64_t groups = divide_up(g->n, group * e->nr);
    return min_of(divide_up(groups, (int64_t)n_threads * TASKS_PER_THREAD), MOST_GROUPS);
}

/* Rows of A can be read where they lie if no word has to be filled up, and if a tile of them does not compete for the same few places of
 * the first-level cache. */
static int is_a_in_place(const ls_gemm_engine *e, const ls_gemm *g, const ls_gemm_k_plan *k) {
    return e->tile_in_place && g->a.k_inner && g->a.dtype == e->in_place_dtype && g->m >= e->mr &&
           g->k == k->n_blocks * k->k_block &&
           g->a.ld * (int64_t)ls_dtype_bytes(g->a.dtype) % PAGE_BYTES != 0;
}

static gemm_plan make_plan(const ls_gemm_engine *e, const ls_gemm *g, int n_threads) {
    gemm_plan plan = {0};
    const ls_gemm_k_plan k_plan = ls_gemm_plan_k(e, g->k);
    plan.words = k_plan.words;
    plan.k_block = k_plan.k_block;
    plan.n_k_blocks = k_plan.n_blocks;
    plan.a_in_place = is_a_in_place(e, g, &k_plan);
    const int64_t m_round = round_up(g->m, e->mr);
    const int64_t block_bytes = m_round * plan.words * WORD_BYTES;
    const int64_t a_bytes = block_bytes * plan.n_k_blocks;
    const int enough = n_threads == 1 || divide_up(g->n, e->nr) >= 2 * TASKS_PER_THREAD * n_threads;
    plan.resident_a = g->m <= RESIDENT_A_ROWS || (enough && a_bytes <= RESIDENT_A_BYTES);
    plan.by_block =
        !plan.resident_a && enough && plan.n_k_blocks > 1 && block_bytes <= RESIDENT_BLOCK_BYTES;
    if (plan.resident_a || plan.by_block) {
        plan.group = group_panels(e, g, n_threads);
        plan.n_groups = count_groups(e, g, plan.group, n_threads);
        plan.shared_bytes = (size_t)(plan.by_block ? block_bytes : a_bytes);
        plan.panel_bytes = g->packed_b ? 0 : (size_t)(plan.group * plan.words * e->nr * WORD_BYTES);
        plan.scratch_bytes = plan.panel_bytes;
        if (plan.resident_a && plan.n_k_blocks > 1)
            plan.scratch_bytes += (size_t)(plan.group * m_round * e->nr) * sizeof(float);
        if (plan.by_block && !is_plain(&g->out))
            plan.acc_bytes = (size_t)(g->m * round_up(g->n, e->nr)) * sizeof(float);
    } else {
        plan_shared_b(e, g, n_threads, &plan);
    }
    plan.scratch_bytes += (size_t)(e->mr * e->nr) * sizeof(float);
    plan.shared_bytes = (size_t)round_up((int64_t)plan.shared_bytes, ALIGN_BYTES);
    plan.scratch_bytes = (size_t)round_up((int64_t)plan.scratch_bytes, ALIGN_BYTES);
    return plan;
}

size_t ls_gemm_workspace_bytes(const ls_gemm_engine *engine, const ls_gemm *gemm, int n_threads) {
    if (ls_gemm_is_direct(engine, gemm))
        return ls_gemm_direct_workspace_bytes(engine, gemm, n_threads);
    const gemm_plan plan = make_plan(engine, gemm, n_threads);
    return plan.shared_bytes + (size_t)n_threads * plan.scratch_bytes + plan.acc_bytes;
}

typedef struct gemm_job {
    const ls_gemm_engine *engine;
    const ls_gemm *gemm;
    gemm_plan plan;
    char *shared, *scratch;
    float *acc; /* element (0, n0) */
    int64_t acc_ld;
    int64_t n0, chunk_cols; /* shared b: the chunk at work */
    int64_t k_index;        /* shared b: the k block at work */
    int streams;            /* the result goes past the caches where whole tiles are made at once */
} gemm_job;

static char *scratch_of(const gemm_job *job, int worker) {
    return job->scratch + (size_t)worker * job->plan.scratch_bytes;
}

static int64_t k_count(const gemm_job *job, int64_t k_index) {
    return min_of(job->plan.k_block, job->gemm->k - k_index * job->plan.k_block);
}

/* Where the panel of column `col` and block `k_index` of k lies in a whole packed B. */
static size_t panel_offset(const gemm_job *job, int64_t col, int64_t k_index) {
    const gemm_plan *plan = &job->plan;
    const int64_t panels = divide_up(job->gemm->n, job->engine->nr);
    const int64_t panel = k_index * panels + col / job->engine->nr;
    return (size_t)(panel * plan->words * job->engine->nr * WORD_BYTES);
}

static const char *packed_panel(const gemm_job *job, int64_t col, int64_t k_index) {
    return (const char *)job->gemm->packed_b + panel_offset(job, col, k_index);
}

/* Asks for the memory a tile will be written to (and its residual) while the tile is being computed. */
static void prefetch_tile(const ls_gemm_out *out, const ls_gemm_tile *tile) {
    const int64_t bytes = (int64_t)ls_dtype_bytes(out->dtype), step = out->ld * bytes;
    const int64_t at = tile->row * step + tile->col * bytes, last = tile->n_cols * bytes - 1;
    if (tile->acc && !(tile->first && tile->last)) {
        const char *acc = (const char *)tile->acc;
        for (int i = 0; i < tile->n_rows; i++, acc += tile->acc_ld * (int64_t)sizeof(float)) {
            __builtin_prefetch(acc, 1);
            __builtin_prefetch(acc + tile->n_cols * (int64_t)sizeof(float) - 1, 1);
        }
    }
    if (!tile->last) return;
    for (int i = 0; i < tile->n_rows; i++) {
        const char *data = (const char *)out->data + at + i * step;
        __builtin_prefetch(data, 1);
        __builtin_prefetch(data + last, 1);
        if (out->pre) __builtin_prefetch((const char *)out->pre + at + i * step, 1);
        if (out->residual) __builtin_prefetch((const char *)out->residual + at + i * step);
    }
}

/* Memory of B that will be packed next: asked for a few lines with each tile, so that it has come when its turn comes. */
typedef struct gemm_ahead {
    const char *row;
    int64_t ld, row_bytes, at, n_rows; /* at: bytes of the row that were asked for */
    int64_t n_lines;                   /* with each tile */
} gemm_ahead;

static void ask_ahead(gemm_ahead *ahead) {
    for (int64_t i = 0; i < ahead->n_lines && ahead->n_rows > 0; i++) {
        __builtin_prefetch(ahead->row + ahead->at, 0, 2);
        ahead->at += LINE_BYTES;
        if (ahead->at < ahead->row_bytes) continue;
        ahead->at = 0;
        ahead->row += ahead->ld;
        ahead->n_rows--;
    }
}

/* Rows of A against one panel of B. */
typedef struct panel_run {
    const char *a, *b; /* packed; whole tiles of A may be read in place */
    int64_t n_rows, k_index;
    float *c;
    gemm_ahead ahead;
} panel_run;

static void run_tile(const gemm_job *job, const panel_run *r, const char *a,
                     const ls_gemm_tile *tile) {
    const ls_gemm_engine *e = job->engine;
    const ls_gemm_operand *x = &job->gemm->a;
    const int64_t words = job->plan.words, bytes = (int64_t)ls_dtype_bytes(x->dtype);
    if (job->plan.a_in_place && tile->n_rows == e->mr)
        e->tile_in_place(words,
                         (const char *)x->data +
                             (tile->row * x->ld + r->k_index * job->plan.k_block) * bytes,
                         x->ld * bytes, r->b, r->c);
    else
        e->tile(words, tile->n_rows, a, r->b, r->c);
    e->store(&job->gemm->out, tile);
}

/* `tile` comes with row, col, n_cols, first, last, and acc at (row, col). */
static void run_panel(const gemm_job *job, panel_run *r, ls_gemm_tile tile) {
    const ls_gemm_engine *e = job->engine;
    const ls_gemm_out *out = &job->gemm->out;
    const int64_t words = job->plan.words, step = words * e->mr * WORD_BYTES;
    const char *a = r->a;
    tile.c = r->c;
    for (int64_t i = 0; i < r->n_rows; i += e->mr, a += step) {
        tile.n_rows = (int)min_of(e->mr, r->n_rows - i);
        ask_ahead(&r->ahead);
        if (job->streams && tile.n_rows == e->mr && tile.n_cols == e->nr) {
            float *to = (float *)out->data + tile.row * out->ld + tile.col;
            e->stream_tile(words, a, r->b, to, out->ld);
        } else {
            prefetch_tile(out, &tile);
            run_tile(job, r, a, &tile);
        }
        tile.row += e->mr;
        if (tile.acc) tile.acc += e->mr * tile.acc_ld;
    }
}

/* --- resident a -------------------------------------------------------------------------------------------------- */

/* Tiles of A of all blocks of k, or of one; only the last rows where the others are read in place. */
static int64_t count_packed_a(const gemm_job *job) {
    const gemm_plan *plan = &job->plan;
    const int64_t m = job->gemm->m, mr = job->engine->mr;
    const int64_t tiles = plan->a_in_place ? m % mr != 0 : divide_up(m, mr);
    return plan->by_block ? tiles : tiles * plan->n_k_blocks;
}

static ls_status pack_resident_a(void *user, int64_t task, int worker) {
    const gemm_job *job = user;
    const ls_gemm_engine *e = job->engine;
    const gemm_plan *plan = &job->plan;
    (void)worker;
    const int64_t tiles = divide_up(job->gemm->m, e->mr);
    if (plan->a_in_place) task = task * tiles + tiles - 1;
    const int64_t k_index = plan->by_block ? job->k_index : task / tiles;
    const int64_t i0 = task % tiles * e->mr;
    const int64_t range[4] = {i0, min_of(e->mr, job->gemm->m - i0), k_index * plan->k_block,
                              k_count(job, k_index)};
    char *dst = job->shared + (size_t)(task * plan->words * e->mr * WORD_BYTES);
    e->pack_a(&job->gemm->a, range, plan->words, dst);
    return LS_OK;
}

/* What comes after block `k_index` of the group at column `col`; the task's last group is followed by a guess at the next task. */
static gemm_ahead look_ahead(const gemm_job *job, int64_t col, int64_t k_index) {
    const gemm_plan *plan = &job->plan;
    const ls_gemm *g = job->gemm;
    const int64_t width = plan->group * job->engine->nr, tiles = divide_up(g->m, job->engine->mr);
    gemm_ahead ahead = {0};
    if (plan->by_block) {
        col += width;
    } else if (++k_index == plan->n_k_blocks) {
        k_index = 0;
        col += width;
    }
    if (col >= g->n) return ahead;
    const int64_t n = min_of(width, g->n - col), n_k = k_count(job, k_index);
    const int64_t bytes = (int64_t)ls_dtype_bytes(g->b.dtype), k0 = k_index * plan->k_block;
    ahead.ld = g->b.ld * bytes;
    if (g->packed_b) {
        ahead.row = packed_panel(job, col, k_index);
        ahead.row_bytes = plan->words * width * WORD_BYTES;
        ahead.n_rows = 1;
    } else {
        ahead.row = (const char *)g->b.data +
                    (g->b.k_inner ? col * g->b.ld + k0 : k0 * g->b.ld + col) * bytes;
        ahead.row_bytes = (g->b.k_inner ? n_k : n) * bytes;
        ahead.n_rows = g->b.k_inner ? n : n_k;
    }
    ahead.n_lines =
        divide_up(ahead.n_rows * divide_up(ahead.row_bytes, LINE_BYTES), tiles * plan->group);
    return ahead;
}

/* One group of panels and block of k: packed, then all of A against each. `acc`: sums of (0, col), or NULL. */
static void run_group(const gemm_job *job, int64_t col, int64_t k_index, char *panels, float *acc) {
    const ls_gemm_engine *e = job->engine;
    const gemm_plan *plan = &job->plan;
    const ls_gemm *g = job->gemm;
    const int64_t end = min_of(col + plan->group * e->nr, g->n);
    const int64_t range[4] = {col, end - col, k_index * plan->k_block, k_count(job, k_index)};
    const int64_t a_words = round_up(g->m, e->mr) * plan->words;
    panel_run r = {.a = job->shared + (plan->by_block ? 0 : k_index * a_words * WORD_BYTES),
                   .n_rows = g->m,
                   .k_index = k_index,
                   .c = (float *)(panels + plan->panel_bytes),
                   .ahead = look_ahead(job, col, k_index)};
    if (!g->packed_b) e->pack_b(&g->b, range, plan->words, panels);
    for (int64_t j = col; j < end; j += e->nr) {
        const int64_t step = plan->by_block ? 1 : round_up(g->m, e->mr); /* of acc, a column */
        const ls_gemm_tile tile = {.col = j,
                                   .n_cols = (int)min_of(e->nr, end - j),
                                   .acc = acc ? acc + (j - col) * step : NULL,
                                   .acc_ld = plan->by_block ? job->acc_ld : e->nr,
                                   .first = k_index == 0,
                                   .last = k_index + 1 == plan->n_k_blocks};
        r.b = g->packed_b ? packed_panel(job, j, k_index)
                          : panels + (size_t)((j - col) * plan->words * WORD_BYTES);
        run_panel(job, &r, tile);
    }
}

/* All blocks of k of a group, or the one at work. */
static void run_blocks(const gemm_job *job, int64_t col, char *panels) {
    const gemm_plan *plan = &job->plan;
    float *own = (float *)(panels + plan->panel_bytes) + job->engine->mr * job->engine->nr;
    if (plan->by_block) {
        run_group(job, col, job->k_index, panels, job->acc + col);
        return;
    }
    for (int64_t kb = 0; kb < plan->n_k_blocks; kb++)
        run_group(job, col, kb, panels, plan->n_k_blocks > 1 ? own : NULL);
}

static ls_status run_resident_a(void *user, int64_t task, int worker) {
    const gemm_job *job = user;
    const ls_gemm_engine *e = job->engine;
    const int64_t width = job->plan.group * e->nr, step = job->plan.n_groups * width;
    const int64_t end = min_of((task + 1) * step, job->gemm->n);
    if (e->begin) e->begin();
    for (int64_t col = task * step; col < end; col += width)
        run_blocks(job, col, scratch_of(job, worker));
    if (e->end) e->end();
    return LS_OK;
}

static ls_status run_by_block(gemm_job *job, float *acc, ls_pool *pool) {
    const ls_gemm_engine *e = job->engine;
    const ls_gemm *g = job->gemm;
    const int64_t width = job->plan.n_groups * job->plan.group * e->nr;
    job->acc = is_plain(&g->out) ? g->out.data : acc;
    job->acc_ld = is_plain(&g->out) ? g->out.ld : round_up(g->n, e->nr);
    for (job->k_index = 0; job->k_index < job->plan.n_k_blocks; job->k_index++) {
        LS_TRY(ls_pool_run(pool, count_packed_a(job), pack_resident_a, job));
        LS_TRY(ls_pool_run(pool, divide_up(g->n, width), run_resident_a, job));
    }
    return LS_OK;
}

/* --- shared b ---------------------------------------------------------------------------------------------------- */

static ls_status pack_shared_b(void *user, int64_t task, int worker) {
    const gemm_job *job = user;
    const ls_gemm_engine *e = job->engine;
    const gemm_plan *plan = &job->plan;
    (void)worker;
    const int64_t j0 = task * PACK_PANELS * e->nr;
    const int64_t range[4] = {job->n0 + j0, min_of(PACK_PANELS * e->nr, job->chunk_cols - j0),
                              job->k_index * plan->k_block, k_count(job, job->k_index)};
    char *dst = job->shared + (size_t)(j0 * plan->words * WORD_BYTES);
    e->pack_b(&job->gemm->b, range, plan->words, dst);
    return LS_OK;
}

/* Rows of a task, as panels; what is read in place is left out. */
static void pack_rows(const gemm_job *job, int64_t m0, int64_t n_rows, char *dst) {
    const ls_gemm_engine *e = job->engine;
    const gemm_plan *plan = &job->plan;
    const int64_t skip = plan->a_in_place ? n_rows / e->mr * e->mr : 0;
    const int64_t range[4] = {m0 + skip, n_rows - skip, job->k_index * plan->k_block,
                              k_count(job, job->k_index)};
    if (skip < n_rows)
        e->pack_a(&job->gemm->a, range, plan->words, dst + skip * plan->words * WORD_BYTES);
}

static ls_status run_shared_b(void *user, int64_t task, int worker) {
    const gemm_job *job = user;
    const ls_gemm_engine *e = job->engine;
    const gemm_plan *plan = &job->plan;
    const int64_t m0 = task / plan->n_split * plan->m_block, part = task % plan->n_split;
    const int64_t n_rows = min_of(plan->m_block, job->gemm->m - m0);
    const int64_t panels = divide_up(job->chunk_cols, e->nr);
    char *rows = scratch_of(job, worker);
    panel_run r = {.a = rows,
                   .n_rows = n_rows,
                   .k_index = job->k_index,
                   .c = (float *)(rows + plan->panel_bytes)};
    if (e->begin) e->begin();
    pack_rows(job, m0, n_rows, rows);
    for (int64_t p = panels * part / plan->n_split; p < panels * (part + 1) / plan->n_split; p++) {
        const int64_t j0 = p * e->nr;
        const ls_gemm_tile tile = {.row = m0,
                                   .col = job->n0 + j0,
                                   .n_cols = (int)min_of(e->nr, job->chunk_cols - j0),
                                   .acc = job->acc ? job->acc + m0 * job->acc_ld + j0 : NULL,
                                   .acc_ld = job->acc_ld,
                                   .first = job->k_index == 0,
                                   .last = job->k_index + 1 == plan->n_k_blocks};
        r.b = job->gemm->packed_b ? packed_panel(job, job->n0 + j0, job->k_index)
                                  : job->shared + (size_t)(j0 * plan->words * WORD_BYTES);
        run_panel(job, &r, tile);
    }
    if (e->end) e->end();
    return LS_OK;
}

static ls_status run_chunks(gemm_job *job, float *acc, ls_pool *pool) {
    const ls_gemm *g = job->gemm;
    const gemm_plan *plan = &job->plan;
    const int64_t n_tasks = divide_up(g->m, plan->m_block) * plan->n_split;
    const int in_result = plan->n_k_blocks > 1 && is_plain(&g->out);
    for (job->n0 = 0; job->n0 < g->n; job->n0 += plan->n_chunk) {
        job->chunk_cols = min_of(plan->n_chunk, g->n - job->n0);
        job->acc = in_result ? (float *)g->out.data + job->n0 : acc;
        job->acc_ld = in_result ? g->out.ld : plan->n_chunk;
        for (job->k_index = 0; job->k_index < plan->n_k_blocks; job->k_index++) {
            if (!g->packed_b)
                LS_TRY(ls_pool_run(pool, divide_up(job->chunk_cols, PACK_PANELS * job->engine->nr),
                                   pack_shared_b, job));
            LS_TRY(ls_pool_run(pool, n_tasks, run_shared_b, job));
        }
    }
    return LS_OK;
}

/* A large gradient of a weight (sums over rows of A) goes past the caches: it is read when the backward pass is over. */
static int may_stream(const ls_gemm_engine *e, const ls_gemm *g, int64_t n_k_blocks) {
    const int64_t bytes = g->m * g->n * (int64_t)sizeof(float);
    return e->stream_tile && !g->a.k_inner && n_k_blocks == 1 && is_plain(&g->out) &&
           bytes >= STREAM_BYTES && g->out.ld % (LINE_BYTES / 4) == 0 &&
           (uintptr_t)g->out.data % LINE_BYTES == 0;
}

ls_status ls_gemm_run(const ls_gemm_engine *engine, const ls_gemm *gemm, void *workspace,
                      ls_pool *pool) {
    if (gemm->m == 0 || gemm->n == 0) return LS_OK;
    if (ls_gemm_is_direct(engine, gemm)) return ls_gemm_direct_run(engine, gemm, workspace, pool);
    const int n_threads = ls_pool_threads(pool);
    gemm_job job = {.engine = engine, .gemm = gemm, .plan = make_plan(engine, gemm, n_threads)};
    const gemm_plan *plan = &job.plan;
    job.streams = may_stream(engine, gemm, plan->n_k_blocks);
    job.shared = workspace;
    job.scratch = job.shared + plan->shared_bytes;
    char *end = job.scratch + (size_t)n_threads * plan->scratch_bytes;
    if (plan->by_block) return run_by_block(&job, (float *)end, pool);
    if (plan->resident_a) {
        LS_TRY(ls_pool_run(pool, count_packed_a(&job), pack_resident_a, &job));
        return ls_pool_run(pool, divide_up(gemm->n, plan->n_groups * plan->group * engine->nr),
                           run_resident_a, &job);
    }
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
