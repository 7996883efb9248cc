/* Ranks that keep a state which is a pure function of (name, element, step), for the tests of keepers. */
#ifndef LS_TESTS_KEEP_RUN_H
#define LS_TESTS_KEEP_RUN_H
#include <pthread.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/hash.h"
#include "comm/job.h"
#include "keep/keep.h"
#include "keep/keeper_internal.h"
#include "model_run.h"

enum { LANES = 8, TOKENS = 8, MAX_RANKS = 8 };
/* Of waits for what is sure to come, however slow the machine: they end when it is there. */
static const double patience_seconds = 60;

static inline ls_plan *make_plan(int ranks, int zero, int layers) {
    const ls_model_options model = small_gpt2(layers, 16, 61, TOKENS);
    const ls_model_batch batch = training_batch(1, TOKENS, LANES);
    const ls_optim_options optim = ls_optim_default();
    const ls_plan_options options = {.mode = LS_PLAN_TRAIN,
                                     .device = "cpu",
                                     .threads = 1,
                                     .lanes = LANES,
                                     .zero = zero,
                                     .kept = 1,
                                     .optim = &optim,
                                     .static_count = LANES * TOKENS};
    const ls_mesh mesh = {.dp = ranks};
    return plan_model(&model, &batch, &options, &mesh);
}

typedef void (*element_fn)(void *user, char *at, size_t bytes, uint64_t value);

/* Every element of the rank's state in `buffer`, and what it is at `step`. */
static inline void each_element(const ls_plan *plan, int rank, char *buffer, int64_t step,
                                element_fn fn, void *user) {
    ls_arena *arena = NULL;
    ls_plan_part *parts = NULL;
    int n = 0;
    check_ok(ls_arena_create(&arena));
    check_ok(ls_plan_parts(plan, rank, arena, &parts, &n));
    for (int i = 0; i < n; i++) {
        const size_t size = ls_dtype_bytes(parts[i].whole.dtype);
        char *at = buffer + ls_plan_kept_offset(plan, rank, parts[i].region) + parts[i].offset;
        const uint64_t stream = ls_rng_stream(parts[i].name);
        for (int64_t e = 0; e < parts[i].count; e++)
            fn(user, at + (size_t)e * size, size,
               (stream ^ (uint64_t)(parts[i].first + e) * 0x9e3779b97f4a7c15u) +
                   (uint64_t)(step + 1) * 0xd1b54a32d192ed03u);
    }
    ls_arena_destroy(arena);
}

static inline void write_element(void *user, char *at, size_t bytes, uint64_t value) {
    (void)user;
    value ^= value >> 32;
    memcpy(at, &value, bytes < sizeof value ? bytes : sizeof value);
}

static inline void count_wrong(void *user, char *at, size_t bytes, uint64_t value) {
    value ^= value >> 32;
    *(int64_t *)user += memcmp(at, &value, bytes < sizeof value ? bytes : sizeof value) != 0;
}

static inline void write_state(const ls_plan *plan, int rank, char *buffer, int64_t step) {
    each_element(plan, rank, buffer, step, write_element, NULL);
}

static inline int64_t n_wrong(const ls_plan *plan, int rank, char *buffer, int64_t step) {
    int64_t n = 0;
    each_element(plan, rank, buffer, step, count_wrong, &n);
    return n;
}

static inline void make_blob(int64_t step, char out[LS_KEEP_BLOB]) {
    memset(out, 0, LS_KEEP_BLOB);
    (void)snprintf(out, LS_KEEP_BLOB, "trainer at step %lld", (long long)step);
}

static inline void set_number(const char *name, int64_t value) {
    char text[32];
    (void)snprintf(text, sizeof text, "%lld", (long long)value);
    assert_int_equal(value < 0 ? unsetenv(name) : setenv(name, text, 1), 0);
}

/* What the supervisor sets. */
static inline void set_attempt(const ls_keeper *keeper, int64_t job, int64_t restore) {
    assert_int_equal(setenv("LOCKSTEP_KEEPER", ls_keeper_offer(keeper), 1), 0);
    set_number("LOCKSTEP_ATTEMPT", job);
    set_number("LOCKSTEP_RESTORE", restore);
}

/* An attempt of some ranks: what it is to find, and how many steps it makes. */
typedef struct attempt {
    const ls_plan *plan;
    int64_t restore, steps;
    int only_first;              /* the other ranks are killed before they commit their steps */
    const _Atomic int64_t *gate; /* the last step that may be made; NULL: all */
} attempt;

typedef struct kept_rank {
    const attempt *a;
    ls_comm *comm;
    int rank;
    ls_status status;
    char message[1024];
    int64_t wrong;
    volatile int64_t committed; /* the last step of its own */
    ls_keep_stats stats;
} kept_rank;

static inline ls_status await_gate(const attempt *a, int64_t step) {
    const double until = ls_clock_seconds() + patience_seconds;
    while (a->gate && atomic_load(a->gate) < step) {
        if (ls_clock_seconds() > until)
            return LS_FAIL(LS_ERR_INVALID, "step %lld was never allowed", (long long)step);
        (void)usleep(200);
    }
    return LS_OK;
}

static inline ls_status make_steps(kept_rank *r, ls_keep *keep, char *buffers[2], int current,
                                   int64_t from) {
    char blob[LS_KEEP_BLOB];
    for (int64_t step = from + 1; step <= from + r->a->steps; step++) {
        LS_TRY(await_gate(r->a, step));
        LS_TRY(ls_keep_begin(keep));
        current = 1 - current;
        write_state(r->a->plan, r->rank, buffers[current], step);
        make_blob(step, blob);
        if (!r->a->only_first || r->rank == 0)
            LS_TRY(ls_keep_commit(keep, step, current, blob, LS_KEEP_BLOB));
        r->committed = step;
    }
    return LS_OK;
}

static inline ls_status live(kept_rank *r, ls_keep *keep) {
    char *buffers[2], blob[LS_KEEP_BLOB] = "", wanted[LS_KEEP_BLOB];
    int64_t step = -2;
    int current = -1;
    LS_TRY(ls_keep_memory(keep, r->a->plan, r->rank, buffers));
    LS_TRY(ls_keep_restore(keep, &step, &current, blob));
    r->wrong += step != r->a->restore;
    if (step >= 0) {
        make_blob(step, wanted);
        r->wrong += n_wrong(r->a->plan, r->rank, buffers[current], step);
        r->wrong += strcmp(blob, wanted) != 0;
    } else {
        write_state(r->a->plan, r->rank, buffers[current], -1);
    }
    return make_steps(r, keep, buffers, current, step);
}

/* One rank's life; its keep ends with it. */
static inline void run_kept_rank(kept_rank *r) {
    ls_keep *keep = NULL;
    r->status = ls_keep_open(r->comm, &keep);
    if (r->status == LS_OK) r->status = live(r, keep);
    if (r->status != LS_OK) (void)snprintf(r->message, sizeof r->message, "%s", ls_error_message());
    if (keep) r->stats = ls_keep_get_stats(keep);
    ls_keep_close(keep);
}

static inline void *run_kept_thread(void *user) {
    kept_rank *r = user;
    run_kept_rank(r);
    if (r->status != LS_OK) ls_comm_abort(r->comm, r->message);
    return NULL;
}

/* All ranks of the plan as threads; the results are in out[MAX_RANKS]. */
static inline void run_attempt(const attempt *a, kept_rank *out) {
    const int size = ls_mesh_size(&a->plan->mesh);
    ls_comm_hub *hub = NULL;
    pthread_t threads[MAX_RANKS];
    check_ok(ls_comm_hub_create(size, NULL, &hub));
    for (int r = 0; r < size; r++) {
        out[r] = (kept_rank){.a = a, .comm = ls_comm_hub_rank(hub, r), .rank = r};
        assert_int_equal(pthread_create(&threads[r], NULL, run_kept_thread, &out[r]), 0);
    }
    for (int r = 0; r < size; r++) (void)pthread_join(threads[r], NULL);
    ls_comm_hub_destroy(hub);
}

static inline void check_attempt(const attempt *a, kept_rank *out) {
    run_attempt(a, out);
    for (int r = 0; r < ls_mesh_size(&a->plan->mesh); r++) {
        if (out[r].status != LS_OK) fail_msg("rank %d: %s", r, out[r].message);
        if (out[r].wrong) fail_msg("rank %d: %lld elements wrong", r, (long long)out[r].wrong);
    }
}

static inline int64_t best_of(ls_keeper *const *keepers, int n) {
    json_t *all[4];
    int64_t step = -2;
    for (int i = 0; i < n; i++) check_ok(ls_keeper_inventory(keepers[i], &all[i]));
    check_ok(ls_keeper_best_step(all, n, &step));
    for (int i = 0; i < n; i++) json_decref(all[i]);
    return step;
}

static inline void check_best(ls_keeper *keeper, int64_t step) {
    const int64_t best = best_of(&keeper, 1);
    if (best != step)
        fail_msg("step %lld is kept, not step %lld", (long long)best, (long long)step);
}

/* Copies may still be on their way. */
static inline void await_best(ls_keeper *keeper, int64_t step) {
    const double until = ls_clock_seconds() + patience_seconds;
    while (best_of(&keeper, 1) != step && ls_clock_seconds() < until) (void)usleep(1000);
    check_best(keeper, step);
}

static inline int count_rank_links(ls_keeper *keeper) {
    int n = 0;
    (void)pthread_mutex_lock(&keeper->lock);
    for (int64_t i = 0; i < keeper->n_links; i++)
        n += keeper->links[i]->is_greeted && keeper->links[i]->who == LS_KEEP_IS_RANK;
    (void)pthread_mutex_unlock(&keeper->lock);
    return n;
}

/* Commits are not answered: until it has heard the end of its ranks' connections, a keeper may not have heard of their last ones. */
static inline void await_end_of_ranks(ls_keeper *keeper) {
    const double until = ls_clock_seconds() + patience_seconds;
    while (count_rank_links(keeper) > 0 && ls_clock_seconds() < until) (void)usleep(200);
    if (count_rank_links(keeper) > 0)
        fail_msg("%d ranks that have ended are still connected", count_rank_links(keeper));
}

#endif
