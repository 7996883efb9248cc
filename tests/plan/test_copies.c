/* labels: slow threads timeout=600
 * Low-precision copies of weights made where they are read: the same bits as made once a step, whatever the lanes, ranks, stages and
 * recomputation; where the casts stand, what they spare, when `auto` takes them, what is kept all the same. */
#include "op/cast/cast.h"
#include "op/embedding/embedding.h"
#include "op/matmul/matmul.h"
#include "op/op.h"

enum { TOKENS = 16, VOCAB = 13, LARGE_VOCAB = 61 };
#include "plan/plan_run.h"
#include "plan/plan_setup.h"

static ls_plan *make_plan(const setup *s, ls_casting casting) {
    setup with = *s;
    with.cast_weights = casting;
    with.bucket_bytes = 8000;
    return plan_setup(&with);
}

/* With cast_weights use: f32 needs none, and ZeRO's are made of pieces. */
static int makes_copies(const setup *s) {
    return s->precision != LS_PRECISION_F32 && s->zero == 0;
}

static const setup setups[] = {
    {GPT2, BF16, .lanes = 1, .ranks = 1, .tied = 1},
    {GPT2, BF16, .lanes = 1, .ranks = 1, .tied = 1, .vocab = LARGE_VOCAB, .logits_bytes = 1},
    {GPT2, BF16, .lanes = 1, .ranks = 1, .kept = 1, CHEAP},
    {GPT2, F16, .lanes = 4, .ranks = 1, LAYER, .pack = LS_PACKING_OFF},
    {LLAMA, BF16, .lanes = 2, .ranks = 1, LAYER, .logits_bytes = 1},
    {LLAMA, BF16, .lanes = 2, .ranks = 2, .tied = 1, .vocab = LARGE_VOCAB},
    {GPT2, BF16, .lanes = 4, .ranks = 4, .tied = 1, CHEAP},
    {GPT2, BF16, .lanes = 4, .ranks = 1, .stages = 2, .tied = 1},
    {LLAMA, BF16, .lanes = 4, .ranks = 1, .stages = 2, .schedule = LS_PIPELINE_GPIPE},
    {LLAMA, BF16, .lanes = 4, .ranks = 1, .stages = 2, .schedule = LS_PIPELINE_ZERO_BUBBLE},
    {GPT2, BF16, .lanes = 4, .ranks = 2, .zero = 1},
    {GPT2, BF16, .lanes = 4, .ranks = 2, .zero = 2, .tied = 1},
    {GPT2, BF16, .lanes = 4, .ranks = 4, .zero = 3, LAYER},
    {GPT2, .lanes = 2, .ranks = 1},
};
enum { N_SETUPS = sizeof setups / sizeof setups[0] };

static void check_same_bits(const setup *s, int i) {
    ls_plan *step = make_plan(s, LS_CASTING_STEP), *use = make_plan(s, LS_CASTING_USE);
    size_t bytes[2];
    float loss[2];
    if ((use->copies.n_weights > 0) != makes_copies(s))
        fail_msg("setup %d: %d weights", i, use->copies.n_weights);
    char *kept = run_plan(step, &bytes[0], &loss[0]);
    char *made = run_plan(use, &bytes[1], &loss[1]);
    assert_int_equal(bytes[0], bytes[1]);
    assert_true(loss[0] == loss[1]);
    if (memcmp(kept, made, bytes[0]) != 0) fail_msg("setup %d: other bits", i);
    free(kept);
    free(made);
    ls_plan_destroy(step);
    ls_plan_destroy(use);
}

/* Stages run in test_pipeline. */
static void test_same_bits(void **state) {
    (void)state;
    for (int i = 0; i < N_SETUPS; i++)
        if (!setups[i].stages) check_same_bits(&setups[i], i);
}

/* --- where they stand -------------------------------------------------------------------------------------------------- */

static int is_weight_cast(const ls_graph *g, const ls_node *node) {
    return node->op == &ls_op_cast && g->values[node->in[0]].kind == LS_VALUE_PARAM;
}

static int n_casts(const ls_plan *plan, int prepared) {
    int n = 0;
    for (int64_t i = 0; i < plan->graph->n_nodes; i++) {
        const ls_node *node = &plan->graph->nodes[i];
        n += is_weight_cast(plan->graph, node) && (node->phase == LS_PHASE_PREPARE) == prepared;
    }
    return n;
}

/* Every cast's first reader is the next node but for casts, and all its readers are of its phase and unit. */
static void check_casts(const ls_plan *plan) {
    const ls_graph *g = plan->graph;
    for (int64_t i = 0; i < g->n_nodes; i++) {
        const ls_node *cast = &g->nodes[i];
        if (!is_weight_cast(g, cast) || cast->phase == LS_PHASE_PREPARE) continue;
        int64_t first = -1;
        for (int64_t n = i + 1; n < g->n_nodes; n++)
            for (int k = 0; k < g->nodes[n].n_in; k++) {
                if (g->nodes[n].in[k] != cast->out[0]) continue;
                if (first < 0) first = n;
                assert_int_equal(g->nodes[n].phase, cast->phase);
                assert_int_equal(g->nodes[n].unit, cast->unit);
            }
        assert_true(first > i);
        for (int64_t n = i + 1; n < first; n++) assert_true(is_weight_cast(g, &g->nodes[n]));
        assert_true(((const ls_cast_attr *)cast->attr)->read_next);
    }
}

static void test_made_where_they_are_read(void **state) {
    (void)state;
    for (int i = 0; i < N_SETUPS; i++) {
        if (!makes_copies(&setups[i])) continue;
        ls_plan *plan = make_plan(&setups[i], LS_CASTING_USE);
        assert_int_equal(n_casts(plan, 1), 0);
        assert_int_equal(n_casts(plan, 0), plan->copies.n_casts);
        assert_true(plan->copies.n_casts >= plan->copies.n_weights);
        check_casts(plan);
        for (int r = 0; r < plan->n_ranks; r++)
            assert_int_equal(plan->ranks[r].bytes[LS_REGION_PREPARED], 0);
        ls_plan_destroy(plan);
    }
}

/* What is packed once a step is cast once a step. */
static void test_packed_stay(void **state) {
    const setup s = {GPT2, BF16, .lanes = 4, .ranks = 1, LAYER, .pack = LS_PACKING_ALL, .tied = 1};
    (void)state;
    ls_plan *plan = make_plan(&s, LS_CASTING_USE);
    assert_true(plan->layout.n_weights >= 6);
    assert_true(n_casts(plan, 1) >= 6);
    ls_plan_destroy(plan);
    check_same_bits(&s, -1);
}

/* What the plan prints is what memory is spared: the region `prepared` of the same plan that keeps them. */
static void test_bytes(void **state) {
    int n_less = 0;
    (void)state;
    for (int i = 0; i < N_SETUPS; i++) {
        if (!makes_copies(&setups[i]) || setups[i].stages) continue;
        ls_plan *step = make_plan(&setups[i], LS_CASTING_STEP);
        ls_plan *use = make_plan(&setups[i], LS_CASTING_USE);
        const int64_t kept = (int64_t)step->ranks[0].bytes[LS_REGION_PREPARED];
        assert_true(use->copies.bytes <= kept && kept - use->copies.bytes < 64 * 64);
        assert_true(ls_plan_bytes(use, 0) <= ls_plan_bytes(step, 0));
        n_less += ls_plan_bytes(use, 0) < ls_plan_bytes(step, 0);
        ls_plan_destroy(step);
        ls_plan_destroy(use);
    }
    assert_true(n_less >= 5); /* one lane's copies may lie where its gradients come to lie */
}

/* GPT-2 untied: [61, 40] tables of which 16 rows are read are not cast for that; with as many ids as rows they are. */
static void test_tables(void **state) {
    (void)state;
    const setup s = {GPT2, BF16, .lanes = 1, .ranks = 1, .vocab = LARGE_VOCAB};
    ls_plan *plan = make_plan(&s, LS_CASTING_USE);
    const ls_graph *g = plan->graph;
    int n_lookups = 0;
    for (int64_t n = 0; n < g->n_nodes; n++) {
        const ls_node *node = &g->nodes[n];
        if (node->op != &ls_op_embedding) continue;
        n_lookups++;
        assert_int_equal(g->values[node->in[0]].kind, LS_VALUE_PARAM);
        assert_int_equal(g->values[node->out[0]].type.dtype, LS_DTYPE_F32);
        assert_ptr_equal(g->nodes[n + 1].op, &ls_op_cast);
        assert_int_equal(g->nodes[n + 1].in[0], node->out[0]);
    }
    assert_true(n_lookups >= 1);
    ls_plan_destroy(plan);
}

/* --- small graphs ------------------------------------------------------------------------------------------------------ */

/* y = table[ids] + .. w: a forward plan. */
static ls_plan *plan_small(int64_t n_ids, ls_precision precision, ls_casting casting) {
    ls_graph *g = NULL;
    ls_plan *plan = NULL;
    const ls_init init = {LS_INIT_NORMAL, 0, 1};
    check_ok(ls_graph_create(&g));
    ls_graph_set_unit(g, 0);
    const ls_value ids = ls_graph_input(g, "ids", LS_DTYPE_I32, (ls_shape){1, {n_ids}});
    const ls_value table = ls_graph_param(g, "table", LS_DTYPE_F32, (ls_shape){2, {9, 8}}, init);
    const ls_value w = ls_graph_param(g, "w", LS_DTYPE_F32, (ls_shape){2, {8, 8}}, init);
    const ls_value x = ls_embedding(g, table, ids);
    check_ok(ls_graph_output(g, "y", ls_matmul(g, x, w, 0, 0)));
    const ls_plan_options options = {.mode = LS_PLAN_FORWARD,
                                     .device = "cpu",
                                     .threads = 1,
                                     .lanes = 1,
                                     .precision = precision,
                                     .pack = LS_PACKING_OFF,
                                     .cast_weights = casting};
    const ls_mesh mesh = {0};
    check_ok(ls_plan_make(g, &mesh, &options, &plan));
    ls_graph_destroy(g);
    return plan;
}

static void test_small_tables_are_cast(void **state) {
    (void)state;
    for (int64_t n_ids = 8; n_ids <= 9; n_ids++) {
        ls_plan *plan = plan_small(n_ids, LS_PRECISION_BF16, LS_CASTING_USE);
        assert_int_equal(n_casts(plan, 0), n_ids == 8 ? 1 : 2);
        assert_int_equal(plan->copies.n_weights, 2);
        ls_plan_destroy(plan);
    }
}

/* Forward plans, ranks that run several lanes, and lanes of few tokens keep the copies unless told otherwise. */
static void test_auto(void **state) {
    (void)state;
    static const struct {
        int lanes, ranks, tokens, uses;
    } cases[] = {{1, 1, 2048, 1}, {2, 1, 2048, 0}, {2, 2, 2048, 1}, {4, 2, 2048, 0},
                 {4, 4, 2048, 1}, {1, 1, 16, 0},   {2, 2, 64, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const setup s = {GPT2, BF16, .lanes = cases[i].lanes, .ranks = cases[i].ranks,
                         .tokens = cases[i].tokens};
        ls_plan *plan = make_plan(&s, LS_CASTING_AUTO);
        if ((plan->copies.n_weights > 0) != cases[i].uses)
            fail_msg("%d lanes, %d ranks, %d tokens: %d weights", s.lanes, s.ranks, s.tokens,
                     plan->copies.n_weights);
        ls_plan_destroy(plan);
    }
    ls_plan *plan = plan_small(8, LS_PRECISION_BF16, LS_CASTING_AUTO);
    assert_int_equal(plan->copies.n_weights, 0);
    assert_int_equal(n_casts(plan, 1), 2);
    ls_plan_destroy(plan);
}

static void check_text(ls_plan *plan, const char *words, int is_there) {
    char *text = NULL;
    check_ok(ls_plan_print(plan, 0, &text));
    if ((strstr(text, words) != NULL) != is_there) fail_msg("'%s' and\n%s", words, text);
    ls_free(text);
    ls_plan_destroy(plan);
}

static void test_printed(void **state) {
    (void)state;
    check_text(plan_small(8, LS_PRECISION_BF16, LS_CASTING_USE),
               "  cast_weights: use: copies of 2 weights are made 1 times a lane, where they are "
               "read: 272 bytes are not kept\n",
               1);
    check_text(plan_small(8, LS_PRECISION_F32, LS_CASTING_USE),
               "  cast_weights: use: no copies that lanes alone read\n", 1);
    check_text(plan_small(8, LS_PRECISION_BF16, LS_CASTING_STEP), "cast_weights", 0);
    ls_plan *plan = plan_small(8, LS_PRECISION_BF16, LS_CASTING_USE);
    char *json = NULL;
    check_ok(ls_plan_print_json(plan, &json));
    assert_non_null(strstr(json, "\"cast_weights\": {\n    \"weights\": 2,\n    \"casts_a_lane\": "
                                 "1,\n    \"bytes\": 272"));
    ls_free(json);
    ls_plan_destroy(plan);
}

static ls_status plan_once(void *user) {
    ls_plan *plan = NULL;
    const ls_plan_options options = {.mode = LS_PLAN_FORWARD,
                                     .device = "cpu",
                                     .threads = 1,
                                     .lanes = 1,
                                     .precision = LS_PRECISION_BF16,
                                     .cast_weights = LS_CASTING_USE};
    const ls_mesh mesh = {0};
    const ls_status status = ls_plan_make(user, &mesh, &options, &plan);
    ls_plan_destroy(plan);
    return status;
}

static void test_torture(void **state) {
    (void)state;
    ls_graph *g = NULL;
    const ls_init init = {LS_INIT_NORMAL, 0, 1};
    check_ok(ls_graph_create(&g));
    const ls_value x = ls_graph_input(g, "x", LS_DTYPE_F32, (ls_shape){2, {4, 8}});
    const ls_value w = ls_graph_param(g, "w", LS_DTYPE_F32, (ls_shape){2, {8, 8}}, init);
    check_ok(ls_graph_output(g, "y", ls_matmul(g, x, w, 0, 0)));
    assert_true(check_torture(plan_once, g) > 10);
    ls_graph_destroy(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bits),   cmocka_unit_test(test_made_where_they_are_read),
        cmocka_unit_test(test_packed_stay), cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_tables),      cmocka_unit_test(test_small_tables_are_cast),
        cmocka_unit_test(test_auto),        cmocka_unit_test(test_printed),
        cmocka_unit_test(test_torture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
