/* The communication thread: the only one that calls MPI. It sleeps while nothing is under way. */
#include "base/alloc.h"
#include "comm/backend/comm_mpi.h"
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* While messages are under way: as many looks without a sleep when the rank waits for them, then sleeps that double. */
enum { EAGER_LOOKS = 2000, FIRST_SLEEP_NS = 20000, LAST_SLEEP_NS = 200000, WAIT_NS = 20000000 };

void ls_mpi_notify(ls_mpi *mpi) {
    atomic_fetch_add(&mpi->events, 1);
    (void)syscall(SYS_futex, &mpi->events, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

void ls_mpi_sleep(ls_mpi *mpi, uint32_t seen) {
    const struct timespec limit = {0, WAIT_NS};
    (void)syscall(SYS_futex, &mpi->events, FUTEX_WAIT_PRIVATE, seen, &limit, NULL, 0);
}

ls_mpi_task *ls_mpi_task_create(ls_mpi *mpi, ls_mpi_verb verb) {
    const size_t n_bases = verb == LS_MPI_WINDOW ? (size_t)mpi->place.host_size : 0;
    ls_mpi_task *task = ls_alloc(sizeof *task + n_bases * sizeof(void *));
    if (task) task->verb = verb;
    return task;
}

void ls_mpi_task_post(ls_mpi *mpi, ls_mpi_task *task) {
    pthread_mutex_lock(&mpi->lock);
    if (mpi->last_task)
        mpi->last_task->next = task;
    else
        mpi->first_task = task;
    mpi->last_task = task;
    pthread_cond_signal(&mpi->woken);
    pthread_mutex_unlock(&mpi->lock);
}

void ls_mpi_post_call(ls_mpi *mpi, int ticket) {
    pthread_mutex_lock(&mpi->lock);
    mpi->posted[mpi->n_posted++] = ticket;
    pthread_cond_signal(&mpi->woken);
    pthread_mutex_unlock(&mpi->lock);
}

void ls_mpi_nudge(ls_mpi *mpi) {
    if (!atomic_load(&mpi->dozing)) return;
    pthread_mutex_lock(&mpi->lock);
    pthread_cond_signal(&mpi->woken);
    pthread_mutex_unlock(&mpi->lock);
}

typedef struct task_wait {
    ls_mpi *mpi;
    ls_mpi_task *task;
    int n_looks;
} task_wait;

/* The first look must not sleep: the engine has not said yet that the rank waits. */
static int is_done(void *user) {
    task_wait *w = user;
    const uint32_t seen = atomic_load(&w->mpi->events);
    if (!atomic_load(&w->task->done) && w->n_looks++ > 0) ls_mpi_sleep(w->mpi, seen);
    return atomic_load(&w->task->done);
}

ls_status ls_mpi_task_run(ls_mpi *mpi, ls_mpi_task *task) {
    task_wait wait = {mpi, task, 0};
    ls_mpi_task_post(mpi, task);
    if (mpi->shared)
        LS_TRY(ls_shared_wait(mpi->shared, LS_BOARD_TICKET_INNER, mpi->place.rank, is_done, &wait));
    while (!is_done(&wait)) continue;
    if (task->status != LS_OK) return LS_FAIL(task->status, "%s", task->message);
    return LS_OK;
}

/* What the plugin says of a failed call. */
static void judge(ls_mpi *mpi, ls_mpi_task *task, int code) {
    if (code == 0) return;
    const ls_mpi_plugin *plugin = mpi->library.plugin;
    task->status = LS_ERR_COMM;
    (void)snprintf(task->message, sizeof task->message, "%s: %s", plugin->name,
                   plugin->error(mpi->world));
}

/* 0 when the thread must end. */
static int do_task(ls_mpi *mpi, ls_mpi_task *task) {
    const ls_mpi_plugin *plugin = mpi->library.plugin;
    void *world = mpi->world;
    const ls_mpi_verb verb = task->verb;
    switch (verb) {
    case LS_MPI_INIT:
        judge(mpi, task, plugin->init(world, &mpi->place));
        break;
    case LS_MPI_GATHER:
        judge(mpi, task, plugin->all_gather(world, task->in, task->bytes, task->out));
        break;
    case LS_MPI_WINDOW:
        judge(mpi, task, plugin->window_create(world, task->bytes, &task->window, task->bases));
        break;
    case LS_MPI_UNWINDOW:
        judge(mpi, task, plugin->window_destroy(world, &task->window));
        break;
    case LS_MPI_ALL_REDUCE:
        judge(mpi, task, plugin->all_reduce_f32(world, task->out, task->count));
        break;
    case LS_MPI_FINALIZE:
        judge(mpi, task, plugin->finalize(world));
        break;
    case LS_MPI_QUIT:
        break;
    }
    if (task->detached) {
        ls_free(task);
    } else {
        atomic_store(&task->done, 1);
        ls_mpi_notify(mpi);
    }
    return verb != LS_MPI_FINALIZE && verb != LS_MPI_QUIT;
}

static ls_mpi_task *take_task(ls_mpi *mpi) {
    ls_mpi_task *task = mpi->first_task;
    if (task) {
        mpi->first_task = task->next;
        if (!task->next) mpi->last_task = NULL;
    }
    return task;
}

/* With the lock held: waits for something new, for ever (ns 0) or so long. */
static void doze(ls_mpi *mpi, long ns) {
    if (mpi->first_task || mpi->n_posted) return;
    if (ns == 0) {
        (void)pthread_cond_wait(&mpi->woken, &mpi->lock);
        return;
    }
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += ns;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    (void)pthread_cond_timedwait(&mpi->woken, &mpi->lock, &until);
}

static void begin_posted(ls_mpi *mpi) {
    int tickets[LS_BOARD_SLOTS];
    pthread_mutex_lock(&mpi->lock);
    const int n = mpi->n_posted;
    memcpy(tickets, mpi->posted, (size_t)n * sizeof *tickets);
    mpi->n_posted = 0;
    pthread_mutex_unlock(&mpi->lock);
    for (int i = 0; i < n; i++) ls_mpi_begin_call(mpi, tickets[i]);
}

/* Moves messages on, then rests as long as fits: moved as ls_mpi_progress says. */
static void rest(ls_mpi *mpi, int moved, int *n_idle, long *ns) {
    if (moved > 0) {
        *n_idle = 0;
        *ns = FIRST_SLEEP_NS;
        return;
    }
    if (moved == 0 && atomic_load(&mpi->waiting) && (*n_idle)++ < EAGER_LOOKS) {
        (void)sched_yield();
        return;
    }
    pthread_mutex_lock(&mpi->lock);
    atomic_store(&mpi->dozing, 1);
    doze(mpi, moved < 0 ? 0 : *ns);
    atomic_store(&mpi->dozing, 0);
    pthread_mutex_unlock(&mpi->lock);
    *ns = *ns * 2 < LAST_SLEEP_NS ? *ns * 2 : LAST_SLEEP_NS;
}

static void *run_thread(void *user) {
    ls_mpi *mpi = user;
    int n_idle = 0;
    long ns = FIRST_SLEEP_NS;
    for (;;) {
        pthread_mutex_lock(&mpi->lock);
        ls_mpi_task *task = take_task(mpi);
        const int between_hosts = mpi->calls != NULL;
        pthread_mutex_unlock(&mpi->lock);
        if (task) {
            if (!do_task(mpi, task)) return NULL;
            continue;
        }
        if (between_hosts) begin_posted(mpi);
        rest(mpi, between_hosts ? ls_mpi_progress(mpi) : -1, &n_idle, &ns);
    }
}

int ls_mpi_create_thread(pthread_t *thread, void *(*fn)(void *), void *user) {
    const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
    sigset_t blocked, before;
    (void)sigfillset(&blocked);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        (void)sigdelset(&blocked, faults[i]);
    (void)pthread_sigmask(SIG_SETMASK, &blocked, &before);
    const int code = pthread_create(thread, NULL, fn, user);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return code;
}

ls_status ls_mpi_thread_start(ls_mpi *mpi) {
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&mpi->lock, NULL);
    pthread_cond_init(&mpi->woken, &monotonic);
    pthread_condattr_destroy(&monotonic);
    const int code = ls_mpi_create_thread(&mpi->thread, run_thread, mpi);
    if (code == 0) return LS_OK;
    pthread_cond_destroy(&mpi->woken);
    pthread_mutex_destroy(&mpi->lock);
    return LS_FAIL(LS_ERR_NO_MEMORY, "the communication thread of MPI cannot be started: %s",
                   strerror(code));
}
