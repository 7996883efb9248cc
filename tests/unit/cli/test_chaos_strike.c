/* Blows: what the seed draws. */
#include "cli/cmd_chaos_strike.h"
#include "comm/fault.h"
#include "unit/base/check.h"

enum { N_DRAWN = 400 };

static const ls_strike_field field = {
    .size = 4,
    .kinds = UINT32_MAX,
    .stamp = "/tmp/a stamp",
    .times = {.first_step = 0.1, .step = 0.01, .calls_per_step = 7},
};

static void test_the_seed_decides(void **state) {
    (void)state;
    int n_different = 0;
    for (int64_t i = 0; i < N_DRAWN; i++) {
        ls_strike a, b, c;
        ls_strike_draw(1, i, &field, &a);
        ls_strike_draw(1, i, &field, &b);
        ls_strike_draw(2, i, &field, &c);
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
        ls_strike_draw(7, i, &field, &s);
        kinds[s.kind]++;
        aims[s.aim]++;
        assert_in_range(s.first, 0, 3);
        ranks[s.first]++;
        assert_in_range(s.n_victims, 1, 4);
        if (s.kind == LS_STRIKE_ALL) assert_int_equal(s.n_victims, 4);
        if (s.kind == LS_STRIKE_SOME) assert_in_range(s.n_victims, 2, 3);
        if (s.kind == LS_STRIKE_TERM) assert_int_equal(s.aim, LS_AIM_STEP);
        assert_true(s.delay >= 0 && s.delay <= 0.1);
        const int is_told = s.kind == LS_STRIKE_CALL || s.kind == LS_STRIKE_TORN ||
                            s.kind == LS_STRIKE_FULL || s.kind == LS_STRIKE_SLOW;
        assert_int_equal(s.fault[0] != 0, is_told);
        assert_int_equal(s.file_fault[0] != 0, s.kind == LS_STRIKE_FILE);
        /* Whoever runs already cannot be told. */
        assert_int_equal(LS_STRIKES_FROM_OUTSIDE >> s.kind & 1,
                         !is_told && s.kind != LS_STRIKE_FILE);
    }
    for (int k = 0; k < LS_STRIKE_COUNT; k++) assert_true(kinds[k] > 0);
    for (int a = 0; a < LS_AIM_COUNT; a++) assert_true(aims[a] > 0);
    for (int r = 0; r < 4; r++) assert_true(ranks[r] > 0);
    /* A stop takes a second to be found. */
    assert_int_equal(kinds[LS_STRIKE_STOP], N_DRAWN / 20);
}

/* A rank that does it to itself does so a few steps after those that the attempt begins with, and in every attempt. */
static void test_a_fault_knows_its_step(void **state) {
    (void)state;
    static const struct {
        ls_strike_kind kind;
        ls_fault_kind fault;
        int least, most; /* of count */
    } told[] = {{LS_STRIKE_CALL, LS_FAULT_DIE, 0, 0},
                {LS_STRIKE_TORN, LS_FAULT_TORN, 1, 12},
                {LS_STRIKE_FULL, LS_FAULT_DISK, 1, 40},
                {LS_STRIKE_SLOW, LS_FAULT_SLOW, 1, 20}};
    const ls_recover_attempt attempt = {.number = 3, .base = 40};
    ls_strike_watch watch = {.out = "/nonexistent", .size = 4};
    int n_seen[4] = {0}, ranks[4] = {0};
    for (int64_t i = 0; i < N_DRAWN; i++) {
        ls_strike s;
        ls_fault fault;
        ls_strike_draw(1, i, &field, &s);
        ls_strike_watch_begin(&watch, &attempt, &s);
        ls_strike_watch_end(&watch);
        assert_int_equal(s.base, 40);
        for (int k = 0; k < 4; k++) {
            if (s.kind != told[k].kind) continue;
            n_seen[k]++;
            check_ok(ls_fault_parse(s.fault, &fault));
            assert_int_equal(fault.kind, told[k].fault);
            assert_int_equal(fault.attempt, -1);
            assert_int_equal(fault.rank, s.first);
            assert_in_range(fault.step, 40, 42);
            assert_in_range(fault.call, 0, 6);
            assert_in_range(fault.count, told[k].least, told[k].most);
            assert_string_equal(fault.stamp, ls_strike_is_gentle(s.kind) ? field.stamp : "");
            if (s.kind == LS_STRIKE_FULL) ranks[fault.rank]++;
            if (s.kind == LS_STRIKE_SLOW) assert_true(fault.seconds > 0 && fault.seconds < 0.11);
        }
    }
    for (int k = 0; k < 4; k++) assert_true(n_seen[k] > 0 && ranks[k] > 0);
}

/* Only what was asked for, in turn; what kills is counted, what is gentle lets the attempt go on. */
static void test_kinds(void **state) {
    (void)state;
    ls_strike_field some = field;
    some.kinds = 1u << LS_STRIKE_TORN | 1u << LS_STRIKE_FULL;
    for (int64_t i = 0; i < 10; i++) {
        ls_strike s;
        ls_strike_draw(3, i, &some, &s);
        assert_int_equal(s.kind, i % 2 ? LS_STRIKE_FULL : LS_STRIKE_TORN);
    }
    static const struct {
        ls_strike_kind kind;
        int kills, gentle;
    } all[] = {{LS_STRIKE_ONE, 1, 0},  {LS_STRIKE_SOME, 1, 0}, {LS_STRIKE_ALL, 1, 0},
               {LS_STRIKE_CALL, 1, 0}, {LS_STRIKE_FILE, 1, 0}, {LS_STRIKE_TORN, 1, 0},
               {LS_STRIKE_FULL, 0, 1}, {LS_STRIKE_SLOW, 0, 1}, {LS_STRIKE_STOP, 0, 0},
               {LS_STRIKE_TERM, 0, 0}};
    assert_int_equal(sizeof all / sizeof *all, LS_STRIKE_COUNT);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        assert_int_equal(ls_strike_kills(all[i].kind), all[i].kills);
        assert_int_equal(ls_strike_is_gentle(all[i].kind), all[i].gentle);
    }
    assert_null(ls_strike_names[LS_STRIKE_COUNT]);
}

/* A second blow of an attempt comes after what has passed of it. */
static void test_again(void **state) {
    (void)state;
    ls_strike_watch watch = {.attempt = {.number = 2, .base = 7}, .stepped_at = 1, .last_at = 3};
    ls_strike s = {.kind = LS_STRIKE_ONE, .aim = LS_AIM_SAVE, .delay = 0.5};
    ls_strike_watch_again(&watch, &s);
    assert_ptr_equal(watch.strike, &s);
    assert_int_equal(s.aim, LS_AIM_STEP);
    assert_true(s.delay == 2.5);
    assert_int_equal(s.attempt * 10 + s.base, 27);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_seed_decides),
        cmocka_unit_test(test_draws_cover_everything),
        cmocka_unit_test(test_a_fault_knows_its_step),
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
