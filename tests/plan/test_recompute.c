/* labels: slow
 * What `recompute: auto` chooses, by what a lane computes and what a rank keeps, and that it is what `cheap` or `none` would be. */
#include "op/op.h"

enum { TOKENS = 16, VOCAB = 64, LAYERS = 2 };
#include "plan/plan_setup.h"

static ls_plan *make_plan(const setup *s, ls_recompute recompute) {
    setup with = *s;
    with.recompute = recompute;
    with.tied = 1;
    return plan_setup(&with);
}

/* A layer of width D has 12 D^2 parameters, and of each token 6 D elements of norms and activations: the tokens decide about memory, the
 * width about time. Each with what `auto` is to choose. */
static const setup setups[] = {
    {GPT2, 768, 1024, BF16, 1, 1, 0, CHEAP},
    {GPT2, 768, 512, BF16, 1, 1, 0, NONE},     /* too few bytes */
    {GPT2, 768, 512, .lanes = 1, 1, 0, CHEAP}, /* twice as many in f32 */
    {GPT2, 256, 1024, BF16, 1, 1, 0, NONE},    /* too little work */
    {GPT2, 768, 1024, F16, 1, 1, 0, CHEAP},    /* as bf16 */
    {GPT2, 768, 1024, BF16, 2, 1, 0, NONE},    /* two lanes on a rank */
    {GPT2, 768, 1024, BF16, 2, 2, 0, CHEAP},   /* one on each */
    {GPT2, 768, 1024, BF16, 1, 1, 2, CHEAP},   /* a pipeline */
    {LLAMA, 768, 1536, BF16, 1, 1, 0, CHEAP},
    {LLAMA, 256, 1536, BF16, 1, 1, 0, NONE},
};
enum { N_SETUPS = sizeof setups / sizeof setups[0] };

static char *print_graph(const ls_plan *plan) {
    char *text = NULL;
    check_ok(ls_graph_print(plan->graph, &text));
    return text;
}

static char *print_plan(const ls_plan *plan) {
    char *text = NULL;
    check_ok(ls_plan_print(plan, 0, &text));
    return text;
}

static void check_choice(const setup *s) {
    ls_plan *chosen = make_plan(s, LS_RECOMPUTE_AUTO);
    ls_plan *named = make_plan(s, s->recompute);
    char *a = print_graph(chosen), *b = print_graph(named), *text = print_plan(chosen);
    if (chosen->again.kind != s->recompute || strcmp(a, b) != 0)
        fail_msg("model %d, width %d, %d tokens, precision %d, %d lanes, %d ranks: %s", s->model,
                 s->width, s->tokens, s->precision, s->lanes, s->ranks, text);
    assert_int_equal(ls_plan_bytes(chosen, 0), ls_plan_bytes(named, 0));
    const char *words =
        s->recompute == LS_RECOMPUTE_CHEAP ? "recompute: cheap (auto): " : "recompute: none (auto)";
    if (!strstr(text, words)) fail_msg("no \"%s\" in: %s", words, text);
    ls_free(a);
    ls_free(b);
    ls_free(text);
    ls_plan_destroy(chosen);
    ls_plan_destroy(named);
}

static void test_choices(void **state) {
    (void)state;
    for (int i = 0; i < N_SETUPS; i++) check_choice(&setups[i]);
}

/* What the plan prints is what memory is spared. */
static void test_bytes(void **state) {
    (void)state;
    for (int i = 0; i < N_SETUPS; i++) {
        if (setups[i].recompute != LS_RECOMPUTE_CHEAP || setups[i].stages) continue;
        ls_plan *none = make_plan(&setups[i], LS_RECOMPUTE_NONE);
        ls_plan *cheap = make_plan(&setups[i], LS_RECOMPUTE_AUTO);
        const int64_t less = (int64_t)none->ranks[0].bytes[LS_REGION_SLOTS] -
                             (int64_t)cheap->ranks[0].bytes[LS_REGION_SLOTS];
        assert_int_equal(cheap->again.bytes, less);
        assert_int_equal(none->again.n_nodes, 0);
        assert_true(cheap->flops_per_step > none->flops_per_step);
        ls_plan_destroy(none);
        ls_plan_destroy(cheap);
    }
}

/* Whoever names a kind gets it, however little it brings. */
static void test_named_kinds(void **state) {
    const setup small = {GPT2, 64, 16, BF16, 4, 1, 0, NONE};
    (void)state;
    ls_plan *cheap = make_plan(&small, LS_RECOMPUTE_CHEAP);
    ls_plan *none = make_plan(&small, LS_RECOMPUTE_NONE);
    char *text = print_plan(cheap), *other = print_plan(none), *json = NULL;
    assert_true(cheap->again.n_nodes == 3 * LAYERS && cheap->again.kind == LS_RECOMPUTE_CHEAP);
    assert_non_null(strstr(text, "  recompute: cheap: 6 nodes run again in a lane: "));
    assert_null(strstr(other, "recompute"));
    check_ok(ls_plan_print_json(cheap, &json));
    assert_non_null(strstr(json, "\"kind\": \"cheap\""));
    assert_non_null(strstr(json, "\"auto\": false"));
    ls_free(json);
    ls_free(text);
    ls_free(other);
    ls_plan_destroy(cheap);
    ls_plan_destroy(none);
}

/* A plan that makes no gradients has nothing to choose. */
static void test_forward(void **state) {
    setup s = setups[0];
    (void)state;
    s.forward = 1;
    ls_plan *plan = make_plan(&s, LS_RECOMPUTE_AUTO);
    char *text = print_plan(plan);
    assert_null(strstr(text, "recompute"));
    ls_free(text);
    ls_plan_destroy(plan);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_choices), cmocka_unit_test(test_bytes),
                                       cmocka_unit_test(test_named_kinds),
                                       cmocka_unit_test(test_forward)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
