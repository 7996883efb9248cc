/* labels: slow threads timeout=600
 * Weights packed once a step: the same bits as packed by every product, whatever the lanes, ranks, stages, precision, recomputation and
 * level of instructions; what is laid out, what it takes and what it saves, in bytes; what stays as it is. */
#include "op/matmul/matmul.h"
#include "op/op.h"
#include "op/pack/pack.h"

enum { TOKENS = 48, VOCAB = 61 };
#include "plan/plan_run.h"
#include "plan/plan_setup.h"

static ls_plan *make_plan(const setup *s, ls_packing pack) {
    setup with = *s;
    with.pack = pack;
    with.bucket_bytes = 8000;
    return plan_setup(&with);
}

/* Packs or not as wanted, and the same state and loss with and without. */
static void check_same(const setup *s, int wants_packs) {
    size_t bytes[2];
    float loss[2];
    char *state[2];
    int n_buckets[2];
    for (int pack = 0; pack < 2; pack++) {
        ls_plan *plan = make_plan(s, pack ? LS_PACKING_ALL : LS_PACKING_OFF);
        if ((plan->layout.n_forms > 0) != (pack && wants_packs))
            fail_msg("model %d precision %d lanes %d ranks %d zero %d recompute %d: %d forms",
                     (int)s->model, (int)s->precision, s->lanes, s->ranks, s->zero,
                     (int)s->recompute, plan->layout.n_forms);
        state[pack] = run_plan(plan, &bytes[pack], &loss[pack]);
        n_buckets[pack] = plan->n_buckets;
        ls_plan_destroy(plan);
    }
    assert_int_equal(bytes[0], bytes[1]);
    assert_int_equal(n_buckets[0], n_buckets[1]);
    if (memcmp(state[0], state[1], bytes[0]) != 0 || memcmp(&loss[0], &loss[1], sizeof loss[0]))
        fail_msg("model %d precision %d lanes %d ranks %d zero %d recompute %d: other bits (loss "
                 "%.9g, packed %.9g)",
                 (int)s->model, (int)s->precision, s->lanes, s->ranks, s->zero, (int)s->recompute,
                 (double)loss[0], (double)loss[1]);
    free(state[0]);
    free(state[1]);
}

static void test_lanes_and_precisions(void **state) {
    static const ls_model_kind models[] = {LS_MODEL_GPT2, LS_MODEL_LLAMA};
    (void)state;
    for (int m = 0; m < 2; m++)
        for (int precision = 0; precision < 3; precision++)
            for (int lanes = 1; lanes <= 4; lanes *= 2)
                for (int again = 0; again < 2; again++) {
                    const setup s = {.model = models[m],
                                     .precision = (ls_precision)precision,
                                     .lanes = lanes,
                                     .ranks = 1,
                                     .tied = m == 0,
                                     .threads = 1 + again,
                                     .recompute = again ? LS_RECOMPUTE_LAYER : LS_RECOMPUTE_NONE};
                    check_same(&s, lanes > 1 || again);
                }
}

/* With zero 3 lanes gather weights, use them in two forms, and drop them: nothing is read twice. */
static void test_ranks(void **state) {
    (void)state;
    for (int precision = 0; precision < 2; precision++)
        for (int zero = 0; zero <= 3; zero++)
            for (int again = 0; again < 2; again++) {
                const setup s = {.model = again ? LS_MODEL_LLAMA : LS_MODEL_GPT2,
                                 .precision = (ls_precision)precision,
                                 .lanes = 4,
                                 .ranks = 2,
                                 .zero = zero,
                                 .logits_bytes = zero == 1 ? 1 : 0,
                                 .recompute = again ? LS_RECOMPUTE_LAYER : LS_RECOMPUTE_NONE};
                check_same(&s, zero < 3);
            }
    const setup one_each = {.model = LS_MODEL_GPT2, .lanes = 4, .ranks = 4, .zero = 1};
    check_same(&one_each, 0);
}

/* What a level packs it multiplies: each level of this machine, down to the baseline. */
static void test_levels(void **state) {
    const ls_isa best = ls_cpu_isa();
    (void)state;
    for (int isa = LS_ISA_BASE; isa <= (int)best; isa++) {
        ls_cpu_limit_isa((ls_isa)isa);
        const setup s = {
            .model = LS_MODEL_GPT2, .precision = LS_PRECISION_BF16, .lanes = 2, .ranks = 1};
        check_same(&s, 1);
    }
    ls_cpu_limit_isa(best);
}

/* --- counts ----------------------------------------------------------------------------------------------------------- */

/* Readers of packs, by hand: every pack is read by at least two launches of a step, once a step made. */
static void check_packs(const ls_plan *plan, int lanes) {
    const ls_graph *g = plan->graph;
    int n_packs = 0;
    int64_t bytes = 0;
    for (int64_t n = 0; n < g->n_nodes; n++) {
        const ls_node *node = &g->nodes[n];
        int n_readers = 0;
        if (node->op != &ls_op_pack) continue;
        for (int64_t r = 0; r < g->n_nodes; r++)
            n_readers +=
                g->nodes[r].op == &ls_op_matmul_packed && g->nodes[r].in[1] == node->out[0];
        assert_int_equal(node->phase, LS_PHASE_PREPARE);
        assert_true(n_readers * lanes >= 2);
        bytes += (int64_t)ls_type_bytes(&g->values[node->out[0]].type);
        n_packs++;
    }
    assert_int_equal(n_packs, plan->layout.n_forms);
    assert_int_equal(bytes, plan->layout.bytes);
}

/* GPT-2 with lanes: each of its 4 matrices a layer and the head's, as it is and turned. */
static void test_counts(void **state) {
    (void)state;
    for (int lanes = 2; lanes <= 8; lanes *= 2) {
        const setup s = {.model = LS_MODEL_GPT2, .lanes = lanes, .ranks = 1, .tied = 1};
        ls_plan *plan = make_plan(&s, LS_PACKING_ALL);
        ls_plan *without = make_plan(&s, LS_PACKING_OFF);
        const ls_layout_report *l = &plan->layout;
        assert_int_equal(l->n_weights, 9);
        assert_int_equal(l->n_forms, 18);
        assert_true(l->after == (double)l->bytes);
        assert_true(l->before == lanes * l->after);
        check_packs(plan, lanes);
        const ls_rank_plan *r = &plan->ranks[0];
        assert_int_equal(r->bytes[LS_REGION_PREPARED], l->bytes);
        assert_int_equal(without->ranks[0].bytes[LS_REGION_PREPARED], 0);
        assert_int_equal(without->layout.n_forms, 0);
        ls_plan_destroy(plan);
        ls_plan_destroy(without);
    }
}

/* Packed forms take the place of the copies in low precision, but for what reads the copy itself. */
static void test_copies_go(void **state) {
    const setup s = {
        .model = LS_MODEL_LLAMA, .precision = LS_PRECISION_BF16, .lanes = 2, .ranks = 1};
    ls_plan *plan = make_plan(&s, LS_PACKING_ALL);
    const ls_graph *g = plan->graph;
    size_t copies = 0;
    (void)state;
    for (int64_t n = 0; n < g->n_nodes; n++) {
        const ls_node *node = &g->nodes[n];
        const ls_place *place = &plan->ranks[0].places[node->out[0]];
        if (node->phase != LS_PHASE_PREPARE || node->op == &ls_op_pack) continue;
        if (place->region == LS_REGION_PREPARED) copies += ls_align_up(place->bytes, 64);
    }
    /* the embedding's, which no product reads */
    assert_int_equal(copies, ls_align_up(VOCAB * 40 * 2, 64));
    assert_int_equal(plan->ranks[0].bytes[LS_REGION_PREPARED], copies + (size_t)plan->layout.bytes);
    ls_plan_destroy(plan);
}

/* Packs of this stage that its products read, and those that it makes. */
static void count_stage(const ls_plan *plan, const ls_rank_plan *rank, int *reads, int *packs) {
    for (int s = 0; s < rank->n_segments; s++)
        for (int64_t i = 0; i < rank->segments[s].n_nodes; i++) {
            const ls_node *node = &plan->graph->nodes[rank->segments[s].nodes[i]];
            *packs += node->op == &ls_op_pack;
            if (node->op != &ls_op_matmul_packed) continue;
            assert_int_equal(rank->places[node->in[1]].region, LS_REGION_PREPARED);
            ++*reads;
        }
}

/* A stage packs what its own products read, nothing travels. */
static void test_stages(void **state) {
    (void)state;
    for (int schedule = 0; schedule < 3; schedule++) {
        const setup s = {.model = LS_MODEL_GPT2,
                         .precision = LS_PRECISION_BF16,
                         .lanes = 4,
                         .tied = 1,
                         .stages = 2,
                         .schedule = (ls_pipeline_kind)schedule};
        ls_plan *plan = make_plan(&s, LS_PACKING_ALL), *off = make_plan(&s, LS_PACKING_OFF);
        int reads = 0, packs = 0;
        for (int r = 0; r < plan->n_ranks; r++) count_stage(plan, &plan->ranks[r], &reads, &packs);
        assert_int_equal(packs, 18);
        assert_int_equal(reads, 18);
        assert_int_equal(plan->n_channels, off->n_channels);
        ls_plan_destroy(plan);
        ls_plan_destroy(off);
    }
}

/* Recomputation on one lane: the forward forms of the layers alone are read twice. */
static void test_recompute_counts(void **state) {
    const setup s = {
        .model = LS_MODEL_GPT2, .lanes = 1, .ranks = 1, .recompute = LS_RECOMPUTE_LAYER};
    ls_plan *plan = make_plan(&s, LS_PACKING_ALL);
    const ls_layout_report *l = &plan->layout;
    (void)state;
    assert_true(l->n_forms >= 6 &&
                l->n_forms <= 8); /* the last product of a layer is not needed again */
    assert_int_equal(l->n_forms, l->n_weights);
    assert_true(l->before - l->after == (double)l->bytes);
    check_packs(plan, 1);
    ls_plan_destroy(plan);
}

/* --- small graphs ------------------------------------------------------------------------------------------------------ */

/* y1 = x w, y2 = (x + ..) w, y3 = x w^T, y4 = x v: w in two forms, one of them read twice; v once. */
static ls_plan *plan_small(int lanes, ls_packing pack, int reference) {
    ls_graph *g = NULL;
    ls_plan *plan = NULL;
    const ls_init init = {LS_INIT_NORMAL, 0, 1};
    const ls_shape square = {2, {48, 48}};
    check_ok(ls_graph_create(&g));
    ls_graph_set_unit(g, 0);
    const ls_value x = ls_graph_input(g, "x", LS_DTYPE_F32, (ls_shape){2, {64, 48}});
    const ls_value w = ls_graph_param(g, "w", LS_DTYPE_F32, square, init);
    const ls_value v = ls_graph_param(g, "v", LS_DTYPE_F32, square, init);
    const ls_value y1 = ls_matmul(g, x, w, 0, 0), y2 = ls_matmul(g, y1, w, 0, 0);
    const ls_value y3 = ls_matmul(g, y2, w, 0, 1), y4 = ls_matmul(g, y3, v, 0, 0);
    check_ok(ls_graph_output(g, "y", y4));
    const ls_plan_options options = {.mode = LS_PLAN_FORWARD,
                                     .device = "cpu",
                                     .threads = 1,
                                     .lanes = lanes,
                                     .pack = pack,
                                     .reference_kernels = reference};
    const ls_mesh mesh = {0};
    check_ok(ls_plan_make(g, &mesh, &options, &plan));
    ls_graph_destroy(g);
    return plan;
}

static int count_op(const ls_plan *plan, const ls_op *op) {
    int n = 0;
    for (int64_t i = 0; i < plan->graph->n_nodes; i++) n += plan->graph->nodes[i].op == op;
    return n;
}

static void test_one_use_stays(void **state) {
    ls_plan *plan = plan_small(1, LS_PACKING_ALL, 0);
    const ls_layout_report *l = &plan->layout;
    (void)state;
    assert_int_equal(count_op(plan, &ls_op_pack), 1);
    assert_int_equal(count_op(plan, &ls_op_matmul_packed), 2);
    assert_int_equal(count_op(plan, &ls_op_matmul), 2);
    assert_int_equal(l->n_weights, 1);
    assert_true(l->before == 4.0 * (double)l->bytes && l->after == 3.0 * (double)l->bytes);
    ls_plan_destroy(plan);
    plan = plan_small(2, LS_PACKING_ALL, 0);
    assert_int_equal(count_op(plan, &ls_op_pack), 3);
    assert_int_equal(count_op(plan, &ls_op_matmul), 0);
    assert_int_equal(plan->layout.n_weights, 2);
    ls_plan_destroy(plan);
}

/* Without being told to, only what is read eight times a step is packed apart. */
static void test_auto(void **state) {
    (void)state;
    for (int lanes = 1; lanes <= 8; lanes *= 2) {
        ls_plan *plan = plan_small(lanes, LS_PACKING_AUTO, 0);
        assert_int_equal(plan->layout.n_forms, lanes < 4 ? 0 : lanes == 4 ? 1 : 3);
        assert_int_equal(count_op(plan, &ls_op_pack), plan->layout.n_forms);
        ls_plan_destroy(plan);
    }
}

/* Reference kernels pack nothing, and who says off gets none. */
static void test_left_alone(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        ls_plan *plan = plan_small(4, i ? LS_PACKING_OFF : LS_PACKING_AUTO, !i);
        assert_int_equal(count_op(plan, &ls_op_pack), 0);
        assert_int_equal(count_op(plan, &ls_op_matmul), 4);
        ls_plan_destroy(plan);
    }
}

static void check_text(const ls_plan *plan, int explain, const char *words) {
    char *text = NULL;
    check_ok(ls_plan_print(plan, explain, &text));
    if (!strstr(text, words)) fail_msg("no '%s' in\n%s", words, text);
    ls_free(text);
}

static void test_printed(void **state) {
    ls_plan *plan = plan_small(2, LS_PACKING_ALL, 0);
    ls_plan *off = plan_small(2, LS_PACKING_OFF, 0);
    char line[256];
    (void)state;
    snprintf(line, sizeof line,
             "pack: 2 weights laid out ahead in 3 forms of this machine's level, %s: %lld bytes; a "
             "step packs %lld bytes of weights instead of %.0f\n",
             ls_isa_name(ls_cpu_isa()), (long long)plan->layout.bytes,
             (long long)plan->layout.bytes, plan->layout.before);
    check_text(plan, 0, line);
    check_text(plan, 1, "pack w turned: wide_");
    check_text(plan, 1, "read 4 times a step");
    check_text(plan, 1, "chosen matmul_packed_cpu_panels");
    check_text(off, 0, "pack: off\n");
    char *json = NULL;
    check_ok(ls_plan_print_json(plan, &json));
    assert_non_null(strstr(json, "\"pack\": {\n    \"weights\": 2,\n    \"forms\": 3,"));
    ls_free(json);
    check_ok(ls_plan_print_json(off, &json));
    assert_null(strstr(json, "\"pack\""));
    ls_free(json);
    ls_plan_destroy(plan);
    ls_plan_destroy(off);
}

static ls_status plan_once(void *user) {
    const ls_graph *graph = user;
    ls_plan *plan = NULL;
    const ls_plan_options options = {
        .mode = LS_PLAN_FORWARD, .device = "cpu", .threads = 1, .lanes = 8};
    const ls_mesh mesh = {0};
    LS_TRY(ls_plan_make(graph, &mesh, &options, &plan));
    ls_plan_destroy(plan);
    return LS_OK;
}

static void test_out_of_memory(void **state) {
    ls_graph *g = NULL;
    (void)state;
    check_ok(ls_graph_create(&g));
    const ls_value x = ls_graph_input(g, "x", LS_DTYPE_F32, (ls_shape){2, {64, 48}});
    const ls_value w = ls_graph_param(g, "w", LS_DTYPE_F32, (ls_shape){2, {48, 48}}, (ls_init){0});
    check_ok(ls_graph_output(g, "y", ls_matmul(g, x, w, 0, 0)));
    assert_true(check_torture(plan_once, g) > 10);
    ls_graph_destroy(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_use_stays),
        cmocka_unit_test(test_auto),
        cmocka_unit_test(test_left_alone),
        cmocka_unit_test(test_printed),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_copies_go),
        cmocka_unit_test(test_recompute_counts),
        cmocka_unit_test(test_stages),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_lanes_and_precisions),
        cmocka_unit_test(test_ranks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
