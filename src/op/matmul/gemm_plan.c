/* Which way a product goes, and how its work is dealt. Only the blocks of k decide bits; they follow from k. */
#include "op/matmul/gemm_plan.h"

enum {
    RESIDENT_A_BYTES = 512 << 10,     /* half of a 1 MiB L2 */
    RESIDENT_BLOCK_BYTES = 576 << 10, /* the same of one block of k: 280 rows */
    RESIDENT_A_ROWS = 64,             /* up to here B dominates, whatever the size of A */
    PACKED_A_BYTES = 4 << 20,         /* all blocks of an A that is not read in place */
    GROUP_BYTES = 320 << 10,          /* panels of B and their sums beside a block of A */
    SHARED_B_BYTES = 8 << 20,         /* packed B in flight, in L3 */
    A_BLOCK_BYTES = 384 << 10,
    A_BLOCK_BESIDE_SUMS = 192 << 10,
    CHUNK_PANELS = 24, /* of B, at least, for which A is read */
    TASKS_PER_THREAD = 4,
    MOST_GROUPS = 8,   /* of a task, one after the other */
    PAGE_BYTES = 4096, /* lines this far apart share a place in a first-level cache */
    ALIGN_BYTES = 64
};

ls_gemm_k_plan ls_gemm_plan_k(const ls_gemm_engine *e, int64_t k) {
    const int64_t words = max_of(divide_up(k, e->k_word), 1);
    ls_gemm_k_plan plan;
    plan.words = round_up(divide_up(words, divide_up(words, e->k_block)), e->k_step);
    plan.n_blocks = divide_up(words, plan.words);
    plan.k_block = plan.words * e->k_word;
    return plan;
}

/* Blocks of k in a round: all of them if B of a good many columns fits, so that sums can stay with a task. A result that can hold sums
 * itself takes a block at a time. */
static void plan_rounds(const ls_gemm_engine *e, const ls_gemm *g, ls_gemm_plan *plan) {
    const int64_t least = min_of(divide_up(g->n, e->nr), CHUNK_PANELS);
    const int64_t all = least * plan->words * e->nr * WORD_BYTES * plan->n_k_blocks;
    const int fits = g->packed_b || all <= SHARED_B_BYTES;
    plan->round = fits && !is_plain(&g->out) ? plan->n_k_blocks : 1;
    plan->in_rounds = plan->round < plan->n_k_blocks;
}

/* Rows and columns of a task. */
static void plan_shares(const ls_gemm_engine *e, const ls_gemm *g, int n_threads,
                        ls_gemm_plan *plan) {
    const int has_sums = plan->n_k_blocks > 1 && !plan->in_rounds;
    const int64_t panels = plan->n_chunk / e->nr, tiles = divide_up(g->m, e->mr);
    const int64_t wanted = n_threads > 1 ? (int64_t)n_threads * TASKS_PER_THREAD : 1;
    const int64_t bytes = has_sums ? A_BLOCK_BESIDE_SUMS : A_BLOCK_BYTES;
    const int64_t most = max_of(bytes / (plan->words * e->mr * WORD_BYTES), 1);
    const int64_t least = min_of(4, most); /* tiles of rows a task should have */
    int64_t n_blocks = max_of(divide_up(tiles, most), min_of(wanted, divide_up(tiles, least)));
    plan->m_block = divide_up(tiles, n_blocks) * e->mr;
    n_blocks = divide_up(g->m, plan->m_block);
    const int64_t panel_sums = plan->m_block * e->nr * (int64_t)sizeof(float);
    const int64_t parts = has_sums ? divide_up(panels, max_of(GROUP_BYTES / panel_sums, 1)) : 1;
    plan->n_split = max_of(min_of(divide_up(wanted, n_blocks), panels), parts);
    plan->group = divide_up(panels, plan->n_split);
    plan->sum_bytes = has_sums ? (size_t)(plan->group * panel_sums) : 0;
}

static void plan_shared_b(const ls_gemm_engine *e, const ls_gemm *g, int n_threads,
                          ls_gemm_plan *plan) {
    const int64_t panels = divide_up(g->n, e->nr);
    plan_rounds(e, g, plan);
    const int64_t panel_bytes = plan->words * e->nr * WORD_BYTES * plan->round;
    const int64_t chunks = divide_up(panels, max_of(SHARED_B_BYTES / panel_bytes, 1));
    plan->n_chunk = divide_up(panels, chunks) * e->nr;
    plan_shares(e, g, n_threads, plan);
    const int64_t a_rows = plan->a_in_place ? e->mr : plan->m_block;
    plan->shared_bytes = g->packed_b ? 0 : (size_t)(panel_bytes * plan->n_chunk / e->nr);
    plan->panel_bytes = (size_t)round_up(plan->words * a_rows * WORD_BYTES, ALIGN_BYTES);
    plan->scratch_bytes = plan->panel_bytes + plan->sum_bytes;
    if (plan->in_rounds && !is_plain(&g->out))
        plan->acc_bytes = (size_t)(g->m * plan->n_chunk) * sizeof(float);
}

/* Panels that a task packs at once. Rows of k that lie far apart are read a few lines at a time: one panel's single line each would leave
 * memory waiting. */
static int64_t most_panels(const ls_gemm_engine *e, const ls_gemm *g, const ls_gemm_plan *plan,
                           int n_threads) {
    const int64_t panels = divide_up(g->n, e->nr);
    const int is_long = panels >= PACK_PANELS * TASKS_PER_THREAD * (int64_t)n_threads;
    if (g->m <= RESIDENT_A_ROWS) return !g->packed_b && !g->b.k_inner && is_long ? PACK_PANELS : 1;
    if (plan->n_k_blocks == 1) return 1;
    const int64_t sums = round_up(g->m, e->mr) * e->nr * (int64_t)sizeof(float);
    const int64_t packed = g->packed_b ? 0 : plan->words * e->nr * WORD_BYTES;
    const int64_t most = max_of(GROUP_BYTES / (packed + sums), 1);
    return e->group_panels ? min_of(e->group_panels, most) : most;
}

/* Tasks as even as panels can be dealt, as many for each thread. Of many panels a task has a few groups: it knows what it reads next. */
static void plan_tasks(const ls_gemm_engine *e, const ls_gemm *g, int n_threads,
                       ls_gemm_plan *plan) {
    const int64_t panels = divide_up(g->n, e->nr), most = most_panels(e, g, plan, n_threads);
    const int64_t least = (int64_t)n_threads * TASKS_PER_THREAD;
    const int64_t wanted = max_of(divide_up(panels, most * MOST_GROUPS), least);
    plan->n_tasks = min_of(round_up(wanted, n_threads), panels);
    const int64_t share = divide_up(panels, plan->n_tasks);
    plan->group = divide_up(share, divide_up(share, most));
}

/* Rows of A can be read where they lie if no word has to be filled up, and if a tile of them does not compete for the same few places of
 * the first-level cache. */
static int is_a_in_place(const ls_gemm_engine *e, const ls_gemm *g, const ls_gemm_k_plan *k) {
    return e->whole && g->a.k_inner && g->a.dtype == e->in_place_dtype && g->m >= e->mr &&
           g->k == k->n_blocks * k->k_block &&
           g->a.ld * (int64_t)ls_dtype_bytes(g->a.dtype) % PAGE_BYTES != 0;
}

static void plan_resident_a(const ls_gemm_engine *e, const ls_gemm *g, int n_threads,
                            int64_t block_bytes, ls_gemm_plan *plan) {
    const int64_t m_round = round_up(g->m, e->mr);
    plan_tasks(e, g, n_threads, plan);
    const int fits = plan->a_in_place || block_bytes * plan->n_k_blocks <= PACKED_A_BYTES;
    plan->round = fits ? plan->n_k_blocks : 1;
    plan->in_rounds = plan->round < plan->n_k_blocks;
    plan->shared_bytes = (size_t)(block_bytes * plan->round);
    if (plan->a_in_place)
        plan->shared_bytes = (size_t)(e->mr * plan->words * WORD_BYTES * plan->n_k_blocks);
    plan->panel_bytes = g->packed_b ? 0 : (size_t)(plan->group * plan->words * e->nr * WORD_BYTES);
    if (plan->in_rounds && !is_plain(&g->out))
        plan->acc_bytes = (size_t)(g->m * round_up(g->n, e->nr)) * sizeof(float);
    if (plan->n_k_blocks > 1 && !plan->in_rounds)
        plan->sum_bytes = (size_t)(plan->group * m_round * e->nr) * sizeof(float);
    plan->scratch_bytes = plan->panel_bytes + plan->sum_bytes;
}

ls_gemm_plan ls_gemm_make_plan(const ls_gemm_engine *e, const ls_gemm *g, int n_threads) {
    ls_gemm_plan plan = {0};
    const ls_gemm_k_plan k_plan = ls_gemm_plan_k(e, g->k);
    plan.words = k_plan.words;
    plan.k_block = k_plan.k_block;
    plan.n_k_blocks = k_plan.n_blocks;
    plan.a_in_place = is_a_in_place(e, g, &k_plan);
    const int enough = n_threads == 1 || divide_up(g->n, e->nr) >= 2 * TASKS_PER_THREAD * n_threads;
    const int64_t block_bytes = round_up(g->m, e->mr) * plan.words * WORD_BYTES;
    plan.resident_a =
        g->m <= RESIDENT_A_ROWS ||
        (enough && block_bytes <= (plan.n_k_blocks > 1 ? RESIDENT_BLOCK_BYTES : RESIDENT_A_BYTES));
    if (plan.resident_a)
        plan_resident_a(e, g, n_threads, block_bytes, &plan);
    else
        plan_shared_b(e, g, n_threads, &plan);
    plan.scratch_bytes += (size_t)(e->mr * e->nr) * sizeof(float);
    plan.shared_bytes = (size_t)round_up((int64_t)plan.shared_bytes, ALIGN_BYTES);
    plan.scratch_bytes = (size_t)round_up((int64_t)plan.scratch_bytes, ALIGN_BYTES);
    return plan;
}
