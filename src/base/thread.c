/* The pool: one counter of unclaimed tasks, lowered by compare-and-swap, and eventcounts for whoever waits.
 *
 * A worker claims the next few tasks by lowering `unclaimed`; success means those tasks are its own, whatever job it
 * set out for, so a worker that wakes late finds nothing and harms nothing, and the caller never waits for a worker
 * that took no task. `unfinished` counts tasks not yet done; whoever brings it to zero wakes the caller. */
#include "base/thread.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/spin.h"
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAX_THREADS = 4096, PAUSES_PER_LOOK = 64, CHUNKS_PER_THREAD = 16 };
/* How long an idle thread spins before it sleeps: longer than the gap between two kernels of a step. */
static const double spin_seconds = 50e-6;

typedef struct pool_worker {
    ls_pool *pool;
    pthread_t thread;
    int index; /* 1.. : the caller is worker 0 */
    int cpu;   /* -1 = not pinned */
} pool_worker;

struct ls_pool {
    int n_threads, n_started, may_spin;
    pool_worker *workers; /* [n_threads]; entry 0 is unused */
    /* Written by the caller before it publishes `unclaimed`, read by whoever claimed a task. */
    ls_task_fn fn;
    void *user;
    int64_t n_tasks;
    atomic_int busy;
    _Atomic int64_t unclaimed, unfinished;
    _Atomic uint32_t wakeups; /* futex of idle workers: changes with every job */
    _Atomic uint32_t n_sleeping;
    _Atomic uint32_t finished; /* futex of the caller: changes when a job has ended */
    atomic_int caller_sleeps, stop;
    atomic_int measures;     /* ls_pool_measure */
    _Atomic int64_t busy_ns; /* of the workers other than the caller */
    /* The error with the lowest task index; the rest is under error_lock. */
    _Atomic int64_t error_task;
    pthread_mutex_t error_lock;
    ls_status error_status;
    char error_text[2048];
};

/* The pool whose task this thread is inside, and as which worker: makes nested calls run inline. */
static _Thread_local const ls_pool *inside_pool;
static _Thread_local int inside_worker;

static void futex_wait(_Atomic uint32_t *word, uint32_t seen) {
    (void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word, int n) {
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

/* Claims a few tasks: [*first, *first + return value), or 0 when none is left. */
static int64_t claim_tasks(ls_pool *pool, int64_t *first) {
    int64_t left = atomic_load_explicit(&pool->unclaimed, memory_order_acquire);
    while (left > 0) {
        const int64_t take = 1 + (left - 1) / (CHUNKS_PER_THREAD * pool->n_threads);
        if (!atomic_compare_exchange_weak_explicit(&pool->unclaimed, &left, left - take,
                                                   memory_order_acq_rel, memory_order_acquire))
            continue;
        *first = pool->n_tasks - left;
        return take;
    }
    return 0;
}

static void record_error(ls_pool *pool, int64_t task, ls_status status) {
    pthread_mutex_lock(&pool->error_lock);
    if (task < atomic_load(&pool->error_task)) {
        atomic_store(&pool->error_task, task);
        pool->error_status = status;
        (void)snprintf(pool->error_text, sizeof pool->error_text, "%s", ls_error_message());
    }
    pthread_mutex_unlock(&pool->error_lock);
}

static void finish_tasks(ls_pool *pool, int64_t n) {
    if (atomic_fetch_sub(&pool->unfinished, n) != n) return;
    atomic_fetch_add(&pool->finished, 1);
    if (atomic_load(&pool->caller_sleeps)) futex_wake(&pool->finished, 1);
}

/* Tasks after a failed one are skipped, those before it are not: so the error returned does not depend on timing. */
static void run_claimed(ls_pool *pool, int64_t first, int64_t n, int worker) {
    const int measures = worker > 0 && atomic_load_explicit(&pool->measures, memory_order_relaxed);
    const double begun = measures ? ls_clock_seconds() : 0;
    for (int64_t task = first; task < first + n; task++) {
        if (task > atomic_load_explicit(&pool->error_task, memory_order_relaxed)) break;
        const ls_status status = pool->fn(pool->user, task, worker);
        if (status != LS_OK) record_error(pool, task, status);
    }
    if (measures) /* before the caller may go on */
        atomic_fetch_add(&pool->busy_ns, (int64_t)((ls_clock_seconds() - begun) * 1e9));
    finish_tasks(pool, n);
}

static void work(ls_pool *pool, int worker) {
    const ls_pool *outer_pool = inside_pool;
    const int outer_worker = inside_worker;
    inside_pool = pool;
    inside_worker = worker;
    int64_t first, n;
    while ((n = claim_tasks(pool, &first)) > 0) run_claimed(pool, first, n, worker);
    inside_pool = outer_pool;
    inside_worker = outer_worker;
}

static int has_news(ls_pool *pool, uint32_t seen) {
    return atomic_load_explicit(&pool->wakeups, memory_order_acquire) != seen ||
           atomic_load_explicit(&pool->stop, memory_order_acquire);
}

static void wait_for_news(ls_pool *pool, uint32_t seen) {
    if (pool->may_spin) {
        const double until = ls_clock_seconds() + spin_seconds;
        do {
            for (int i = 0; i < PAUSES_PER_LOOK; i++) {
                if (has_news(pool, seen)) return;
                ls_spin_pause();
            }
        } while (ls_clock_seconds() < until);
    }
    /* The publisher changes `wakeups` and then reads `n_sleeping`; here it is the other way round, both sequentially
     * consistent, and the kernel compares `wakeups` once more: no wake-up is lost. */
    while (!has_news(pool, seen)) {
        atomic_fetch_add(&pool->n_sleeping, 1);
        futex_wait(&pool->wakeups, seen);
        atomic_fetch_sub(&pool->n_sleeping, 1);
    }
}

static void pin_self(int cpu) {
    cpu_set_t set;
    if (cpu < 0 || cpu >= CPU_SETSIZE) return;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    (void)sched_setaffinity(0, sizeof set, &set);
}

static void *worker_main(void *argument) {
    pool_worker *self = argument;
    ls_pool *pool = self->pool;
    pin_self(self->cpu);
    uint32_t seen = 0;
    for (;;) {
        wait_for_news(pool, seen);
        if (atomic_load(&pool->stop)) return NULL;
        seen = atomic_load(&pool->wakeups);
        work(pool, self->index);
    }
}

/* The n-th CPU this process may use, or -1. */
static int nth_allowed_cpu(int n) {
    cpu_set_t set;
    if (n < 0 || sched_getaffinity(0, sizeof set, &set) != 0) return -1;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &set) && n-- == 0) return cpu;
    return -1;
}

static ls_status start_workers(ls_pool *pool, int first_cpu) {
    for (int i = 1; i < pool->n_threads; i++) {
        const int cpu = first_cpu < 0 ? -1 : nth_allowed_cpu(first_cpu + i);
        pool->workers[i] = (pool_worker){.pool = pool, .index = i, .cpu = cpu};
        const int error =
            pthread_create(&pool->workers[i].thread, NULL, worker_main, &pool->workers[i]);
        if (error)
            return LS_FAIL(LS_ERR_NO_MEMORY,
                           "cannot start thread %d of %d: %s; ask for fewer threads", i + 1,
                           pool->n_threads, strerror(error));
        pool->n_started = i;
    }
    return LS_OK;
}

ls_status ls_pool_create(int n_threads, int first_cpu, ls_pool **out) {
    if (n_threads < 1 || n_threads > MAX_THREADS)
        return LS_FAIL(LS_ERR_INVALID, "a pool of %d threads was asked for; 1 to %d work",
                       n_threads, (int)MAX_THREADS);
    ls_pool *pool = ls_alloc(sizeof *pool);
    if (!pool) return LS_ERR_NO_MEMORY;
    pthread_mutex_init(&pool->error_lock, NULL);
    pool->n_threads = n_threads;
    pool->may_spin = n_threads <= ls_cpu_count();
    ls_status status = LS_ERR_NO_MEMORY;
    pool->workers = ls_alloc((size_t)n_threads * sizeof *pool->workers);
    if (pool->workers) status = start_workers(pool, first_cpu);
    if (status != LS_OK) {
        ls_pool_destroy(pool);
        return status;
    }
    *out = pool;
    return LS_OK;
}

void ls_pool_destroy(ls_pool *pool) {
    if (!pool) return;
    atomic_store(&pool->stop, 1);
    atomic_fetch_add(&pool->wakeups, 1);
    futex_wake(&pool->wakeups, INT_MAX);
    for (int i = 1; i <= pool->n_started; i++) pthread_join(pool->workers[i].thread, NULL);
    pthread_mutex_destroy(&pool->error_lock);
    ls_free(pool->workers);
    ls_free(pool);
}

int ls_pool_threads(const ls_pool *pool) {
    return pool ? pool->n_threads : 1;
}

void ls_pool_measure(ls_pool *pool, int on) {
    if (pool) atomic_store(&pool->measures, on);
}

int64_t ls_pool_busy_ns(const ls_pool *pool) {
    return pool ? atomic_load(&pool->busy_ns) : 0;
}

static ls_status run_inline(int64_t n_tasks, ls_task_fn fn, void *user, int worker) {
    for (int64_t task = 0; task < n_tasks; task++) LS_TRY(fn(user, task, worker));
    return LS_OK;
}

static void publish(ls_pool *pool, int64_t n_tasks, ls_task_fn fn, void *user) {
    pool->fn = fn;
    pool->user = user;
    pool->n_tasks = n_tasks;
    atomic_store(&pool->error_task, INT64_MAX);
    atomic_store(&pool->unfinished, n_tasks);
    atomic_store(&pool->unclaimed, n_tasks);
    atomic_fetch_add(&pool->wakeups, 1);
    if (atomic_load(&pool->n_sleeping) > 0)
        futex_wake(&pool->wakeups, n_tasks - 1 < INT_MAX ? (int)(n_tasks - 1) : INT_MAX);
}

static void wait_until_done(ls_pool *pool) {
    const double until = pool->may_spin ? ls_clock_seconds() + spin_seconds : 0;
    while (pool->may_spin && ls_clock_seconds() < until)
        for (int i = 0; i < PAUSES_PER_LOOK; i++) {
            if (atomic_load_explicit(&pool->unfinished, memory_order_acquire) == 0) return;
            ls_spin_pause();
        }
    atomic_store(&pool->caller_sleeps, 1);
    for (;;) {
        const uint32_t seen = atomic_load(&pool->finished);
        if (atomic_load(&pool->unfinished) == 0) break;
        futex_wait(&pool->finished, seen);
    }
    atomic_store(&pool->caller_sleeps, 0);
}

ls_status ls_pool_run(ls_pool *pool, int64_t n_tasks, ls_task_fn fn, void *user) {
    if (n_tasks <= 0) return LS_OK;
    if (!pool) return run_inline(n_tasks, fn, user, 0);
    if (inside_pool == pool) return run_inline(n_tasks, fn, user, inside_worker);
    if (pool->n_threads == 1 || n_tasks == 1) return run_inline(n_tasks, fn, user, 0);
    if (atomic_exchange(&pool->busy, 1))
        return LS_FAIL(LS_ERR_INTERNAL, "a pool was asked to run two jobs at a time");
    publish(pool, n_tasks, fn, user);
    work(pool, 0);
    wait_until_done(pool);
    ls_status status = LS_OK;
    if (atomic_load(&pool->error_task) != INT64_MAX) {
        status = pool->error_status;
        ls_error_clear();
        (void)ls_error_prefix(status, "%s", pool->error_text);
    }
    atomic_store(&pool->busy, 0);
    return status;
}
