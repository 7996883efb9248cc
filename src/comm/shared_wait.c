/* Waiting: a short spin, then sleep in slices, each time asking whether it still makes sense to wait. */
#include "base/clock.h"
#include "base/spin.h"
#include "comm/shared_internal.h"
#include <sched.h>
#include <time.h>

enum { PAUSES_PER_LOOK = 32, LOOKS_PER_CLOCK = 8, YIELDS = 4 };
/* About what a sleep and a wake-up cost. */
static const double spin_seconds = 40e-6;
static const double slice_seconds = 0.05;
static const double poll_seconds = 0.0005;
static const double publish_seconds = 0.1;

typedef struct waiting {
    ls_shared *shared;
    const ls_shared_call *call;
    int ticket, peer;
    ls_shared_wait_kind kind;
} waiting;

/* A slot's `started` is exactly the call's number + 1 while anybody needs it; `done` only grows. */
static int is_over(const waiting *w) {
    const ls_board_slot *slot = &w->shared->board->ranks[w->peer].slots[w->ticket];
    if (w->kind == LS_SHARED_DONE)
        return atomic_load_explicit(&slot->done, memory_order_acquire) > w->call->number;
    return atomic_load_explicit(&slot->started, memory_order_acquire) == w->call->number + 1 &&
           atomic_load_explicit(&slot->hash, memory_order_relaxed) == w->call->hash;
}

static int spin(const waiting *w) {
    if (!w->shared->may_spin) {
        for (int i = 0; i < YIELDS; i++) {
            (void)sched_yield();
            if (is_over(w)) return 1;
        }
        return 0;
    }
    const double until = ls_clock_seconds() + spin_seconds;
    do {
        for (int look = 0; look < LOOKS_PER_CLOCK; look++) {
            for (int i = 0; i < PAUSES_PER_LOOK; i++) ls_spin_pause();
            if (is_over(w)) return 1;
        }
    } while (ls_clock_seconds() < until);
    return 0;
}

static void set_state(ls_shared *shared, ls_rank_state state, int peer, uint64_t number) {
    shared->stand.state = state;
    shared->stand.peer = peer;
    shared->stand.number = number;
    shared->stand.since = shared->published = ls_clock_seconds();
    ls_board_set_stand(shared->board, shared->base.rank, &shared->stand);
}

void ls_shared_publish(ls_shared *shared, double now) {
    if (now - shared->published < publish_seconds) return;
    shared->published = now;
    ls_board_set_stand(shared->board, shared->base.rank, &shared->stand);
}

/* Has the peer gone past this call without making it, or left? Looked at before is_over() so that a rank which makes its call and then
 * goes on is not taken for one that did not. */
static int has_gone_by(const waiting *w) {
    ls_board *board = w->shared->board;
    const ls_rank_state state = (ls_rank_state)ls_board_get_stand(board, w->peer).state;
    if (state == LS_RANK_LEFT || state == LS_RANK_FAILED) return 1;
    if (atomic_load_explicit(&board->ranks[w->peer].n_started, memory_order_acquire) <=
        w->call->number)
        return 0;
    ls_board_call theirs;
    return w->kind == LS_SHARED_STARTED ||
           (ls_board_find_call(board, w->peer, w->call->number, &theirs) &&
            theirs.hash != w->call->hash);
}

static ls_status sleep_for(const waiting *w) {
    ls_shared *shared = w->shared;
    ls_board *board = shared->board;
    for (;;) {
        const uint32_t seen = atomic_load(&board->ranks[w->peer].events);
        const int gone_by = has_gone_by(w);
        if (is_over(w)) return LS_OK;
        if (gone_by) ls_board_blame_mismatch(board, w->call->number);
        if (ls_board_failure(board, NULL) >= 0)
            return ls_board_report_failure(board, shared->base.rank);
        ls_board_sleep(board, w->peer, seen, slice_seconds);
    }
}

ls_status ls_shared_await(ls_shared *shared, int ticket, int peer, ls_shared_wait_kind kind) {
    const waiting w = {shared, &shared->calls[ticket], ticket, peer, kind};
    if (is_over(&w)) return LS_OK;
    const double begun = ls_clock_seconds();
    ls_status status = LS_OK;
    if (!spin(&w)) {
        set_state(shared, LS_RANK_WAITING, peer, w.call->number);
        status = sleep_for(&w);
        shared->stand.wait_seconds += ls_clock_seconds() - begun;
        set_state(shared, LS_RANK_RUNNING, 0, 0);
    } else {
        shared->stand.wait_seconds += ls_clock_seconds() - begun;
    }
    return status;
}

ls_status ls_shared_wait(ls_shared *shared, int ticket, int peer, int (*ready)(void *user),
                         void *user) {
    if (ready(user)) return LS_OK;
    const double begun = ls_clock_seconds();
    ls_status status = LS_OK;
    set_state(shared, LS_RANK_WAITING, peer, shared->calls[ticket].number);
    while (!ready(user)) {
        if (ls_board_failure(shared->board, NULL) >= 0) {
            status = ls_board_report_failure(shared->board, shared->base.rank);
            break;
        }
        const struct timespec moment = {0, (long)(1e9 * poll_seconds)};
        if (ls_clock_seconds() - begun < spin_seconds)
            (void)sched_yield();
        else
            (void)nanosleep(&moment, NULL);
    }
    shared->stand.wait_seconds += ls_clock_seconds() - begun;
    set_state(shared, LS_RANK_RUNNING, 0, 0);
    return status;
}
