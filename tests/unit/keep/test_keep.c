/* labels: threads
 * A state that outlives its ranks: taken over in place, or read into another number of ranks and another zero. */
#include "unit/keep/keep_run.h"
#include <stdatomic.h>

/* layouts: ranks and zero of one attempt and the next */
typedef struct change {
    int ranks, zero, next_ranks, next_zero;
} change;
static const change changes[] = {
    {1, 0, 1, 0}, {2, 0, 2, 0}, {4, 3, 4, 3}, {1, 0, 2, 0}, {2, 0, 1, 0},
    {2, 1, 4, 1}, {4, 1, 2, 1}, {4, 3, 2, 3}, {2, 3, 8, 3}, {8, 3, 1, 0},
    {1, 0, 8, 3}, {4, 1, 4, 3}, {4, 3, 4, 0}, {8, 2, 2, 1}, {2, 0, 4, 3},
};

static void check_change(const change *c) {
    const int same = c->ranks == c->next_ranks && c->zero == c->next_zero;
    ls_keeper *keeper = NULL;
    kept_rank ranks[MAX_RANKS];
    ls_plan *plan = make_plan(c->ranks, c->zero, 1),
            *next = make_plan(c->next_ranks, c->next_zero, 1);
    check_ok(ls_keeper_start(NULL, &keeper));
    set_attempt(keeper, 0, -1);
    check_ok(ls_keeper_begin_job(keeper, 0, c->ranks));
    check_best(keeper, -1);
    check_attempt(&(attempt){plan, -1, .steps = 3}, ranks);
    assert_int_equal(ranks[0].stats.attached, 0);
    check_best(keeper, 2);

    /* Restored and killed before it makes a step of its own: nothing is lost. */
    set_attempt(keeper, 1, 2);
    check_attempt(&(attempt){next, 2, .steps = 0}, ranks);
    for (int r = 0; r < c->next_ranks; r++) {
        assert_int_equal(ranks[r].stats.attached, same);
        assert_int_equal(ranks[r].stats.read_bytes == 0, same);
        assert_int_equal(ranks[r].stats.read_remote, 0);
    }
    check_best(keeper, 2);

    set_attempt(keeper, 2, 2);
    check_attempt(&(attempt){next, 2, .steps = 2}, ranks);
    assert_int_equal(ranks[0].stats.attached, 1);
    check_best(keeper, 4);
    set_attempt(keeper, 3, 4);
    check_attempt(&(attempt){plan, 4, .steps = 1}, ranks);
    check_best(keeper, 5);
    ls_keeper_stop(keeper);
    ls_plan_destroy(plan);
    ls_plan_destroy(next);
}

static void test_changes(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) check_change(&changes[i]);
}

/* After the ranks have ended. */
static void check_segments(ls_keeper *keeper, int64_t wanted) {
    json_t *all = NULL;
    await_end_of_ranks(keeper);
    check_ok(ls_keeper_inventory(keeper, &all));
    const int64_t n = (int64_t)json_array_size(json_object_get(all, "segments"));
    json_decref(all);
    if (n != wanted)
        fail_msg("the keeper holds %lld segments, not %lld", (long long)n, (long long)wanted);
}

/* Older memory is given back once the new ranks have a step, not before. */
static void test_memory_is_given_back(void **state) {
    (void)state;
    ls_keeper *keeper = NULL;
    kept_rank ranks[MAX_RANKS];
    ls_plan *four = make_plan(4, 3, 1), *two = make_plan(2, 3, 1);
    check_ok(ls_keeper_start(NULL, &keeper));
    set_attempt(keeper, 0, -1);
    check_attempt(&(attempt){four, -1, .steps = 1}, ranks);
    check_segments(keeper, 4);
    set_attempt(keeper, 1, 0);
    check_attempt(&(attempt){two, 0, .steps = 0}, ranks);
    check_segments(keeper, 6);
    set_attempt(keeper, 2, 0);
    check_attempt(&(attempt){two, 0, 1, .only_first = 1}, ranks);
    check_segments(keeper, 6);
    check_best(keeper, 0);
    set_attempt(keeper, 3, 0);
    check_attempt(&(attempt){two, 0, .steps = 1}, ranks);
    check_segments(keeper, 2);
    check_best(keeper, 1);
    ls_keeper_stop(keeper);
    ls_plan_destroy(four);
    ls_plan_destroy(two);
}

/* What an attempt that begins anew finds in its memory, it does not go on from. */
static void test_fresh_start_forgets(void **state) {
    (void)state;
    ls_keeper *keeper = NULL;
    kept_rank ranks[MAX_RANKS];
    ls_plan *plan = make_plan(2, 1, 1);
    check_ok(ls_keeper_start(NULL, &keeper));
    set_attempt(keeper, 0, -1);
    check_attempt(&(attempt){plan, -1, .steps = 5}, ranks);
    check_best(keeper, 4);
    set_attempt(keeper, 1, -1);
    check_attempt(&(attempt){plan, -1, .steps = 0}, ranks);
    assert_int_equal(ranks[0].stats.attached, 1);
    check_best(keeper, -1);
    ls_keeper_stop(keeper);
    ls_plan_destroy(plan);
}

/* All ranks are threads on one keeper, whose copies go to a spare one: from there the run goes on. */
static void test_copies_on_spare_host(void **state) {
    (void)state;
    ls_keeper *keepers[2] = {NULL, NULL};
    kept_rank ranks[MAX_RANKS];
    char peers[128];
    ls_plan *plan = make_plan(4, 3, 1), *next = make_plan(2, 1, 1);
    check_ok(ls_keeper_start(&(ls_keeper_options){.listens = 1}, &keepers[0]));
    check_ok(ls_keeper_start(
        &(ls_keeper_options){.cookie = ls_keeper_cookie(keepers[0]), .listens = 1}, &keepers[1]));
    (void)snprintf(peers, sizeof peers, "127.0.0.1:%d 127.0.0.1:%d", ls_keeper_port(keepers[0]),
                   ls_keeper_port(keepers[1]));
    check_ok(ls_keeper_set_peers(keepers[0], peers, 0, 2));
    set_attempt(keepers[0], 0, -1);
    check_attempt(&(attempt){plan, -1, .steps = 20}, ranks);
    await_best(keepers[1], 19);
    ls_keeper_stop(keepers[0]);
    set_attempt(keepers[1], 1, 19);
    check_attempt(&(attempt){next, 19, .steps = 2}, ranks);
    check_best(keepers[1], 21);
    check_segments(keepers[1], 2); /* the copies are given back too */
    ls_keeper_stop(keepers[1]);
    ls_plan_destroy(plan);
    ls_plan_destroy(next);
}

enum {
    RING_CHANGES = 16,
    STEPS_PER_CHANGE = 8,
    RING_STEPS = (RING_CHANGES + 1) * STEPS_PER_CHANGE
};

typedef struct long_run {
    attempt a;
    kept_rank ranks[MAX_RANKS];
    _Atomic int64_t gate;
} long_run;

static void *run_long(void *user) {
    long_run *run = user;
    run_attempt(&run->a, run->ranks);
    return NULL;
}

static void check_ring(ls_keeper *keeper) {
    (void)pthread_mutex_lock(&keeper->lock);
    const int was_lost = keeper->ring.was_lost;
    (void)pthread_mutex_unlock(&keeper->lock);
    if (was_lost) fail_msg("the neighbour was given up");
}

/* Somewhere in these steps, which the ranks may make now, or after them: they do not get further before the change was made. */
static void change_ring(ls_keeper *keeper, long_run *run, int n, const char *peers) {
    const int64_t first = (int64_t)n * STEPS_PER_CHANGE;
    const double until = ls_clock_seconds() + patience_seconds;
    atomic_store(&run->gate, first + STEPS_PER_CHANGE - 1);
    while (best_of(&keeper, 1) < first + n % STEPS_PER_CHANGE && ls_clock_seconds() < until)
        (void)usleep(1000);
    check_ring(keeper);
    /* Away and back at once: what was sent to it before is not read yet. */
    if (n % 3 == 0) check_ok(ls_keeper_set_peers(keeper, peers, 0, 2));
    check_ok(ls_keeper_set_peers(keeper, peers, 0, n % 5 == 3 ? 1 : 2));
}

/* The neighbour changes again and again under a run: it goes on, and the last one has everything in the end. */
static void test_ring_changes(void **state) {
    (void)state;
    static long_run run; /* not on the stack: its threads stay when a check fails */
    ls_keeper *keepers[3] = {NULL, NULL, NULL};
    char peers[2][128];
    pthread_t thread;
    ls_plan *plan = make_plan(2, 3, 1);
    for (int i = 0; i < 3; i++) {
        const ls_keeper_options options = {.cookie = i ? ls_keeper_cookie(keepers[0]) : NULL,
                                           .listens = 1};
        check_ok(ls_keeper_start(&options, &keepers[i]));
    }
    for (int i = 0; i < 2; i++)
        (void)snprintf(peers[i], sizeof peers[i], "127.0.0.1:%d 127.0.0.1:%d",
                       ls_keeper_port(keepers[0]), ls_keeper_port(keepers[1 + i]));
    set_attempt(keepers[0], 0, -1);
    atomic_store(&run.gate, -1);
    run.a = (attempt){plan, -1, RING_STEPS, .gate = &run.gate};
    assert_int_equal(pthread_create(&thread, NULL, run_long, &run), 0);
    for (int n = 0; n < RING_CHANGES; n++) change_ring(keepers[0], &run, n, peers[n % 2]);
    check_ok(ls_keeper_set_peers(keepers[0], peers[1], 0, 2));
    atomic_store(&run.gate, RING_STEPS);
    (void)pthread_join(thread, NULL);
    for (int r = 0; r < 2; r++)
        if (run.ranks[r].status != LS_OK) fail_msg("rank %d: %s", r, run.ranks[r].message);
    check_best(keepers[0], RING_STEPS - 1);
    await_best(keepers[2], RING_STEPS - 1);
    check_ring(keepers[0]);
    for (int i = 0; i < 3; i++) ls_keeper_stop(keepers[i]);
    ls_plan_destroy(plan);
}

static void run_failing(const attempt *a, const char *part) {
    kept_rank ranks[MAX_RANKS];
    run_attempt(a, ranks);
    for (int r = 0; r < ls_mesh_size(&a->plan->mesh); r++) {
        assert_int_not_equal(ranks[r].status, LS_OK);
        if (!strstr(ranks[r].message, part))
            fail_msg("rank %d: '%s' lacks '%s'", r, ranks[r].message, part);
    }
}

static void test_errors(void **state) {
    (void)state;
    ls_keeper *keeper = NULL;
    kept_rank ranks[MAX_RANKS];
    ls_plan *plan = make_plan(2, 3, 1), *one = make_plan(1, 0, 1), *big = make_plan(1, 0, 2);
    const attempt again = {plan, 7, .steps = 0};
    check_ok(ls_keeper_start(NULL, &keeper));
    (void)unsetenv("LOCKSTEP_KEEPER");
    assert_false(ls_keep_is_offered());
    run_failing(&again, "is not \"NAME COOKIE\"");
    assert_int_equal(setenv("LOCKSTEP_KEEPER", "nobody 0123456789abcdef0123456789abcdef", 1), 0);
    assert_true(ls_keep_is_offered());
    run_failing(&again, "cannot be reached");

    set_attempt(keeper, 0, -1);
    check_attempt(&(attempt){plan, -1, .steps = 2}, ranks);
    set_attempt(keeper, 1, 7);
    run_failing(&again, "step 7 is not complete");
    set_attempt(keeper, 0, 1);
    run_failing(&again, "job 0 has ended");
    /* Another model: the names are there, but not all elements. */
    set_attempt(keeper, 2, -1);
    check_attempt(&(attempt){one, -1, .steps = 2}, ranks);
    set_attempt(keeper, 3, 1);
    run_failing(&(attempt){big, 1, .steps = 0}, "step 1 is not complete");
    assert_int_equal(setenv("LOCKSTEP_RESTORE", "soon", 1), 0);
    set_number("LOCKSTEP_ATTEMPT", 4);
    run_failing(&(attempt){big, 1, .steps = 0}, "LOCKSTEP_RESTORE='soon' is no number");
    ls_keeper_stop(keeper);
    ls_plan_destroy(plan);
    ls_plan_destroy(one);
    ls_plan_destroy(big);
}

/* A rank alone, without a transport, of a job of its own: from the start, or what it takes over at `step`. */
static ls_status join_keeper(ls_keeper *keeper, const ls_plan *plan, int64_t number, int64_t step,
                             ls_keep **keep, char *buffers[2]) {
    char blob[LS_KEEP_BLOB];
    int64_t found;
    int current;
    set_attempt(keeper, number, step);
    LS_TRY(ls_keep_open(NULL, keep));
    LS_TRY(ls_keep_memory(*keep, plan, 0, buffers));
    return ls_keep_restore(*keep, &found, &current, blob);
}

/* The calls in their order. */
static void test_calls(void **state) {
    (void)state;
    ls_keeper *keeper = NULL;
    ls_keep *keep = NULL;
    char *buffers[2], blob[LS_KEEP_BLOB] = "";
    int64_t step;
    int current;
    ls_plan *plan = make_plan(1, 0, 1);
    check_ok(ls_keeper_start(NULL, &keeper));
    set_attempt(keeper, 0, -1);
    check_ok(ls_keep_open(NULL, &keep));
    check_fails(ls_keep_begin(keep), LS_ERR_INVALID, "before ls_keep_memory");
    check_fails(ls_keep_commit(keep, 0, 0, NULL, 0), LS_ERR_INVALID, "commit of step 0");
    check_ok(ls_keep_memory(keep, plan, 0, buffers));
    check_fails(ls_keep_memory(keep, plan, 0, buffers), LS_ERR_INVALID, "already");
    check_ok(ls_keep_restore(keep, &step, &current, blob));
    assert_int_equal(step, -1);
    check_ok(ls_keep_begin(keep));
    check_ok(ls_keep_commit(keep, 0, 1, "x", 1));
    check_fails(ls_keep_commit(keep, 1, 1, NULL, 0), LS_ERR_INVALID, "was not given up");
    check_fails(ls_keep_commit(keep, 1, 0, blob, LS_KEEP_BLOB + 1), LS_ERR_INVALID, "4096 bytes");
    check_fails(ls_keep_commit(keep, 1, 2, blob, 1), LS_ERR_INVALID, "two buffers");
    check_ok(ls_keep_commit(keep, 1, 0, NULL, 0));
    check_ok(ls_keep_begin(keep));
    check_best(keeper, 1);
    ls_keep_close(keep);
    ls_keep_close(NULL);
    ls_keeper_stop(keeper);
    ls_plan_destroy(plan);
}

/* The keeper goes first: its rank goes on. */
static void test_keeper_is_gone(void **state) {
    (void)state;
    ls_keeper *keeper = NULL;
    ls_keep *keep = NULL;
    char *buffers[2];
    ls_plan *plan = make_plan(1, 0, 1);
    check_ok(ls_keeper_start(NULL, &keeper));
    check_ok(join_keeper(keeper, plan, 0, -1, &keep, buffers));
    ls_keeper_stop(keeper);
    for (int i = 0; i < 4; i++) {
        check_ok(ls_keep_begin(keep));
        write_state(plan, 0, buffers[i % 2], i);
        check_ok(ls_keep_commit(keep, i, i % 2, NULL, 0));
    }
    assert_int_equal(n_wrong(plan, 0, buffers[1], 3), 0);
    ls_keep_close(keep);
    ls_plan_destroy(plan);
}

/* Everything a rank and its keeper do, alone. */
static ls_status scenario(void *user) {
    const ls_plan *plan = user;
    ls_keeper *keeper = NULL;
    ls_keep *keep = NULL;
    json_t *inventory = NULL;
    char *buffers[2];
    LS_TRY(ls_keeper_start(NULL, &keeper));
    ls_status status = join_keeper(keeper, plan, 0, -1, &keep, buffers);
    if (status == LS_OK) status = ls_keep_begin(keep);
    if (status == LS_OK) status = ls_keep_commit(keep, 3, 0, "x", 2);
    if (status == LS_OK) status = ls_keeper_inventory(keeper, &inventory);
    json_decref(inventory);
    ls_keep_close(keep);
    keep = NULL;
    /* And taken over. */
    if (status == LS_OK) status = join_keeper(keeper, plan, 1, 3, &keep, buffers);
    ls_keep_close(keep);
    ls_keeper_stop(keeper);
    return status;
}

/* The n-th allocation fails, the rank's or the keeper's: an error with a message, or none; nothing leaks and nothing hangs. */
static void test_no_memory(void **state) {
    (void)state;
    ls_plan *plan = make_plan(1, 0, 1);
    int n_failed = 0;
    for (int64_t n = 1; n < 400; n++) {
        const int64_t before = ls_alloc_get_stats().n_live;
        ls_error_clear();
        ls_alloc_fail_at(n, 0);
        const ls_status status = scenario(plan);
        ls_alloc_fail_at(0, 0);
        assert_int_equal(ls_alloc_get_stats().n_live, before);
        if (status != LS_OK && !*ls_error_message())
            fail_msg("allocation %lld: no message", (long long)n);
        n_failed += status != LS_OK;
    }
    assert_true(n_failed > 10);
    check_ok(scenario(plan));
    ls_plan_destroy(plan);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_memory_is_given_back),
        cmocka_unit_test(test_fresh_start_forgets),
        cmocka_unit_test(test_copies_on_spare_host),
        cmocka_unit_test(test_ring_changes),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_keeper_is_gone),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
