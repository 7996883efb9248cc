/* labels: timeout=300
 * Figures of several runs, and the nodes of a small program: all counted, timed, and left as they were. */
#include "base/cpu.h"
#include "measure/measure.h"
#include "plan/cost/cost.h"
#include "unit/exec/small_program.h"
#include <math.h>

static void test_figures(void **state) {
    (void)state;
    double odd[] = {3, 1, 2}, even[] = {4, 1, 3, 2}, one[] = {5};
    ls_measure m = ls_measure_of(odd, 3);
    assert_true(m.median == 2 && m.least == 1 && m.most == 3 && m.n_runs == 3);
    m = ls_measure_of(even, 4);
    assert_true(m.median == 2.5 && m.least == 1 && m.most == 4);
    m = ls_measure_of(one, 1);
    assert_true(m.median == 5 && m.least == 5 && m.most == 5);
    double hundred[100];
    for (int i = 0; i < 100; i++) hundred[i] = 99 - i;
    m = ls_measure_of(hundred, 100); /* sorts; five at either end are left out */
    assert_true(m.median == 49.5 && m.least == 5 && m.most == 94 && m.n_runs == 100);
    assert_true(ls_quantile(hundred, 100, 0.99) == 99);
    assert_true(ls_quantile(hundred, 100, 0.5) == 50);
    assert_true(ls_quantile(hundred, 100, 1) == 99);
}

typedef struct told {
    int n, last, total;
} told;

static void tell(void *user, int done, int total, const char *what) {
    told *t = user;
    assert_non_null(what);
    assert_int_equal(done, t->n);
    t->n++;
    t->total = total;
}

static void check_measure(const ls_measure *m) {
    assert_true(m->n_runs >= 1 && m->least > 0 && isfinite(m->most));
    assert_true(m->least <= m->median && m->median <= m->most);
}

static void test_machine(void **state) {
    (void)state;
    told t = {0};
    const ls_measure_options options = {1, tell, &t};
    ls_meter meter;
    ls_machine *m = ls_alloc(sizeof *m);
    check_ok(ls_meter_init(&meter, &options));
    ls_machine_describe(m);
    check_ok(ls_measure_machine(&meter, m));
    ls_meter_deinit(&meter);
    assert_int_equal(t.n, t.total);
    const int widths = m->threads > 1 ? 2 : 1;
    assert_true(m->n_gemm >= 3 * widths && m->n_gemm % (3 * widths) == 0);
    for (int i = 0; i < m->n_gemm; i++) check_measure(&m->gemm[i].rate);
    assert_true(m->n_memory >= 9 * widths);
    for (int i = 0; i < m->n_memory; i++) check_measure(&m->memory[i].rate);
    assert_int_equal(m->n_exchange, 6);
    for (int i = 0; i < m->n_exchange; i++) check_measure(&m->exchange[i].seconds);
    assert_true(m->n_kernel > 20);
    assert_true(ls_machine_efficiency(m, "matmul f32 nt") > 0);
    assert_true(ls_machine_efficiency(m, "matmul bf16 tn") > 0);
    assert_true(ls_machine_efficiency(m, "conv2d f32") > 0);
    assert_true(ls_machine_efficiency(m, "cross_entropy f32") > 0);
    assert_true(ls_machine_efficiency(m, "cross_entropy_head f32") > 0);
    assert_true(ls_machine_efficiency(m, "cross_entropy_head bf16") > 0);
    assert_true(ls_machine_efficiency(m, "adam_step f32") > 0);
    check_measure(&m->fork_join);
    check_measure(&m->wake);
    assert_true(m->fork_join_p99.median >= m->fork_join.median);
    ls_free(m);
}

static ls_status measure_small(small_program *s, ls_node_table *out, ls_arena *arena) {
    const ls_measure_options options = {.quick = 1};
    const ls_run_options run = {.seed = 1, .feed = feed_small, .user = s};
    ls_meter meter;
    check_ok(ls_meter_init(&meter, &options));
    check_ok(ls_program_init(s->program, 1));
    const ls_status status = ls_measure_nodes(&meter, s->program, &run, arena, out);
    ls_meter_deinit(&meter);
    return status;
}

/* Each node of each lane of a step is in one row, and costs there what the plan says. */
static void test_nodes(void **state) {
    (void)state;
    small_program s;
    ls_arena *arena = NULL;
    ls_node_table table = {0};
    int64_t n_nodes = 0, n_counted = 0;
    double flops = 0, seconds = 0;
    open_small(&s, 2);
    check_ok(ls_arena_create(&arena));
    check_ok(measure_small(&s, &table, arena));
    const ls_rank_plan *rank = &s.plan->ranks[0];
    for (int i = 0; i < rank->n_segments; i++) {
        const ls_segment_kind kind = rank->segments[i].kind;
        const int per_lane = kind == LS_SEGMENT_FORWARD || kind == LS_SEGMENT_BACKWARD;
        n_nodes += rank->segments[i].n_nodes * (per_lane ? SMALL_LANES : 1);
    }
    for (int i = 0; i < table.n_rows; i++) {
        const ls_node_row *row = &table.rows[i];
        n_counted += row->times;
        flops += (double)row->times * row->flops;
        seconds += (double)row->times * row->seconds.median;
        check_measure(&row->seconds);
        assert_true(row->first > 0 && strstr(row->types, " -> ") && *row->kernel && *row->kind);
        if (i > 0)
            assert_true((double)row->times * row->seconds.median <=
                        (double)row[-1].times * row[-1].seconds.median);
    }
    assert_int_equal(n_counted, n_nodes);
    assert_true(table.n_rows < n_nodes); /* two layers are alike */
    assert_true(fabs(flops - s.plan->flops_per_step) <= 1e-9 * flops);
    assert_true(fabs(seconds - table.seconds) <= 1e-9 * seconds);
    check_measure(&table.step);
    ls_arena_destroy(arena);
    close_small(&s);
}

/* A loss that a program gives after its nodes were timed is that of one whose nodes were not: forward and backward nodes that write over
 * their inputs were put back. */
static void test_nodes_put_back(void **state) {
    (void)state;
    small_program timed, plain;
    ls_arena *arena = NULL;
    ls_node_table table;
    float after, want;
    check_ok(ls_arena_create(&arena));
    open_small(&timed, 1);
    open_small(&plain, 1);
    check_ok(measure_small(&timed, &table, arena));
    check_ok(ls_program_init(timed.program, 1));
    check_ok(ls_program_init(plain.program, 1));
    check_ok(run_small(&timed, 0));
    check_ok(run_small(&plain, 0));
    check_ok(ls_program_fetch_f32(timed.program, "sum/loss", &after));
    check_ok(ls_program_fetch_f32(plain.program, "sum/loss", &want));
    assert_true(isfinite(after));
    assert_memory_equal(&after, &want, sizeof after);
    close_small(&timed);
    close_small(&plain);
    ls_arena_destroy(arena);
}

static void test_disk(void **state) {
    (void)state;
    const ls_measure_options options = {.quick = 1};
    ls_meter meter;
    ls_machine m = {.threads = 1};
    check_ok(ls_meter_init(&meter, &options));
    check_fails(ls_measure_disk(&meter, "no/such/folder", &m), LS_ERR_NOT_FOUND,
                "--disk no/such/folder: no such folder");
    assert_int_equal(m.disk_write.n_runs, 0);
    const char *folder = getenv("LS_TEST_TMP") ? getenv("LS_TEST_TMP") : ".";
    check_ok(ls_measure_disk(&meter, folder, &m));
    check_measure(&m.disk_write);
    check_measure(&m.disk_read);
    ls_meter_deinit(&meter);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_figures), cmocka_unit_test(test_machine),
        cmocka_unit_test(test_nodes),   cmocka_unit_test(test_nodes_put_back),
        cmocka_unit_test(test_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
