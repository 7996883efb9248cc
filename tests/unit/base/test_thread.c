#include "base/clock.h"
#include "base/thread.h"
#include "unit/base/check.h"
#include <stdatomic.h>
#include <time.h>

enum { N_TASKS = 1000, MAX_WORKERS = 8 };

typedef struct job {
    ls_pool *pool;
    int64_t n_inner;
    int64_t result[N_TASKS];        /* plain: each written by one task, read after the join */
    atomic_int times[N_TASKS];      /* how often a task ran */
    atomic_int inside[MAX_WORKERS]; /* tasks now running as this worker */
    atomic_int clashes, bad_worker;
    int64_t fail_from, fail_every;
} job;

static ls_status square(void *user, int64_t task, int worker) {
    job *self = user;
    if (worker < 0 || worker >= ls_pool_threads(self->pool)) atomic_store(&self->bad_worker, 1);
    if (atomic_fetch_add(&self->inside[worker % MAX_WORKERS], 1) != 0)
        atomic_fetch_add(&self->clashes, 1);
    self->result[task] = task * task;
    atomic_fetch_add(&self->times[task], 1);
    atomic_fetch_sub(&self->inside[worker % MAX_WORKERS], 1);
    return LS_OK;
}

static void check_all_ran_once(ls_pool *pool, int64_t n) {
    static job self;
    memset(&self, 0, sizeof self);
    self.pool = pool;
    check_ok(ls_pool_run(pool, n, square, &self));
    for (int64_t i = 0; i < n; i++) {
        assert_int_equal(self.result[i], i * i);
        assert_int_equal(atomic_load(&self.times[i]), 1);
    }
    assert_int_equal(atomic_load(&self.clashes), 0);
    assert_int_equal(atomic_load(&self.bad_worker), 0);
}

static void test_every_task_runs_once_for_each_size_of_pool(void **state) {
    (void)state;
    static const int64_t counts[] = {0, 1, 2, 3, 7, 64, 999, N_TASKS};
    check_all_ran_once(NULL, 10);
    for (int n_threads = 1; n_threads <= 5; n_threads++) {
        ls_pool *pool;
        check_ok(ls_pool_create(n_threads, n_threads % 2 ? -1 : 0, &pool));
        assert_int_equal(ls_pool_threads(pool), n_threads);
        for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
            check_all_ran_once(pool, counts[i]);
        ls_pool_destroy(pool);
    }
    assert_int_equal(ls_pool_threads(NULL), 1);
    ls_pool_destroy(NULL);
}

/* Jobs back to back and jobs after a rest long enough for the workers to sleep. */
static void test_many_jobs_and_sleeping_workers(void **state) {
    (void)state;
    ls_pool *pool;
    check_ok(ls_pool_create(3, -1, &pool));
    for (int i = 0; i < 3000; i++) check_all_ran_once(pool, 1 + i % 9);
    for (int i = 0; i < 30; i++) {
        const struct timespec rest = {0, 300000 * (i % 3)};
        nanosleep(&rest, NULL);
        check_all_ran_once(pool, 12);
    }
    ls_pool_destroy(pool);
    for (int i = 0; i < 50; i++) {
        check_ok(ls_pool_create(2, -1, &pool));
        if (i % 2) check_all_ran_once(pool, 3);
        ls_pool_destroy(pool);
    }
}

static atomic_int n_started;

/* Ends only when two tasks run at the same time. */
static ls_status wait_for_another(void *user, int64_t task, int worker) {
    (void)user, (void)task, (void)worker;
    const double until = ls_clock_seconds() + 20;
    for (atomic_fetch_add(&n_started, 1); atomic_load(&n_started) < 2;)
        if (ls_clock_seconds() > until) return LS_FAIL(LS_ERR_COMM, "no second worker came");
    return LS_OK;
}

static void test_sleeping_workers_are_woken(void **state) {
    (void)state;
    ls_pool *pool;
    check_ok(ls_pool_create(2, 0, &pool));
    for (int i = 0; i < 20; i++) {
        const struct timespec rest = {0, i % 2 ? 2000000 : 0};
        nanosleep(&rest, NULL);
        atomic_store(&n_started, 0);
        check_ok(ls_pool_run(pool, 2, wait_for_another, NULL));
    }
    ls_pool_destroy(pool);
}

static ls_status fail_some(void *user, int64_t task, int worker) {
    const job *self = user;
    (void)worker;
    if (task >= self->fail_from && (task - self->fail_from) % self->fail_every == 0)
        return LS_FAIL(task % 2 ? LS_ERR_DATA : LS_ERR_NUMERIC, "task %lld failed",
                       (long long)task);
    return LS_OK;
}

static void test_error_of_lowest_task_reaches_the_caller(void **state) {
    (void)state;
    for (int n_threads = 1; n_threads <= 4; n_threads++) {
        ls_pool *pool;
        check_ok(ls_pool_create(n_threads, -1, &pool));
        for (int64_t first = 0; first < 200; first += 7) {
            static job self;
            self.fail_from = first;
            self.fail_every = 1 + first % 5;
            char text[64];
            snprintf(text, sizeof text, "task %lld failed", (long long)first);
            ls_error_clear();
            const ls_status status = ls_pool_run(pool, 300, fail_some, &self);
            assert_int_equal(status, first % 2 ? LS_ERR_DATA : LS_ERR_NUMERIC);
            assert_string_equal(ls_error_message(), text);
        }
        check_all_ran_once(pool, 100); /* the pool works after an error */
        ls_pool_destroy(pool);
    }
}

/* Which of two failures comes last in time. Sixty-four tasks on two threads begin with chunks {0, 1} and {2, 3}. */
typedef struct ordered {
    int low_is_last;
    atomic_int low_started, high_started, low_ends, high_ends;
} ordered;

static void wait_for(atomic_int *flag) {
    const double until = ls_clock_seconds() + 20;
    while (!atomic_load(flag) && ls_clock_seconds() < until) {
    }
}

static void rest_while_recorded(void) {
    const struct timespec rest = {0, 5000000};
    nanosleep(&rest, NULL);
}

/* Low last: task 0 passes after 2 has failed; then 1, not yet begun, must run and be the one reported.
 * High last: task 2 fails after 0 has; it must not replace it. */
static ls_status fail_in_order(void *user, int64_t task, int worker) {
    ordered *self = user;
    (void)worker;
    if (task == 0) {
        atomic_store(&self->low_started, 1);
        wait_for(self->low_is_last ? &self->high_ends : &self->high_started);
        if (self->low_is_last) {
            rest_while_recorded();
            return LS_OK;
        }
        atomic_store(&self->low_ends, 1);
    } else if (task == 2) {
        atomic_store(&self->high_started, 1);
        wait_for(self->low_is_last ? &self->low_started : &self->low_ends);
        if (!self->low_is_last) rest_while_recorded();
        atomic_store(&self->high_ends, 1);
    }
    return LS_FAIL(LS_ERR_DATA, "task %lld", (long long)task);
}

static void test_error_of_lowest_task_whatever_the_order_in_time(void **state) {
    (void)state;
    ls_pool *pool;
    check_ok(ls_pool_create(2, 0, &pool));
    for (int i = 0; i < 6; i++) {
        ordered self = {.low_is_last = i % 2};
        assert_int_equal(ls_pool_run(pool, 64, fail_in_order, &self), LS_ERR_DATA);
        assert_string_equal(ls_error_message(), i % 2 ? "task 1" : "task 0");
        assert_int_equal(atomic_load(&self.high_started), 1);
    }
    ls_pool_destroy(pool);
}

typedef struct nest {
    ls_pool *pool, *other;
    atomic_int n_inner, wrong_worker;
} nest;

typedef struct nest_inner {
    nest *outer;
    int worker; /* the outer task's, or -1 where any will do */
} nest_inner;

static ls_status count_inner(void *user, int64_t task, int worker) {
    const nest_inner *self = user;
    if (self->worker >= 0 && worker != self->worker) atomic_store(&self->outer->wrong_worker, 1);
    atomic_fetch_add(&self->outer->n_inner, 1);
    return task == 4 && self->worker == -2 ? LS_FAIL(LS_ERR_DATA, "inner %d", 4) : LS_OK;
}

static ls_status run_nested(void *user, int64_t task, int worker) {
    nest *self = user;
    (void)task;
    nest_inner inner = {self, worker};
    LS_TRY(ls_pool_run(self->pool, 5, count_inner, &inner));
    return LS_OK;
}

static void test_nested_call_runs_inline_as_the_same_worker(void **state) {
    (void)state;
    nest self = {0};
    check_ok(ls_pool_create(3, -1, &self.pool));
    for (int i = 0; i < 50; i++) check_ok(ls_pool_run(self.pool, 20, run_nested, &self));
    assert_int_equal(atomic_load(&self.n_inner), 50 * 20 * 5);
    assert_int_equal(atomic_load(&self.wrong_worker), 0);
    ls_pool_destroy(self.pool);
}

static ls_status run_on_other(void *user, int64_t task, int worker) {
    nest *self = user;
    (void)worker;
    nest_inner inner = {self, -1};
    if (task != 0) return LS_OK; /* one task at a time may use the other pool */
    LS_TRY(ls_pool_run(self->other, 5, count_inner, &inner));
    nest_inner back = {self, -2};
    return ls_pool_run(self->pool, 5, count_inner, &back);
}

static void test_pool_inside_another_pool(void **state) {
    (void)state;
    nest self = {0};
    check_ok(ls_pool_create(2, -1, &self.pool));
    check_ok(ls_pool_create(2, -1, &self.other));
    check_fails(ls_pool_run(self.pool, 4, run_on_other, &self), LS_ERR_DATA, "inner 4");
    assert_int_equal(atomic_load(&self.n_inner), 10);
    ls_pool_destroy(self.other);
    ls_pool_destroy(self.pool);
}

static ls_status create_and_run(void *user) {
    (void)user;
    ls_pool *pool;
    LS_TRY(ls_pool_create(3, 0, &pool));
    static job self;
    self.pool = pool;
    const ls_status status = ls_pool_run(pool, 10, square, &self);
    ls_pool_destroy(pool);
    return status;
}

static void test_bad_sizes_and_torture(void **state) {
    (void)state;
    ls_pool *pool = NULL;
    check_fails(ls_pool_create(0, -1, &pool), LS_ERR_INVALID, "pool of 0 threads");
    check_fails(ls_pool_create(1 << 20, -1, &pool), LS_ERR_INVALID, "1 to 4096");
    assert_null(pool);
    assert_int_equal(check_torture(create_and_run, NULL), 2);
}

static void test_running_allocates_nothing(void **state) {
    (void)state;
    ls_pool *pool;
    check_ok(ls_pool_create(2, -1, &pool));
    static job self;
    self.pool = pool;
    const int64_t before = ls_alloc_get_stats().n_calls;
    for (int i = 0; i < 100; i++) check_ok(ls_pool_run(pool, 50, square, &self));
    assert_int_equal(ls_alloc_get_stats().n_calls, before);
    ls_pool_destroy(pool);
}

static void test_cpu_count(void **state) {
    (void)state;
    assert_in_range(ls_cpu_count(), 1, sysconf(_SC_NPROCESSORS_CONF));
}

static ls_status spin_task(void *user, int64_t task, int worker) {
    (void)user, (void)task, (void)worker;
    const double until = ls_clock_seconds() + 2e-4;
    while (ls_clock_seconds() < until) {
    }
    return LS_OK;
}

/* The work of the others is counted while it is asked for, and never the caller's own. */
static void test_busy_time(void **state) {
    (void)state;
    ls_pool *pool;
    check_ok(ls_pool_create(3, -1, &pool));
    assert_int_equal(ls_pool_busy_ns(NULL), 0);
    ls_pool_measure(NULL, 1);
    check_ok(ls_pool_run(pool, 64, spin_task, NULL));
    assert_int_equal(ls_pool_busy_ns(pool), 0);
    ls_pool_measure(pool, 1);
    check_ok(ls_pool_run(pool, 1, spin_task, NULL)); /* inline */
    assert_int_equal(ls_pool_busy_ns(pool), 0);
    for (int i = 0; i < 100 && ls_pool_busy_ns(pool) == 0; i++)
        check_ok(ls_pool_run(pool, 64, spin_task, NULL));
    const int64_t busy = ls_pool_busy_ns(pool);
    assert_true(busy >= 150000);
    ls_pool_measure(pool, 0);
    check_ok(ls_pool_run(pool, 64, spin_task, NULL));
    assert_int_equal(ls_pool_busy_ns(pool), busy);
    ls_pool_destroy(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_task_runs_once_for_each_size_of_pool),
        cmocka_unit_test(test_many_jobs_and_sleeping_workers),
        cmocka_unit_test(test_sleeping_workers_are_woken),
        cmocka_unit_test(test_error_of_lowest_task_reaches_the_caller),
        cmocka_unit_test(test_error_of_lowest_task_whatever_the_order_in_time),
        cmocka_unit_test(test_nested_call_runs_inline_as_the_same_worker),
        cmocka_unit_test(test_pool_inside_another_pool),
        cmocka_unit_test(test_bad_sizes_and_torture),
        cmocka_unit_test(test_running_allocates_nothing),
        cmocka_unit_test(test_cpu_count),
        cmocka_unit_test(test_busy_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
