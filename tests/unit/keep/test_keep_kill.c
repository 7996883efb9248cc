/* A rank killed at any instant: the next one takes its memory over in place, and finds exactly a committed step, byte by byte. */
#include "unit/keep/keep_run.h"
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>

enum { KILLS = 60, MOST_MICROSECONDS = 20000 };

/* What the rank tells, in memory that outlives it. */
typedef struct news {
    _Atomic int64_t begun, committed; /* the last steps */
} news;

static void live_until_killed(const ls_plan *plan, news *told, int64_t expected) {
    ls_keep *keep = NULL;
    char *buffers[2], blob[LS_KEEP_BLOB] = "", wanted[LS_KEEP_BLOB];
    int64_t step = -1;
    int current = 0;
    if (ls_keep_open(NULL, &keep) != LS_OK || ls_keep_memory(keep, plan, 0, buffers) != LS_OK ||
        ls_keep_restore(keep, &step, &current, blob) != LS_OK)
        _exit(10);
    if (step != expected) _exit(11);
    make_blob(step, wanted);
    if (step >= 0 && (n_wrong(plan, 0, buffers[current], step) != 0 || strcmp(blob, wanted) != 0))
        _exit(12);
    if (step >= 0 && ls_keep_get_stats(keep).read_bytes != 0) _exit(13);
    for (;;) {
        atomic_store(&told->begun, ++step);
        if (ls_keep_begin(keep) != LS_OK) _exit(14);
        current = 1 - current;
        write_state(plan, 0, buffers[current], step);
        make_blob(step, blob);
        if (ls_keep_commit(keep, step, current, blob, LS_KEEP_BLOB) != LS_OK) _exit(15);
        atomic_store(&told->committed, step);
    }
}

/* What a rank tells its test, in memory that both map. */
static news *make_news(void) {
    news *told =
        mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(told, MAP_FAILED);
    atomic_store(&told->committed, -1);
    return told;
}

/* The rank has committed the step; if it ends before, that is told by its exit status. */
static void await_commit(const news *told, pid_t pid, int64_t step) {
    const double until = ls_clock_seconds() + patience_seconds;
    siginfo_t ended = {0};
    while (atomic_load(&told->committed) < step && ended.si_pid == 0 &&
           ls_clock_seconds() < until) {
        (void)usleep(100);
        (void)waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOHANG | WNOWAIT);
    }
    if (atomic_load(&told->committed) < step && ended.si_pid == 0)
        fail_msg("step %lld was committed, not %lld", (long long)atomic_load(&told->committed),
                 (long long)step);
}

/* Every other rank makes a step first, however slow the machine; the others are killed at any instant after their start. */
static void test_kill(void **state) {
    (void)state;
    ls_keeper *keeper = NULL;
    news *told = make_news();
    ls_plan *plan = make_plan(1, 0, 1);
    check_ok(ls_keeper_start(NULL, &keeper));
    int64_t best = -1;
    for (int i = 0; i < KILLS; i++) {
        const ls_rng_key key = {7, 0, (uint64_t)i};
        set_attempt(keeper, i, best);
        const pid_t pid = fork();
        if (pid == 0) live_until_killed(plan, told, best);
        if (i % 2) await_commit(told, pid, best + 1);
        (void)usleep((useconds_t)ls_rng_below(key, 0, MOST_MICROSECONDS));
        assert_int_equal(kill(pid, SIGKILL), 0);
        int status = 0;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (!WIFSIGNALED(status)) fail_msg("kill %d: the rank ended with %d", i, status >> 8);
        const int64_t kept = best_of(&keeper, 1), committed = atomic_load(&told->committed);
        /* Nothing that was committed is lost; what was not told of may be there. */
        if (kept < committed || kept > committed + 1 || kept < best)
            fail_msg("kill %d: step %lld is kept, %lld was committed", i, (long long)kept,
                     (long long)committed);
        best = kept;
    }
    if (best + 1 < KILLS / 2) fail_msg("%d kills got to step %lld", KILLS, (long long)best);
    ls_keeper_stop(keeper);
    ls_plan_destroy(plan);
    (void)munmap(told, sizeof *told);
}

/* A rank that still lives keeps its memory: the next one waits for its end, and takes it over then. */
static void test_predecessor_lives(void **state) {
    (void)state;
    ls_keeper *keeper = NULL;
    news *told = make_news();
    ls_plan *plan = make_plan(1, 0, 1);
    check_ok(ls_keeper_start(NULL, &keeper));
    set_attempt(keeper, 0, -1);
    const pid_t first = fork();
    if (first == 0) live_until_killed(plan, told, -1);
    await_commit(told, first, 3);
    assert_int_equal(kill(first, SIGSTOP), 0);
    assert_int_equal(waitpid(first, NULL, WUNTRACED), first);
    const int64_t best = best_of(&keeper, 1);
    assert_true(best >= 3);
    set_attempt(keeper, 1, best);
    atomic_store(&told->begun, -1);
    const pid_t second = fork();
    if (second == 0) live_until_killed(plan, told, best);
    (void)usleep(200000);
    assert_int_equal(atomic_load(&told->begun), -1);
    assert_int_equal(waitpid(second, NULL, WNOHANG), 0);
    assert_int_equal(kill(first, SIGKILL), 0);
    (void)waitpid(first, NULL, 0);
    await_commit(told, second, best + 2);
    assert_int_equal(kill(second, SIGKILL), 0);
    int status = 0;
    (void)waitpid(second, &status, 0);
    assert_true(WIFSIGNALED(status));
    ls_keeper_stop(keeper);
    ls_plan_destroy(plan);
    (void)munmap(told, sizeof *told);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kill),
        cmocka_unit_test(test_predecessor_lives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
