/* The trainer's state as text: what goes in comes out, to the bit; what an older version did not write keeps its value. */
#include "base/alloc.h"
#include "train/state.h"
#include "unit/base/check.h"
#include <math.h>
#include <string.h>

static ls_train_state make_state(void) {
    ls_train_state s;
    const ls_optim_options optim = {.patience = 3, .min_delta = 0.25};
    ls_train_state_init(&s, &optim);
    return s;
}

static void test_fresh(void **unused) {
    (void)unused;
    const ls_train_state s = make_state();
    assert_int_equal(s.step, 0);
    assert_true(isnan(s.loss) && isnan(s.held_loss));
    assert_int_equal(s.stop.patience, 3);
    assert_true(isinf(s.stop.best));
}

static void test_round_trip(void **unused) {
    (void)unused;
    ls_train_state a = make_state(), b = make_state();
    char *text = NULL;
    a.stop.best = 1.0 / 3;
    a.stop.bar = -1e-300;
    a.stop.best_step = INT64_MAX;
    a.stop.n_bad = 2;
    a.loss = 0x1.fffffffffffffp-3;
    a.lr = 1e-4f;
    a.grad_norm = INFINITY;
    a.seconds = 123.456;
    a.loss_scale = 65536;
    a.n_skipped = 7;
    a.data = UINT64_MAX;
    strcpy(a.run, "0123456789abcdef0123456789abcdef");
    assert_int_equal(ls_train_state_print(&a, &text), LS_OK);
    assert_int_equal(ls_train_state_parse(text, "text", &b), LS_OK);
    assert_true(b.stop.best == a.stop.best && b.stop.bar == a.stop.bar);
    assert_int_equal(b.stop.best_step, a.stop.best_step);
    assert_int_equal(b.stop.n_bad, 2);
    assert_true(b.loss == a.loss && b.lr == a.lr && b.grad_norm == a.grad_norm);
    assert_true(isnan(b.held_loss));
    assert_true(b.seconds == a.seconds && b.loss_scale == a.loss_scale);
    assert_int_equal(b.n_skipped, 7);
    assert_true(b.data == a.data);
    assert_string_equal(b.run, a.run);
    ls_free(text);
}

/* Written before there was more than early stopping. */
static void test_older(void **unused) {
    (void)unused;
    static const char text[] = "{\"best\":\"0x1p+1\",\"bar\":\"inf\",\"best_step\":4,\"n_bad\":1}";
    ls_train_state s = make_state();
    s.seconds = 5;
    assert_int_equal(ls_train_state_parse(text, "text", &s), LS_OK);
    assert_true(s.stop.best == 2 && isinf(s.stop.bar));
    assert_int_equal(s.stop.n_bad, 1);
    assert_true(s.seconds == 5);
    assert_int_equal(ls_train_state_parse(NULL, "nothing", &s), LS_OK);
}

static void test_refused(void **unused) {
    (void)unused;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "text"},
        {"[]", "text"},
        {"{\"best\":2}", "best"},
        {"{\"loss\":\"many\"}", "'many' is not a number"},
        {"{\"loss\":\"\"}", "is not a number"},
        {"{\"n_bad\":\"x\"}", "n_bad"},
        {"{\"seconds\":\"1x\"}", "'1x' is not a number"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ls_train_state s = make_state();
        assert_int_not_equal(ls_train_state_parse(cases[i].text, "text", &s), LS_OK);
        assert_non_null(strstr(ls_error_message(), cases[i].says));
        ls_error_clear();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fresh),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_older),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
