/* Choosing tokens: the order of candidates, top-k, top-p, temperature, determinism, and frequencies. */
#include "train/sample.h"
#include "unit/base/check.h"
#include <math.h>

enum { N = 5 };
static const float logits_data[2 * N] = {9, 9, 9, 9, 9, 1.0f, 3.0f, 2.0f, 3.0f, -INFINITY};

static ls_tensor logits_tensor(void) {
    return (ls_tensor){LS_DTYPE_F32, {.n_dims = 2, .dims = {2, N}}, (void *)logits_data};
}

/* Token chosen in row 1. */
static int32_t sample(ls_generate_options options, int64_t position) {
    const ls_tensor logits = logits_tensor();
    ls_candidate scratch[N];
    int32_t id = -1;
    check_ok(ls_sample_token(&logits, 1, &options, position, scratch, &id));
    return id;
}

static void test_greedy(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        const ls_generate_options cold = {.temperature = 0, .top_p = 1, .seed = seed};
        assert_int_equal(sample(cold, (int64_t)seed), 1); /* equal logits: the lower id */
        const ls_generate_options one = {.temperature = 5, .top_k = 1, .top_p = 1, .seed = seed};
        assert_int_equal(sample(one, 0), 1);
        const ls_generate_options none = {.temperature = 5, .top_p = 0, .seed = seed};
        assert_int_equal(sample(none, 0), 1);
    }
}

static void test_deterministic(void **state) {
    (void)state;
    const ls_generate_options a = {.temperature = 1, .top_p = 1, .seed = 3};
    ls_generate_options b = a;
    b.seed = 4;
    int differs_by_position = 0, differs_by_seed = 0;
    for (int64_t i = 0; i < 50; i++) {
        assert_int_equal(sample(a, i), sample(a, i));
        differs_by_position |= sample(a, i) != sample(a, i + 1);
        differs_by_seed |= sample(a, i) != sample(b, i);
    }
    assert_true(differs_by_position && differs_by_seed);
}

/* Share of each token in many draws. */
static void draw(const ls_generate_options *options, double share[N]) {
    enum { DRAWS = 20000 };
    memset(share, 0, N * sizeof *share);
    for (int64_t i = 0; i < DRAWS; i++) share[sample(*options, i)] += 1.0 / DRAWS;
}

static void check_shares(const ls_generate_options *options, const double wanted[N]) {
    double share[N], sum = 0;
    for (int i = 0; i < N; i++) sum += wanted[i];
    draw(options, share);
    for (int i = 0; i < N; i++)
        if (fabs(share[i] - wanted[i] / sum) > 0.015)
            fail_msg("token %d: %g of the draws, wanted %g", i, share[i], wanted[i] / sum);
}

static void test_shares(void **state) {
    (void)state;
    const double e = exp(1.0);
    const double all[N] = {1 / e, e, 1, e, 0}, warm[N] = {exp(-0.5), exp(0.5), 1, exp(0.5), 0};
    check_shares(&(ls_generate_options){.temperature = 1, .top_p = 1}, all);
    check_shares(&(ls_generate_options){.temperature = 2, .top_p = 1}, warm);
    const double three[N] = {0, e, 1, e, 0}, two[N] = {0, 1, 0, 1, 0};
    check_shares(&(ls_generate_options){.temperature = 1, .top_k = 3, .top_p = 1}, three);
    check_shares(&(ls_generate_options){.temperature = 1, .top_k = 2, .top_p = 1}, two);
    check_shares(&(ls_generate_options){.temperature = 1, .top_k = 99, .top_p = 1}, all);
    /* the two best hold 0.799 of all: 0.7 needs both, 0.85 a third, 0.3 one alone */
    check_shares(&(ls_generate_options){.temperature = 1, .top_p = 0.7}, two);
    check_shares(&(ls_generate_options){.temperature = 1, .top_p = 0.85}, three);
    const double one[N] = {0, 1, 0, 0, 0};
    check_shares(&(ls_generate_options){.temperature = 1, .top_p = 0.3}, one);
}

static void test_nan(void **state) {
    (void)state;
    const float data[] = {0, NAN};
    const ls_tensor logits = {LS_DTYPE_F32, {.n_dims = 2, .dims = {1, 2}}, (void *)data};
    const ls_generate_options options = {.temperature = 1, .top_p = 1};
    ls_candidate scratch[2];
    int32_t id;
    check_fails(ls_sample_token(&logits, 0, &options, 12, scratch, &id), LS_ERR_NUMERIC,
                "logit of token 1 at position 12 is NaN");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_greedy),
                                       cmocka_unit_test(test_deterministic),
                                       cmocka_unit_test(test_shares), cmocka_unit_test(test_nan)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
