/* labels: slow threads timeout=600
 * The state kept twice (plan option `kept`): a run reads one buffer and its updates write the other. The results are those of one
 * buffer, bit for bit, over layouts, precisions, optimizers and models; bytes are those planned; buffers may be the caller's. */
#include "plan/kept_run.h"

#include "op/add/add.h"
#include "op/cross_entropy/cross_entropy.h"
#include "op/mean_squared_error/mean_squared_error.h"
#include "op/mul/mul.h"

static float compare_kept(setup s) {
    size_t bytes, want_bytes;
    float loss, want_loss, skipped, want_skipped;
    s.kept = 0;
    char *want = train_setup(&s, &want_bytes, &want_loss, &want_skipped);
    s.kept = 1;
    char *got = train_setup(&s, &bytes, &loss, &skipped);
    assert_int_equal(bytes, want_bytes);
    if (memcmp(got, want, bytes) != 0 || loss != want_loss || skipped != want_skipped)
        fail_msg("model %d, precision %d, optimizer %d, %d ranks, zero %d: other bits when kept "
                 "(loss %.9g, %.9g)",
                 (int)s.model, (int)s.precision, (int)s.optim, s.ranks, s.zero, (double)loss,
                 (double)want_loss);
    free(got);
    free(want);
    return skipped;
}

static void compare_layouts(const setup *base) {
    for (int ranks = 1; ranks <= MAX_RANKS; ranks *= 2)
        for (int zero = 0; zero <= (ranks > 1 ? 3 : 0); zero++) {
            setup s = *base;
            s.ranks = ranks;
            s.zero = zero;
            compare_kept(s);
        }
}

static void test_layouts(void **state) {
    (void)state;
    static const setup bases[] = {
        {.model = LS_MODEL_GPT2, .optim = LS_OPTIM_ADAMW, .steps = 3},
        {.model = LS_MODEL_GPT2,
         .optim = LS_OPTIM_ADAMW,
         .precision = LS_PRECISION_BF16,
         .tied = 1,
         .steps = 2},
        {.model = LS_MODEL_LLAMA,
         .optim = LS_OPTIM_LION,
         .tied = 1,
         .steps = 3,
         .recompute = LS_RECOMPUTE_LAYER},
        {.model = LS_MODEL_LLAMA,
         .optim = LS_OPTIM_ADAMW,
         .precision = LS_PRECISION_BF16,
         .steps = 3},
    };
    for (size_t i = 0; i < sizeof bases / sizeof bases[0]; i++) compare_layouts(&bases[i]);
}

/* Pieces staged for other hosts. */
static void test_staged(void **state) {
    (void)state;
    for (int zero = 0; zero <= 3; zero++)
        compare_kept((setup){.model = LS_MODEL_GPT2,
                             .optim = LS_OPTIM_ADAMW,
                             .ranks = 2,
                             .zero = zero,
                             .hosts = 2,
                             .tied = 1,
                             .steps = 3});
}

static void test_optimizers(void **state) {
    (void)state;
    for (int kind = 0; kind < LS_OPTIM_KIND_COUNT; kind++)
        for (int form = 0; form < 3; form++) {
            const int has_forms = kind == LS_OPTIM_SGD || kind == LS_OPTIM_RMSPROP;
            if (form && !has_forms) continue;
            compare_kept((setup){.model = LS_MODEL_GPT2,
                                 .optim = (ls_optim_kind)kind,
                                 .momentum = form ? 0.9 : 0,
                                 .centered = form == 2,
                                 .ranks = 1,
                                 .steps = 3});
            if (kind == LS_OPTIM_LAMB) continue;
            compare_kept((setup){.model = LS_MODEL_LLAMA,
                                 .optim = (ls_optim_kind)kind,
                                 .momentum = form ? 0.9 : 0,
                                 .centered = form == 2,
                                 .ranks = 2,
                                 .zero = 1,
                                 .steps = 3});
        }
}

/* Tensors large enough to be written past the caches. */
static void test_streamed(void **state) {
    (void)state;
    for (int kind = 0; kind < LS_OPTIM_KIND_COUNT; kind++)
        compare_kept((setup){.model = LS_MODEL_GPT2,
                             .optim = (ls_optim_kind)kind,
                             .width = 160,
                             .ranks = 1,
                             .steps = 2});
}

/* Running statistics. */
static void test_resnet(void **state) {
    (void)state;
    for (int ranks = 1; ranks <= 2; ranks++)
        for (int zero = 0; zero <= (ranks > 1 ? 3 : 0); zero++)
            compare_kept((setup){.model = LS_MODEL_RESNET,
                                 .optim = LS_OPTIM_SGD,
                                 .momentum = 0.9,
                                 .width = 8,
                                 .ranks = ranks,
                                 .zero = zero,
                                 .steps = 3});
}

/* Steps that are skipped copy what they do not change. */
static void test_skipped_steps(void **state) {
    (void)state;
    for (int zero = 0; zero <= 3; zero++) {
        const setup s = {.model = LS_MODEL_GPT2,
                         .optim = LS_OPTIM_ADAMW,
                         .precision = LS_PRECISION_F16,
                         .loss_scale = 0x1p26,
                         .ranks = zero ? 2 : 1,
                         .zero = zero,
                         .width = zero == 1 ? 160 : 0,
                         .steps = MAX_STEPS};
        const float skipped = compare_kept(s);
        if (!(skipped > 0 && skipped < MAX_STEPS))
            fail_msg("zero %d: %g of %d steps were skipped: choose another loss scale", zero,
                     (double)skipped, MAX_STEPS);
    }
}

/* Evaluation between steps reads what the last step wrote. */
static void test_shared_weights(void **state) {
    (void)state;
    float losses[2][3];
    for (int kept = 0; kept < 2; kept++) {
        const setup s = {.model = LS_MODEL_RESNET,
                         .optim = LS_OPTIM_ADAMW,
                         .ranks = 1,
                         .width = 8,
                         .kept = kept};
        rank_run r = {.s = &s, .plan = make_plan(&s, LS_PLAN_TRAIN)};
        ls_plan *plan = make_plan(&s, LS_PLAN_FORWARD);
        ls_program *eval = NULL;
        check_ok(ls_device_create("cpu", 0, &r.device));
        check_ok(lower(&r, NULL, NULL));
        const ls_lower_options options = {.device = r.device, .weights_of = r.program};
        check_ok(ls_program_lower(plan, 0, &options, &eval));
        check_ok(ls_program_init(r.program, 5));
        for (int i = 0; i < 3; i++) {
            uint64_t step = 100;
            const ls_run_options run = {.feed = feed, .user = &step};
            char a[4096], b[4096];
            check_ok(run_step(&r));
            check_ok(ls_program_run(eval, &run));
            check_ok(ls_program_fetch_f32(eval, "sum/loss", &losses[kept][i]));
            check_ok(ls_program_fetch(eval, "bn1.running_var", a, sizeof a));
            check_ok(ls_program_fetch(r.program, "bn1.running_var", b, sizeof b));
            assert_memory_equal(a, b, 8 * sizeof(float));
            check_ok(ls_program_diagnose(eval, &run));
        }
        ls_program_destroy(eval);
        ls_program_destroy(r.program);
        ls_device_destroy(r.device);
        ls_plan_destroy(plan);
        ls_plan_destroy((ls_plan *)r.plan);
    }
    for (int i = 0; i < 3; i++) assert_true(losses[0][i] == losses[1][i]);
    assert_true(losses[0][0] != losses[0][2]);
}

/* Buffers of the caller: another program goes on where the first stopped, in the same memory. */
static void test_given_buffers(void **state) {
    (void)state;
    setup s = {.model = LS_MODEL_LLAMA, .optim = LS_OPTIM_ADAMW, .ranks = 1, .kept = 1, .steps = 3};
    size_t bytes;
    float loss, skipped;
    char *want = train_setup(&s, &bytes, &loss, &skipped);
    rank_run r = {.s = &s, .plan = make_plan(&s, LS_PLAN_TRAIN)};
    const size_t each = ls_plan_kept_bytes(r.plan, 0);
    assert_true(each > 0 && each % 4096 == 0);
    assert_int_equal(ls_plan_kept_offset(r.plan, 0, LS_REGION_WEIGHTS), 0);
    assert_true(ls_plan_kept_offset(r.plan, 0, LS_REGION_OPTIMIZER) >=
                r.plan->ranks[0].bytes[LS_REGION_WEIGHTS]);
    char *memory = ls_alloc(2 * each);
    check_ok(ls_device_create("cpu", 0, &r.device));
    check_ok(lower(&r, memory, memory + each));
    check_ok(ls_program_init(r.program, 5));
    check_ok(run_step(&r));
    assert_int_equal(ls_program_allocated_bytes(r.program), ls_plan_bytes(r.plan, 0));
    const int current = ls_program_current(r.program);
    ls_program_destroy(r.program);
    assert_int_equal(r.device->allocated_bytes, 0);
    check_ok(lower(&r, memory, memory + each));
    ls_program_set_current(r.program, current);
    assert_int_equal(ls_program_current(r.program), current);
    check_ok(run_step(&r));
    check_ok(run_step(&r));
    check_ok(fetch_state(&r));
    assert_memory_equal(r.state, want, bytes);
    ls_program_destroy(r.program);
    free(r.state);
    free(want);
    const ls_lower_options one = {.device = r.device, .kept = {memory, NULL}};
    const ls_lower_options odd = {.device = r.device, .kept = {memory, memory + each + 4}};
    check_fails(ls_program_lower(r.plan, 0, &one, &r.program), LS_ERR_INVALID,
                "buffer 1 of the state kept twice is missing");
    check_fails(ls_program_lower(r.plan, 0, &odd, &r.program), LS_ERR_INVALID, "not aligned");
    s.kept = 0;
    ls_plan *plain = make_plan(&s, LS_PLAN_TRAIN);
    const ls_lower_options both = {.device = r.device, .kept = {memory, memory + each}};
    assert_int_equal(ls_plan_kept_bytes(plain, 0), 0);
    check_fails(ls_program_lower(plain, 0, &both, &r.program), LS_ERR_INVALID,
                "without options.kept");
    ls_plan_destroy(plain);
    ls_plan_destroy((ls_plan *)r.plan);
    ls_device_destroy(r.device);
    ls_free(memory);
}

/* The n-th allocation fails: no memory stays, none is counted. */
static void test_refused_memory(void **state) {
    (void)state;
    static const setup s = {.optim = LS_OPTIM_ADAMW, .ranks = 1, .kept = 1};
    rank_run r = {.s = &s, .plan = make_plan(&s, LS_PLAN_TRAIN)};
    check_ok(ls_device_create("cpu", 0, &r.device));
    const int64_t live = ls_alloc_get_stats().n_live;
    int64_t n = 1;
    for (ls_status status = LS_ERR_NO_MEMORY; status != LS_OK; n++) {
        ls_alloc_fail_at(n, 0);
        status = lower(&r, NULL, NULL);
        ls_alloc_fail_at(0, 0);
        if (status == LS_OK) ls_program_destroy(r.program);
        if (status != LS_OK) assert_int_equal(status, LS_ERR_NO_MEMORY);
        assert_int_equal(r.device->allocated_bytes, 0);
        assert_int_equal(ls_alloc_get_stats().n_live, live);
    }
    assert_true(n > 5);
    ls_device_destroy(r.device);
    ls_plan_destroy((ls_plan *)r.plan);
}

/* y = x w + frozen, which no optimizer touches: read right from either buffer. */
static ls_graph *frozen_graph(void) {
    const ls_shape shape = {.n_dims = 1, .dims = {16}};
    const ls_init normal = {LS_INIT_NORMAL, 0, 1};
    ls_graph *g = NULL;
    check_ok(ls_graph_create(&g));
    const ls_value x = ls_graph_input(g, "x", LS_DTYPE_F32, shape);
    const ls_value target = ls_graph_input(g, "target", LS_DTYPE_F32, shape);
    const ls_value w = ls_graph_param(g, "w", LS_DTYPE_F32, shape, normal);
    const ls_value frozen =
        ls_graph_state(g, "frozen", LS_DTYPE_F32, shape, normal, LS_ROLE_BUFFER);
    const ls_value y = ls_add(g, ls_mul(g, x, w), frozen);
    const ls_value loss = ls_mean_squared_error(g, y, target, 1);
    check_ok(ls_graph_output(g, "loss", loss));
    check_ok(ls_graph_output(g, "count", ls_loss_result(g, loss, 1)));
    return g;
}

static void run_frozen(int kept, float *out, int stored) {
    static const setup s = {.kept = 1};
    const ls_optim_options optim = ls_optim_default();
    const ls_plan_options options = {.mode = LS_PLAN_TRAIN,
                                     .device = "cpu",
                                     .threads = 1,
                                     .lanes = 2,
                                     .kept = kept,
                                     .optim = &optim,
                                     .static_count = 32};
    const ls_mesh mesh = {.dp = 1};
    ls_graph *graph = frozen_graph();
    ls_plan *plan = NULL;
    check_ok(ls_plan_make(graph, &mesh, &options, &plan));
    ls_graph_destroy(graph);
    rank_run r = {.s = &s, .plan = plan};
    check_ok(ls_device_create("cpu", 0, &r.device));
    check_ok(lower(&r, NULL, NULL));
    check_ok(ls_program_init(r.program, 5));
    for (int i = 0; i < 4; i++) {
        check_ok(run_step(&r));
        if (i != 1 || !stored) continue;
        float values[16];
        for (int k = 0; k < 16; k++) values[k] = (float)k;
        const ls_tensor host = {LS_DTYPE_F32, {.n_dims = 1, .dims = {16}}, values};
        check_ok(ls_program_store(r.program, "frozen", &host));
    }
    check_ok(ls_program_fetch(r.program, "w", out, 16 * sizeof *out));
    check_ok(ls_program_fetch(r.program, "frozen", out + 16, 16 * sizeof *out));
    ls_program_destroy(r.program);
    ls_device_destroy(r.device);
    ls_plan_destroy(plan);
}

static void test_frozen_values(void **state) {
    (void)state;
    for (int stored = 0; stored < 2; stored++) {
        float want[32], got[32];
        run_frozen(0, want, stored);
        run_frozen(1, got, stored);
        assert_memory_equal(got, want, sizeof want);
    }
}

static void test_said_in_the_plan(void **state) {
    (void)state;
    for (int kept = 0; kept < 2; kept++) {
        const setup s = {.ranks = 2, .zero = 1, .kept = kept};
        ls_plan *plan = make_plan(&s, LS_PLAN_TRAIN);
        char *text = NULL, *json = NULL;
        check_ok(ls_plan_print(plan, 0, &text));
        check_ok(ls_plan_print_json(plan, &json));
        assert_int_equal(strstr(text, "state kept twice") != NULL, kept);
        assert_int_equal(strstr(text, "    kept  ") != NULL, kept);
        assert_int_equal(strstr(json, "\"kept\": true") != NULL, kept);
        ls_free(text);
        ls_free(json);
        ls_plan_destroy(plan);
    }
}

static void test_refusals(void **state) {
    (void)state;
    ls_optim_options optim = ls_optim_default();
    ls_plan_options o = {.mode = LS_PLAN_FORWARD,
                         .device = "cpu",
                         .threads = 1,
                         .lanes = 1,
                         .kept = 1,
                         .optim = &optim,
                         .static_count = 1};
    const ls_mesh mesh = {.dp = 1};
    ls_graph *graph = frozen_graph();
    ls_plan *plan = NULL;
    check_fails(ls_plan_make(graph, &mesh, &o, &plan), LS_ERR_INVALID, "only training");
    o.mode = LS_PLAN_TRAIN;
    o.device = "cuda";
    check_fails(ls_plan_make(graph, &mesh, &o, &plan), LS_ERR_UNSUPPORTED, "recover.copies = 0");
    ls_graph_destroy(graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),       cmocka_unit_test(test_said_in_the_plan),
        cmocka_unit_test(test_given_buffers),  cmocka_unit_test(test_frozen_values),
        cmocka_unit_test(test_refused_memory), cmocka_unit_test(test_shared_weights),
        cmocka_unit_test(test_layouts),        cmocka_unit_test(test_staged),
        cmocka_unit_test(test_optimizers),     cmocka_unit_test(test_streamed),
        cmocka_unit_test(test_resnet),         cmocka_unit_test(test_skipped_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
