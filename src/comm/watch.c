/* The watchdog. It blames whom others wait for, and who is dead or stopped whether or not anybody waits.
 *
 * Time is counted in its own ticks, none longer than max_tick: a job that was stopped as a whole (ctrl-Z) and goes on does not
 * find everybody late. */
#include "comm/watch.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const double tick_seconds = 0.1, max_tick_seconds = 0.25;
static const double stopped_seconds = 1.0; /* longer than a debugger's blink */
static const double warn_seconds = 2.0, warn_again_seconds = 30.0;
static const double default_late_seconds = 60.0;
/* Ranks of one host that wait for each other, each for what the other has certainly not done. */
static const double ring_seconds = 1.0;

typedef struct watched {
    uint32_t events; /* of the rank at the last tick */
    double stopped, late;
} watched;

struct ls_watch {
    ls_board *board;
    ls_watch_options options;
    watched *ranks; /* [size] */
    ls_board_stand *stands;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int stop;
};

/* 1 when the rank was blamed. */
static int look_at_process(ls_watch *watch, int rank, double tick) {
    const ls_board_stand *stand = &watch->stands[rank];
    watched *w = &watch->ranks[rank];
    if (stand->pid == 0 || stand->pid == getpid() || stand->node != watch->options.node) return 0;
    const char state = ls_process_state(stand->pid, stand->born);
    if (state == 0 || state == 'Z' || state == 'X') {
        /* It may have left between the two looks. */
        const ls_board_stand again = ls_board_get_stand(watch->board, rank);
        if (again.state == LS_RANK_LEFT || again.state == LS_RANK_FAILED) return 0;
        ls_board_blame(watch->board, rank,
                       again.state == LS_RANK_ABSENT
                           ? "ended before it joined the run"
                           : "is dead: its process ended or was killed without a word");
        return 1;
    }
    w->stopped = state == 'T' || state == 't' ? w->stopped + tick : 0;
    if (w->stopped <= stopped_seconds) return 0;
    ls_board_blame(watch->board, rank, "is stopped (SIGSTOP or a debugger)");
    return 1;
}

static uint64_t count_calls(const ls_watch *watch, int rank) {
    return atomic_load_explicit(&watch->board->ranks[rank].n_started, memory_order_acquire);
}

/* Whom a waiting rank waits for in the end: the first of the chain that waits for nobody, or, of a ring in which all wait for each
 * other, the rank that has started the fewest calls (it left one out), of several the lowest. */
static int find_late(const ls_watch *watch, int waiter) {
    const int size = watch->board->size;
    int at = waiter;
    for (int i = 0; i < size; i++) {
        if (watch->stands[at].state != LS_RANK_WAITING) return at;
        at = watch->stands[at].peer;
    }
    int behind = at;
    for (int i = 0; i < size; i++) {
        at = watch->stands[at].peer;
        const uint64_t n = count_calls(watch, at), least = count_calls(watch, behind);
        if (n < least || (n == least && at < behind)) behind = at;
    }
    return behind;
}

/* Does a waiting rank of this host wait for something that its peer, also of this host, has not done? Bytes may be on their way
 * between hosts; within one they are there at once. */
static int is_stuck(const ls_watch *watch, int rank) {
    const ls_board_stand *stand = &watch->stands[rank];
    const ls_board_rank *ranks = watch->board->ranks;
    const int node = watch->options.node;
    if (stand->node != node || watch->stands[stand->peer].node != node) return 0;
    if (count_calls(watch, stand->peer) <= stand->number) return 1;
    /* Then it waits for the peer to be done with the call. */
    for (int t = 0; t < LS_BOARD_SLOTS; t++)
        if (atomic_load(&ranks[rank].slots[t].started) == stand->number + 1)
            return atomic_load(&ranks[stand->peer].slots[t].done) <= stand->number;
    return 0;
}

/* Is `rank` in a ring that can never end? */
static int is_ring_stuck(const ls_watch *watch, int rank) {
    int at = rank;
    for (int i = 0; i < watch->board->size; i++) {
        if (watch->stands[at].state != LS_RANK_WAITING || !is_stuck(watch, at)) return 0;
        at = watch->stands[at].peer;
        if (at == rank) return 1;
    }
    return 0;
}

static void warn_of_late(ls_watch *watch, int rank) {
    uint64_t warned = atomic_load(&watch->board->warned_ms);
    const double now = ls_clock_seconds();
    if (warned && now - 1e-3 * (double)warned < warn_again_seconds) return;
    if (!atomic_compare_exchange_strong(&watch->board->warned_ms, &warned, (uint64_t)(1e3 * now)))
        return;
    char who[112], last[192], waits[192];
    ls_board_say_rank(watch->board, rank, who, sizeof who);
    ls_board_say_last(watch->board, rank, last, sizeof last);
    ls_board_say_waiting(watch->board, rank, waits, sizeof waits);
    ls_log(LS_LOG_WARN, "%s is late by %.1f s; %s; %s; the run ends when it is late by %g s", who,
           watch->ranks[rank].late, last, waits, watch->options.late_seconds);
}

static void look_for_late(ls_watch *watch, double tick) {
    const ls_board *board = watch->board;
    for (int r = 0; r < board->size; r++) {
        watched *w = &watch->ranks[r];
        const uint32_t events = atomic_load_explicit(&board->ranks[r].events, memory_order_relaxed);
        int is_waited_for = 0;
        for (int other = 0; other < board->size && !is_waited_for; other++)
            is_waited_for =
                watch->stands[other].state == LS_RANK_WAITING && find_late(watch, other) == r;
        w->late = is_waited_for && events == w->events ? w->late + tick : 0;
        w->events = events;
        if (w->late > ring_seconds && is_ring_stuck(watch, r)) {
            ls_board_blame(
                watch->board, r,
                "is in a ring of waiting ranks and has made the fewest collectives: it left one "
                "out, or waits for it too early");
        } else if (w->late > watch->options.late_seconds) {
            char what[128];
            const int in_ring = watch->stands[r].state == LS_RANK_WAITING;
            (void)snprintf(what, sizeof what, "is alive but %s by %.1f s (late_seconds %g)",
                           in_ring ? "in a ring of waiting ranks, late" : "late", w->late,
                           watch->options.late_seconds);
            ls_board_blame(watch->board, r, what);
        } else if (w->late > warn_seconds && !watch->options.quiet) {
            warn_of_late(watch, r);
        }
    }
}

static void look(ls_watch *watch, double tick) {
    if (ls_board_failure(watch->board, NULL) >= 0) return;
    for (int r = 0; r < watch->board->size; r++) {
        watch->stands[r] = ls_board_get_stand(watch->board, r);
        const int32_t state = watch->stands[r].state;
        if (state == LS_RANK_LEFT || state == LS_RANK_FAILED) continue;
        if (look_at_process(watch, r, tick)) return;
    }
    look_for_late(watch, tick);
}

static void *run_watch(void *user) {
    ls_watch *watch = user;
    double last = ls_clock_seconds();
    pthread_mutex_lock(&watch->lock);
    while (!watch->stop) {
        const double until = last + tick_seconds;
        struct timespec limit = {(time_t)until, (long)(1e9 * (until - (double)(time_t)until))};
        if (pthread_cond_timedwait(&watch->changed, &watch->lock, &limit) != ETIMEDOUT) continue;
        const double now = ls_clock_seconds();
        look(watch, now - last < max_tick_seconds ? now - last : max_tick_seconds);
        last = now;
    }
    pthread_mutex_unlock(&watch->lock);
    return NULL;
}

static void free_watch(ls_watch *watch) {
    ls_free(watch->ranks);
    ls_free(watch->stands);
    ls_free(watch);
}

static ls_status start_thread(ls_watch *watch) {
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&watch->lock, NULL);
    pthread_cond_init(&watch->changed, &attr);
    pthread_condattr_destroy(&attr);
    /* Signals are for the program's own threads. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = pthread_create(&watch->thread, NULL, run_watch, watch);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error == 0) return LS_OK;
    pthread_cond_destroy(&watch->changed);
    pthread_mutex_destroy(&watch->lock);
    return LS_FAIL(LS_ERR_COMM, "the watchdog's thread could not be started: %s", strerror(error));
}

ls_status ls_watch_start(ls_board *board, const ls_watch_options *options, ls_watch **out) {
    ls_watch *watch = ls_alloc(sizeof *watch);
    if (!watch) return LS_ERR_NO_MEMORY;
    watch->board = board;
    watch->options = *options;
    if (watch->options.late_seconds <= 0) watch->options.late_seconds = default_late_seconds;
    watch->ranks = ls_alloc((size_t)board->size * sizeof *watch->ranks);
    watch->stands = ls_alloc((size_t)board->size * sizeof *watch->stands);
    ls_status status = watch->ranks && watch->stands ? start_thread(watch) : LS_ERR_NO_MEMORY;
    if (status != LS_OK) {
        free_watch(watch);
        return status;
    }
    *out = watch;
    return LS_OK;
}

void ls_watch_stop(ls_watch *watch) {
    if (!watch) return;
    pthread_mutex_lock(&watch->lock);
    watch->stop = 1;
    pthread_cond_signal(&watch->changed);
    pthread_mutex_unlock(&watch->lock);
    pthread_join(watch->thread, NULL);
    pthread_cond_destroy(&watch->changed);
    pthread_mutex_destroy(&watch->lock);
    free_watch(watch);
}
