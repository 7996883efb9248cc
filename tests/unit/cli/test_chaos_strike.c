/* Blows: what the seed draws. */
#include "cli/cmd_chaos_strike.h"
#include "comm/fault.h"
#include "unit/base/check.h"

enum { N_DRAWN = 400 };

static const ls_strike_times times = {.first_step = 0.1, .step = 0.01, .calls_per_step = 7};

static void test_the_seed_decides(void **state) {
    (void)state;
    int n_different = 0;
    for (int64_t i = 0; i < N_DRAWN; i++) {
        ls_strike a, b, c;
        ls_strike_draw(1, i, 4, &times, &a);
        ls_strike_draw(1, i, 4, &times, &b);
        ls_strike_draw(2, i, 4, &times, &c);
        assert_memory_equal(&a, &b, sizeof a);
        n_different += a.first != c.first || a.aim != c.aim || a.delay != c.delay;
    }
    assert_true(n_different > N_DRAWN / 2);
}

/* Every kind, every aim, every rank; victims and delays within bounds. */
static void test_draws_cover_everything(void **state) {
    (void)state;
    int kinds[LS_STRIKE_COUNT] = {0}, aims[LS_AIM_COUNT] = {0}, ranks[4] = {0};
    for (int64_t i = 0; i < N_DRAWN; i++) {
        ls_strike s;
        ls_strike_draw(7, i, 4, &times, &s);
        kinds[s.kind]++;
        aims[s.aim]++;
        assert_in_range(s.first, 0, 3);
        ranks[s.first]++;
        assert_in_range(s.n_victims, 1, 4);
        if (s.kind == LS_STRIKE_ALL) assert_int_equal(s.n_victims, 4);
        if (s.kind == LS_STRIKE_SOME) assert_in_range(s.n_victims, 2, 3);
        if (s.kind == LS_STRIKE_TERM) assert_int_equal(s.aim, LS_AIM_STEP);
        assert_true(s.delay >= 0 && s.delay <= 0.1);
        assert_int_equal(s.fault[0] != 0, s.kind == LS_STRIKE_CALL);
        assert_int_equal(s.file_fault[0] != 0, s.kind == LS_STRIKE_FILE);
    }
    for (int k = 0; k < LS_STRIKE_COUNT; k++) assert_true(kinds[k] > 0);
    for (int a = 0; a < LS_AIM_COUNT; a++) assert_true(aims[a] > 0);
    for (int r = 0; r < 4; r++) assert_true(ranks[r] > 0);
    /* A stop takes a second to be found. */
    assert_int_equal(kinds[LS_STRIKE_STOP], N_DRAWN / 20);
}

/* A rank that kills itself does so a few steps after those that the attempt begins with. */
static void test_a_fault_knows_its_step(void **state) {
    (void)state;
    const ls_recover_attempt attempt = {.number = 3, .base = 40};
    ls_strike_watch watch = {.out = "/nonexistent", .size = 4};
    for (int64_t i = 0; i < N_DRAWN; i++) {
        ls_strike s;
        int step;
        ls_strike_draw(1, i, 4, &times, &s);
        ls_strike_watch_begin(&watch, &attempt, &s);
        ls_strike_watch_end(&watch);
        assert_int_equal(s.base, 40);
        if (s.kind != LS_STRIKE_CALL) continue;
        const char *at = strstr(s.fault, ",step=");
        assert_non_null(at);
        assert_int_equal(sscanf(at, ",step=%d", &step), 1);
        assert_in_range(step, 40, 42);
        ls_fault fault;
        check_ok(ls_fault_parse(s.fault, &fault));
        assert_int_equal(fault.kind, LS_FAULT_DIE);
        assert_int_equal(fault.attempt, -1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_seed_decides),
        cmocka_unit_test(test_draws_cover_everything),
        cmocka_unit_test(test_a_fault_knows_its_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
