/* Whole tiles: the sums of the plain tile, whatever is added to them, wherever they go and however much memory is asked for meanwhile. */
#include "base/alloc.h"
#include "base/cpu.h"
#include "op/matmul/gemm_engines.h"
#include "unit/op/matmul_run.h"

enum { MOST_WORDS = 130, PLACE_LD = 48, MOST_TILE = 32 * 32, LINES = 40 };

typedef struct whole_test {
    const ls_gemm_engine *engine;
    int is_integer;
    uint32_t *a, *b;
    float *c, *to, *from;
    char *memory; /* asked for */
} whole_test;

static void open_test(whole_test *t, const ls_gemm_engine *engine, int is_integer) {
    uint32_t seed = 7;
    *t = (whole_test){.engine = engine, .is_integer = is_integer};
    t->a = ls_alloc_pages((size_t)(MOST_WORDS * engine->mr) * 4);
    t->b = ls_alloc_pages((size_t)(MOST_WORDS * engine->nr) * 4);
    t->c = ls_alloc_pages(MOST_TILE * 4);
    t->to = ls_alloc_pages((size_t)(engine->mr * PLACE_LD) * 4);
    t->from = ls_alloc_pages((size_t)(engine->mr * PLACE_LD) * 4);
    t->memory = ls_alloc_pages(LINES * 64);
    assert_true(t->a && t->b && t->c && t->to && t->from && t->memory);
    for (int i = 0; i < MOST_WORDS * engine->mr; i++) {
        const float x = (float)run_draw(&seed);
        memcpy(t->a + i, &x, sizeof x);
    }
    for (int i = 0; i < MOST_WORDS * engine->nr; i++) {
        const float x = (float)run_draw(&seed);
        memcpy(t->b + i, &x, sizeof x);
    }
    for (int i = 0; i < engine->mr * PLACE_LD; i++) t->from[i] = (float)run_draw(&seed);
}

static void close_test(whole_test *t) {
    const ls_gemm_engine *e = t->engine;
    ls_free_pages(t->a, (size_t)(MOST_WORDS * e->mr) * 4);
    ls_free_pages(t->b, (size_t)(MOST_WORDS * e->nr) * 4);
    ls_free_pages(t->c, MOST_TILE * 4);
    ls_free_pages(t->to, (size_t)(e->mr * PLACE_LD) * 4);
    ls_free_pages(t->from, (size_t)(e->mr * PLACE_LD) * 4);
    ls_free_pages(t->memory, LINES * 64);
}

static uint32_t add(const whole_test *t, float a, float b) {
    uint32_t x, y;
    const float sum = a + b;
    memcpy(&x, &a, sizeof x);
    memcpy(&y, &b, sizeof y);
    if (t->is_integer) return x + y;
    memcpy(&x, &sum, sizeof x);
    return x;
}

/* Lines of `memory` in three walks: far, rows of two lines, one row. */
static ls_gemm_ask ask_for(const whole_test *t, int n_far, int n_near) {
    ls_gemm_ask ask = {.far = {t->memory, 64, 64, 0, n_far}};
    if (n_near > 1) ask.near[ask.n_near++] = (ls_gemm_walk){t->memory, 128, 100, 0, n_near - 1};
    if (n_near > 0) ask.near[ask.n_near++] = (ls_gemm_walk){t->memory + 7, 0, 64, 0, 1};
    return ask;
}

static void check_tile(whole_test *t, int64_t words, int has_from, int streams, int n_far,
                       int n_near) {
    const ls_gemm_engine *e = t->engine;
    ls_gemm_ask ask = ask_for(t, n_far, n_near);
    const ls_gemm_whole whole = {.words = words,
                                 .a = t->a,
                                 .b = t->b,
                                 .to = t->to,
                                 .from = has_from ? t->from : NULL,
                                 .to_ld = PLACE_LD,
                                 .from_ld = PLACE_LD,
                                 .streams = streams,
                                 .ask = &ask};
    memset(t->to, 0xff, (size_t)(e->mr * PLACE_LD) * 4);
    e->tile(words, e->mr, t->a, t->b, t->c);
    e->whole(&whole);
    if (e->end) e->end();
    for (int i = 0; i < e->mr; i++)
        for (int j = 0; j < PLACE_LD; j++) {
            uint32_t want = UINT32_MAX, got;
            if (j < e->nr && has_from)
                want = add(t, t->c[i * e->nr + j], t->from[i * PLACE_LD + j]);
            else if (j < e->nr)
                memcpy(&want, t->c + i * e->nr + j, sizeof want);
            memcpy(&got, t->to + i * PLACE_LD + j, sizeof got);
            if (got != want)
                fail_msg("%d words, from %d, streams %d, %d + %d lines: (%d, %d) is %08x, not %08x",
                         (int)words, has_from, streams, n_far, n_near, i, j, got, want);
        }
    assert_int_equal((ask.far.row - t->memory) / 64, n_far);
}

static void check_engine(const ls_gemm_engine *engine, int is_integer) {
    static const int words[] = {1, 2, 7, 64, MOST_WORDS}, lines[] = {0, 1, 5, 36};
    whole_test t;
    open_test(&t, engine, is_integer);
    for (int w = 0; w < 5; w++)
        for (int far = 0; far < 4; far++)
            for (int near = 0; near < 4; near++)
                for (int kind = 0; kind < 3; kind++)
                    check_tile(&t, words[w], kind == 1, kind == 2, lines[far], lines[near]);
    close_test(&t);
}

static void a_whole_tile_is_the_plain_one(void **state) {
    (void)state;
#ifdef LS_X86
    if (ls_cpu_isa() >= LS_ISA_AVX2) check_engine(&ls_gemm_engine_wide_avx2, 0);
    if (ls_cpu_isa() >= LS_ISA_AVX512) check_engine(&ls_gemm_engine_wide_avx512, 0);
    if (ls_cpu_isa() >= LS_ISA_AVX512BF16) {
        check_engine(&ls_gemm_engine_pairs_avx512bf16, 0);
        check_engine(&ls_gemm_engine_quads_avx512bf16, 1);
    }
#endif
}

/* A walk goes line by line and row by row, and ends where it began to repeat. */
static void a_walk_asks_line_by_line(void **state) {
    (void)state;
    static const char rows[4096];
    ls_gemm_walk walk = {rows, 1024, 130, 0, 6};
    static const int want[] = {64, 128, 1024, 1024 + 64, 1024 + 128, 2048};
    for (int i = 0; i < 6; i++) {
        ls_gemm_ask_next(&walk, i % 2);
        assert_int_equal(walk.row + walk.at - rows, want[i]);
    }
    assert_int_equal(walk.n, 0);
    ls_gemm_ask ask = {.far = {rows, 64, 64, 0, 3}, .near = {{rows, 64, 64, 0, 2}}, .n_near = 1};
    ls_gemm_ask_all(&ask);
    assert_int_equal(ask.far.row - rows, 192);
    assert_int_equal(ask.near[0].row - rows, 128);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_tile_is_the_plain_one),
        cmocka_unit_test(a_walk_asks_line_by_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
