/* Multiply-add rates: from registers, and with one factor streaming from the L2 or the L3 cache. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "measure/measure.h"
#include "measure/multiply_tile.h"

enum { PANEL_WORDS = 256, REGISTER_WORDS = 4096, WORD_BYTES = 4 };
enum { DEFAULT_L2 = 1 << 20, DEFAULT_L3 = 16 << 20 };

typedef struct gemm_work {
    const ls_multiply_tile *tile;
    char *memory; /* per thread: one panel of A, the sums, then the panels of B */
    size_t thread_bytes;
    int64_t n_panels; /* of B, each thread's own */
} gemm_work;

static size_t a_bytes(const ls_multiply_tile *t) {
    return (size_t)PANEL_WORDS * (size_t)t->engine->mr * WORD_BYTES;
}

static size_t c_bytes(void) {
    return sizeof(float) * LS_TILE_MAX_MR * LS_TILE_MAX_NR;
}

static size_t b_bytes(const ls_multiply_tile *t) {
    return (size_t)PANEL_WORDS * (size_t)t->engine->nr * WORD_BYTES;
}

static void work_registers(void *user, int thread, int64_t rounds) {
    const gemm_work *w = user;
    char *a = w->memory + (size_t)thread * w->thread_bytes;
    char *c = a + a_bytes(w->tile), *b = c + c_bytes();
    for (int64_t i = 0; i < rounds; i++) w->tile->registers(REGISTER_WORDS, a, b, c);
}

/* One round is one pass over B. */
static void work_stream(void *user, int thread, int64_t rounds) {
    const gemm_work *w = user;
    char *a = w->memory + (size_t)thread * w->thread_bytes;
    char *c = a + a_bytes(w->tile), *b = c + c_bytes();
    const size_t step = b_bytes(w->tile);
    for (int64_t i = 0; i < rounds; i++)
        for (int64_t p = 0; p < w->n_panels; p++)
            ls_multiply_tile_stream(w->tile, PANEL_WORDS, a, b + (size_t)p * step, c);
}

static void fill(const gemm_work *w, int threads) {
    const int64_t bytes = (int64_t)w->thread_bytes * threads;
    if (strcmp(w->tile->dtype, "f32") == 0)
        ls_fill_random_f32((float *)(void *)w->memory, bytes / 4, 1);
    else if (strcmp(w->tile->dtype, "bf16") == 0)
        ls_fill_random_bf16(w->memory, bytes / 2, 1);
    else
        ls_fill_random_bytes(w->memory, bytes, 1);
    /* Sums are f32 or integers: zeros are both. */
    for (int i = 0; i < threads; i++)
        memset(w->memory + (size_t)i * w->thread_bytes + a_bytes(w->tile), 0, c_bytes());
}

/* Bytes of B for a thread: half of its L2; its share of half the L3, but at least twice its L2. */
static double wanted_bytes(const ls_machine *m, ls_level from, int threads) {
    const double known2 = m->cache_bytes[LS_LEVEL_L2], known3 = m->cache_bytes[LS_LEVEL_L3];
    const double l2 = known2 > 0 ? known2 : DEFAULT_L2, l3 = known3 > 0 ? known3 : DEFAULT_L3;
    if (from == LS_LEVEL_L2) return l2 / 2;
    return l3 / 2 / threads > 2 * l2 ? l3 / 2 / threads : 2 * l2;
}

static ls_status measure_row(ls_meter *meter, const ls_machine *m, ls_machine_gemm *row,
                             const ls_multiply_tile *tile) {
    gemm_work work = {.tile = tile, .n_panels = 1};
    const int streams = row->from != LS_LEVEL_REGISTERS;
    if (streams)
        work.n_panels = (int64_t)(wanted_bytes(m, row->from, row->threads) / (double)b_bytes(tile));
    if (work.n_panels < 1) work.n_panels = 1;
    work.thread_bytes = a_bytes(tile) + c_bytes() + (size_t)work.n_panels * b_bytes(tile);
    const size_t bytes = work.thread_bytes * (size_t)row->threads;
    work.memory = ls_alloc_pages(bytes);
    if (!work.memory) return LS_ERR_NO_MEMORY;
    fill(&work, row->threads);
    const double words = streams ? (double)(work.n_panels * PANEL_WORDS) : REGISTER_WORDS;
    const ls_gemm_engine *e = tile->engine;
    const double flops = 2.0 * e->mr * e->nr * e->k_word * words;
    const ls_status status = ls_meter_rate(
        meter, row->threads, streams ? work_stream : work_registers, &work, flops, &row->rate);
    ls_free_pages(work.memory, bytes);
    return status;
}

static ls_status measure_tile(ls_meter *meter, ls_machine *m, const ls_multiply_tile *tile,
                              int threads) {
    char what[96];
    snprintf(what, sizeof what, "%s by %s, %d thread%s", tile->dtype, tile->instruction, threads,
             threads == 1 ? "" : "s");
    ls_meter_tell(meter, what);
    for (int from = LS_LEVEL_REGISTERS; from <= LS_LEVEL_L3; from++) {
        if (m->n_gemm == LS_MACHINE_MAX_GEMM)
            return LS_FAIL(LS_ERR_INTERNAL, "a profile has room for %d rates of multiplication",
                           LS_MACHINE_MAX_GEMM);
        ls_machine_gemm *row = &m->gemm[m->n_gemm];
        *row = (ls_machine_gemm){.from = (ls_level)from, .threads = threads};
        snprintf(row->dtype, sizeof row->dtype, "%s", tile->dtype);
        snprintf(row->isa, sizeof row->isa, "%s", ls_isa_name(tile->isa));
        snprintf(row->instruction, sizeof row->instruction, "%s", tile->instruction);
        LS_TRY(measure_row(meter, m, row, tile));
        m->n_gemm++;
    }
    return LS_OK;
}

ls_status ls_measure_gemm(ls_meter *meter, ls_machine *m) {
    for (int i = 0; i < ls_n_multiply_tiles; i++) {
        const ls_multiply_tile *tile = &ls_multiply_tiles[i];
        if (!ls_multiply_tile_runs(tile)) continue;
        LS_TRY(measure_tile(meter, m, tile, 1));
        if (m->threads > 1) LS_TRY(measure_tile(meter, m, tile, m->threads));
    }
    return LS_OK;
}
