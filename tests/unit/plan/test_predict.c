/* Predicted times against numbers worked out by hand from the fixed profile. */
#include "op/matmul/matmul.h"
#include "op/op.h"
#include "op/relu/relu.h"
#include "op/scale/scale.h"
#include "plan/cost/cost.h"
#include "unit/exec/small_program.h"
#include "unit/plan/machine_fixed.h"
#include <math.h>

static void check_near(double got, double want) {
    if (!(fabs(got - want) <= 1e-9 * fabs(want))) fail_msg("got %.12g, wanted %.12g", got, want);
}

/* y = scale(relu(x W)): x [64, 256], W [256, 512] */
static ls_plan *make_plan_packing(int threads, int lanes, ls_packing pack) {
    ls_graph *g = NULL;
    ls_plan *plan = NULL;
    check_ok(ls_graph_create(&g));
    const ls_value x = ls_graph_input(g, "x", LS_DTYPE_F32, (ls_shape){2, {64, 256}});
    const ls_value w = ls_graph_param(g, "w", LS_DTYPE_F32, (ls_shape){2, {256, 512}},
                                      (ls_init){LS_INIT_NORMAL, 0, 1});
    ls_graph_set_unit(g, 0);
    const ls_value y = ls_scale(g, ls_relu(g, ls_matmul(g, x, w, 0, 0)), 2);
    check_ok(ls_graph_output(g, "logits", y));
    const ls_plan_options options = {.mode = LS_PLAN_FORWARD,
                                     .device = "cpu",
                                     .threads = threads,
                                     .lanes = lanes,
                                     .fuse = LS_FUSE_OFF,
                                     .pack = pack};
    const ls_mesh mesh = {1, 1, 1, 1, 1};
    check_ok(ls_plan_make(g, &mesh, &options, &plan));
    ls_graph_destroy(g);
    return plan;
}

static ls_plan *make_plan(int threads, int lanes) {
    return make_plan_packing(threads, lanes, LS_PACKING_OFF);
}

static const ls_predict_row *find_kind(const ls_prediction *p, const char *kind) {
    for (int i = 0; i < p->n_rows; i++)
        if (strcmp(p->rows[i].kind, kind) == 0) return &p->rows[i];
    fail_msg("no row '%s'", kind);
    return NULL;
}

/* matmul: 2 * 64 * 256 * 512 = 16,777,216 flops; 4 (64 * 256 + 256 * 512 + 64 * 512) = 720,896 bytes.
 * relu, scale: 2 * 4 * 64 * 512 = 262,144 bytes. */
static const double matmul_flops = 16777216, matmul_bytes = 720896, relu_bytes = 262144;

static void test_one_thread(void **state) {
    (void)state;
    const ls_machine m = fixed_machine();
    ls_plan *plan = make_plan(1, 1);
    ls_arena *arena = NULL;
    ls_prediction p;
    check_ok(ls_arena_create(&arena));
    check_ok(ls_plan_predict(plan, &m, arena, &p));
    const ls_predict_row *row = find_kind(&p, "matmul f32 nn");
    assert_int_equal(row->times, 1);
    check_near(row->flops, matmul_flops);
    check_near(row->bytes, matmul_bytes);
    check_near(row->roof_seconds, 1.6777216e-3); /* 10 GFLOP/s; its bytes: 14 us */
    check_near(row->seconds, 2.097152e-3);       /* at 0.8 of the roof */
    check_near(row->compute_seconds, row->roof_seconds);
    assert_int_equal(row->is_assumed, 0);
    row = find_kind(&p, "relu f32"); /* fits half of the L2: 100 GB/s; its 32,768 flops: 3.3 us */
    check_near(row->roof_seconds, 3.2768e-6);
    check_near(row->seconds, 6.5536e-6);
    row = find_kind(&p, "scale f32"); /* no reference model has it: half of the roof */
    assert_int_equal(row->is_assumed, 1);
    check_near(row->efficiency, 0.5);
    check_near(p.seconds, find_kind(&p, "matmul f32 nn")->seconds +
                              find_kind(&p, "relu f32")->seconds +
                              find_kind(&p, "scale f32")->seconds);
    check_near(p.compute_seconds, p.seconds);
    check_near(p.flops_roof, 10e9);
    assert_string_equal(p.rows[0].kind, "matmul f32 nn"); /* the longest first */
    ls_arena_destroy(arena);
    ls_plan_destroy(plan);
}

static void test_threads_and_lanes(void **state) {
    (void)state;
    const ls_machine m = fixed_machine();
    ls_plan *plan = make_plan(4, 2);
    ls_arena *arena = NULL;
    ls_prediction p;
    check_ok(ls_arena_create(&arena));
    check_ok(ls_plan_predict(plan, &m, arena, &p));
    const ls_predict_row *row = find_kind(&p, "matmul f32 nn");
    assert_int_equal(row->times, 2);
    check_near(row->flops, 2 * matmul_flops);
    /* 30 GFLOP/s, 0.8 of it, and 2 us to hand it out */
    check_near(row->seconds, 2 * (2e-6 + matmul_flops / 30e9 / 0.8));
    row = find_kind(&p, "relu f32"); /* 400 GB/s; its flops at 30 GFLOP/s take longer */
    check_near(row->bytes, 2 * relu_bytes);
    check_near(row->roof_seconds, 2 * 32768 / 30e9);
    check_near(row->compute_seconds, row->roof_seconds);
    ls_arena_destroy(arena);
    ls_plan_destroy(plan);
}

/* W packed once for two lanes: 524,288 bytes read and as many written, in the L3 at 50 GB/s, at half of that for want of a figure. Each
 * product is spared as much. */
static void test_packed(void **state) {
    const ls_machine m = fixed_machine();
    const double pack = 2 * 524288 / 50e9 / 0.5;
    ls_plan *plan = make_plan_packing(1, 2, LS_PACKING_ALL);
    ls_arena *arena = NULL;
    ls_prediction p;
    (void)state;
    check_ok(ls_arena_create(&arena));
    check_ok(ls_plan_predict(plan, &m, arena, &p));
    const ls_predict_row *row = find_kind(&p, "pack f32");
    assert_int_equal(row->times, 1);
    assert_int_equal(row->is_assumed, 1);
    check_near(row->bytes, 2 * 524288);
    check_near(row->seconds, pack);
    row = find_kind(&p, "matmul f32 nn");
    assert_int_equal(row->times, 2);
    check_near(row->flops, 2 * matmul_flops);
    check_near(row->seconds, 2 * (2.097152e-3 - pack));
    ls_arena_destroy(arena);
    ls_plan_destroy(plan);
}

static ls_plan *small_training_plan(int ranks, int zero, int lanes, int hosts) {
    static const ls_optim_options optim = {.kind = LS_OPTIM_ADAMW, .lr = 1e-3};
    ls_plan *plan = NULL;
    const ls_plan_options options = {.mode = LS_PLAN_TRAIN,
                                     .device = "cpu",
                                     .threads = 2,
                                     .lanes = lanes,
                                     .zero = zero,
                                     .hosts = hosts,
                                     .optim = &optim,
                                     .static_count = SMALL_LANES * SMALL_TOKENS};
    const ls_mesh mesh = {.dp = ranks, .pp = 1};
    ls_graph *graph = small_graph(1);
    check_ok(ls_plan_make(graph, &mesh, &options, &plan));
    ls_graph_destroy(graph);
    return plan;
}

/* Two ranks of a host share its threads and its memory. */
static void test_ranks(void **state) {
    (void)state;
    const ls_machine m = fixed_machine();
    ls_arena *arena = NULL;
    ls_prediction alone, two, far;
    check_ok(ls_arena_create(&arena));
    ls_plan *plan = small_training_plan(1, 0, 4, 0);
    check_ok(ls_plan_predict(plan, &m, arena, &alone));
    assert_true(alone.exchange_seconds == 0);
    /* 4 lanes: 3 sums of all gradients, and of the numbers beside them */
    assert_true(find_kind(&alone, "sums of lanes")->times >= 3);
    ls_plan_destroy(plan);
    plan = small_training_plan(2, 0, 4, 0);
    check_ok(ls_plan_predict(plan, &m, arena, &two));
    /* 2 ranks of 2 threads: all 4 of the machine's, of which a rank has half */
    check_near(two.flops_roof, 15e9);
    assert_true(two.exchange_seconds > 0);
    assert_int_equal(find_kind(&two, "matmul f32 nn")->times * 2,
                     find_kind(&alone, "matmul f32 nn")->times);
    const ls_predict_row *reduced = find_kind(&two, "all_reduce");
    assert_true(reduced->is_exchange);
    assert_true(reduced->seconds >= 9e-6 * (double)reduced->times);
    ls_plan_destroy(plan);
    plan = small_training_plan(2, 0, 4, 2);
    check_ok(ls_plan_predict(plan, &m, arena, &far));
    /* a host each, over a link: 50 us a call and 10 Gbit/s */
    check_near(far.flops_roof, 10e9 + 20e9 / 3);
    reduced = find_kind(&far, "all_reduce");
    check_near(reduced->seconds, (double)reduced->times * 50e-6 + reduced->bytes * 8 / 10e9);
    ls_plan_destroy(plan);
    ls_arena_destroy(arena);
}

static void test_missing_figures(void **state) {
    (void)state;
    ls_machine m = fixed_machine();
    ls_plan *plan = make_plan(1, 1);
    ls_arena *arena = NULL;
    ls_prediction p;
    check_ok(ls_arena_create(&arena));
    m.n_memory = 0;
    check_fails(ls_plan_predict(plan, &m, arena, &p), LS_ERR_UNSUPPORTED,
                "no figure for streams through memory");
    m.n_gemm = 0;
    check_fails(ls_plan_predict(plan, &m, arena, &p), LS_ERR_UNSUPPORTED,
                "no figure for multiply-adds of f32");
    ls_arena_destroy(arena);
    ls_plan_destroy(plan);
}

static void test_kinds(void **state) {
    (void)state;
    static const ls_matmul_attr attr = {.transpose_a = 1, .out_dtype = -1, .alpha = 1};
    const ls_type types[3] = {{LS_DTYPE_I32, {1, {4}}}, {LS_DTYPE_BF16, {2, {4, 4}}}};
    char kind[LS_MACHINE_CLASS_BYTES];
    ls_cost_kind(&(ls_sig){&ls_op_matmul, &attr, 2, 1, types + 1, types + 1}, kind);
    assert_string_equal(kind, "matmul bf16 tn");
    ls_cost_kind(&(ls_sig){ls_op_find("embedding"), NULL, 2, 1, types, types + 1}, kind);
    assert_string_equal(kind, "embedding bf16");
    ls_cost_kind(&(ls_sig){ls_op_find("reshape"), NULL, 1, 1, types, types}, kind);
    assert_string_equal(kind, "reshape f32");
}

static ls_status predict_all(void *user) {
    const ls_machine m = fixed_machine();
    ls_arena *arena = NULL;
    ls_prediction p;
    LS_TRY(ls_arena_create(&arena));
    const ls_status status = ls_plan_predict(user, &m, arena, &p);
    ls_arena_destroy(arena);
    return status;
}

static void test_out_of_memory(void **state) {
    (void)state;
    ls_plan *plan = small_training_plan(2, 2, 4, 0);
    assert_true(check_torture(predict_all, plan) > 5);
    ls_plan_destroy(plan);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_thread),      cmocka_unit_test(test_threads_and_lanes),
        cmocka_unit_test(test_packed),          cmocka_unit_test(test_ranks),
        cmocka_unit_test(test_missing_figures), cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
