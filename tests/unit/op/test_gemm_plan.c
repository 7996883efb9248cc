/* The ways of a blocked product: each is taken where it should be, deals all panels, keeps to its workspace, and gives a row the bits that
 * it has among few rows. */
#include "base/alloc.h"
#include "base/cpu.h"
#include "op/matmul/gemm_engines.h"
#include "op/matmul/gemm_plan.h"
#include "unit/op/matmul_run.h"

enum { GUARD = 64, SLICE = 30 /* rows of the way that keeps all of A */ };

typedef struct way_case {
    const char *name;
    int64_t m, k, n;
    int transpose_a, transpose_b;
    ls_dtype dtype; /* of the result; f32 can hold sums over blocks itself */
    int resident_a, in_rounds;
} way_case;

static const way_case cases[] = {
    {"one block, a resident", 100, 300, 200, 0, 0, LS_DTYPE_F32, 1, 0},
    {"a few blocks go with a task", 130, 1300, 330, 0, 0, LS_DTYPE_BF16, 1, 0},
    {"the same into f32", 130, 1300, 330, 0, 1, LS_DTYPE_F32, 1, 0},
    {"too many blocks of a packed a", 200, 9001, 264, 1, 0, LS_DTYPE_BF16, 1, 1},
    {"the same into f32", 200, 9001, 264, 1, 0, LS_DTYPE_F32, 1, 1},
    {"shared b, one block", 700, 400, 150, 0, 0, LS_DTYPE_BF16, 0, 0},
    {"shared b, sums stay with a task", 700, 1100, 150, 0, 1, LS_DTYPE_BF16, 0, 0},
    {"shared b, sums in the result", 700, 1100, 150, 1, 0, LS_DTYPE_F32, 0, 1},
    {"shared b, too long for a task", 400, 12000, 420, 0, 0, LS_DTYPE_BF16, 0, 1},
};

static ls_gemm describe(const way_case *c, const float *a, const float *b) {
    return (ls_gemm){
        .m = c->m,
        .n = c->n,
        .k = c->k,
        .a = {a, LS_DTYPE_F32, c->transpose_a ? c->m : c->k, !c->transpose_a},
        .b = {b, LS_DTYPE_F32, c->transpose_b ? c->k : c->n, c->transpose_b},
        .out = {.dtype = c->dtype, .ld = c->n, .alpha = 1},
    };
}

static float *draw_floats(int64_t n, uint32_t seed) {
    float *x = ls_alloc((size_t)n * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++) x[i] = (float)run_draw(&seed);
    return x;
}

/* Runs with a workspace of the planned size, full of NaN, and looks at what lies behind it. */
static void run_product(const ls_gemm_engine *engine, const ls_gemm *gemm, int n_threads) {
    ls_pool *pool;
    const size_t bytes = ls_gemm_workspace_bytes(engine, gemm, n_threads);
    uint8_t *workspace = ls_alloc(bytes + GUARD);
    assert_non_null(workspace);
    memset(workspace, 0xff, bytes + GUARD);
    assert_int_equal(ls_pool_create(n_threads, -1, &pool), LS_OK);
    assert_int_equal(ls_gemm_run(engine, gemm, workspace, pool), LS_OK);
    for (int i = 0; i < GUARD; i++) assert_int_equal(workspace[bytes + (size_t)i], 0xff);
    ls_pool_destroy(pool);
    ls_free(workspace);
}

/* Rows [row, row + SLICE) alone. */
static void check_slice(const ls_gemm_engine *engine, ls_gemm gemm, int64_t row) {
    const size_t size = ls_dtype_bytes(gemm.out.dtype), bytes = (size_t)(SLICE * gemm.n) * size;
    const uint8_t *all = (const uint8_t *)gemm.out.data + (size_t)(row * gemm.n) * size;
    uint8_t *few = ls_alloc(bytes);
    assert_non_null(few);
    gemm.m = SLICE;
    gemm.a.data = (const float *)gemm.a.data + (gemm.a.k_inner ? row * gemm.a.ld : row);
    gemm.out.data = few;
    run_product(engine, &gemm, 1);
    assert_memory_equal(few, all, bytes);
    ls_free(few);
}

static void check_way(const way_case *c, const ls_gemm_engine *engine) {
    float *a = draw_floats(c->m * c->k, 3), *b = draw_floats(c->n * c->k, 5);
    ls_gemm gemm = describe(c, a, b);
    const size_t bytes = (size_t)(c->m * c->n) * ls_dtype_bytes(c->dtype);
    for (int threads = 1; threads <= 3; threads += 2) {
        gemm.out.data = ls_alloc(bytes);
        assert_non_null(gemm.out.data);
        memset(gemm.out.data, 0xff, bytes);
        run_product(engine, &gemm, threads);
        check_slice(engine, gemm, 0);
        check_slice(engine, gemm, c->m - SLICE);
        ls_free(gemm.out.data);
    }
    ls_free(a);
    ls_free(b);
}

static void a_row_has_its_bits_on_every_way(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check_way(&cases[i], &ls_gemm_engine_wide_base);
#ifdef LS_X86
        if (ls_cpu_isa() >= LS_ISA_AVX2) check_way(&cases[i], &ls_gemm_engine_wide_avx2);
        if (ls_cpu_isa() >= LS_ISA_AVX512) check_way(&cases[i], &ls_gemm_engine_wide_avx512);
#endif
    }
}

/* By the tile of the baseline: 2 x 16, which no A is read in place for. */
static void each_way_is_taken(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const way_case *c = &cases[i];
        const ls_gemm gemm = describe(c, NULL, NULL);
        const ls_gemm_plan plan = ls_gemm_make_plan(&ls_gemm_engine_wide_base, &gemm, 1);
        if (plan.resident_a != c->resident_a || plan.in_rounds != c->in_rounds)
            fail_msg("%s: resident %d, in rounds %d", c->name, plan.resident_a, plan.in_rounds);
        assert_int_equal(plan.in_rounds, plan.round < plan.n_k_blocks);
    }
}

/* Columns of GPT-2's products: tasks differ by a panel at most, and each thread has as many. */
static void tasks_are_dealt_evenly(void **state) {
    (void)state;
    static const int64_t columns[] = {768, 2304, 3072, 1000, 50257};
    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++)
        for (int threads = 1; threads <= 4; threads++) {
            const way_case c = {"", 100, 300, columns[i], 0, 0, LS_DTYPE_F32, 1, 0};
            const ls_gemm gemm = describe(&c, NULL, NULL);
            const ls_gemm_engine *e = &ls_gemm_engine_wide_base;
            const ls_gemm_plan plan = ls_gemm_make_plan(e, &gemm, threads);
            const int64_t panels = divide_up(c.n, e->nr);
            assert_true(plan.n_tasks <= panels);
            assert_int_equal(plan.n_tasks % threads, 0);
            assert_true(plan.group >= 1 && plan.group <= divide_up(panels, plan.n_tasks));
        }
}

/* Panels that go through the blocks of k together: as many as fit, or as the engine says. */
static void an_engine_may_want_fewer_panels(void **state) {
    (void)state;
    const way_case c = {"", 130, 1300, 330, 0, 0, LS_DTYPE_BF16, 1, 0};
    const ls_gemm gemm = describe(&c, NULL, NULL);
    ls_gemm_engine e = ls_gemm_engine_wide_base;
    const ls_gemm_plan many = ls_gemm_make_plan(&e, &gemm, 1);
    e.group_panels = 1;
    const ls_gemm_plan one = ls_gemm_make_plan(&e, &gemm, 1);
    assert_true(many.group > 1);
    assert_int_equal(one.group, 1);
    assert_true(one.scratch_bytes < many.scratch_bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_has_its_bits_on_every_way),
        cmocka_unit_test(each_way_is_taken),
        cmocka_unit_test(tasks_are_dealt_evenly),
        cmocka_unit_test(an_engine_may_want_fewer_panels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
