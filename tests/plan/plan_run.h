/* A small model's plan run on all its ranks, as threads of one process: the state that they end with. Before it VOCAB. */
#ifndef LS_TESTS_PLAN_PLAN_RUN_H
#define LS_TESTS_PLAN_PLAN_RUN_H
#include <pthread.h>

#include "model_run.h"

enum { STEPS = 2, MAX_RANKS = 4 };

static inline ls_status feed(void *user, const char *name, int64_t lane, ls_tensor *tensor) {
    return feed_values(tensor, name, *(const uint64_t *)user, lane, VOCAB);
}

typedef struct rank_run {
    const ls_plan *plan;
    ls_comm *comm;
    int rank;
    ls_status status;
    char message[512];
    char *state;
    size_t bytes;
    float loss;
} rank_run;

static inline ls_status run_steps(rank_run *r, ls_device *device, ls_pool *pool, ls_program **out) {
    const ls_lower_options lower = {.device = device, .pool = pool, .comm = r->comm};
    LS_TRY(ls_program_lower(r->plan, r->rank, &lower, out));
    LS_TRY(ls_program_init(*out, 5));
    for (uint64_t step = 0; step < STEPS; step++) {
        const ls_run_options run = {
            .seed = 5, .step = step, .feed = feed, .user = &step, .check_loss = 1};
        LS_TRY(ls_program_run(*out, &run));
    }
    if (ls_program_allocated_bytes(*out) != ls_plan_bytes(r->plan, r->rank))
        return LS_FAIL(LS_ERR_INTERNAL, "allocated other bytes than planned");
    LS_TRY(ls_program_fetch_f32(*out, "sum/loss", &r->loss));
    return fetch_whole_state(r->plan, *out, &r->state, &r->bytes);
}

static inline void *run_rank(void *user) {
    rank_run *r = user;
    ls_device *device = NULL;
    ls_pool *pool = NULL;
    ls_program *program = NULL;
    r->status = ls_device_create("cpu", 0, &device);
    if (r->status == LS_OK) r->status = ls_pool_create(r->plan->options.threads, -1, &pool);
    if (r->status == LS_OK) r->status = run_steps(r, device, pool, &program);
    snprintf(r->message, sizeof r->message, "%s", r->status == LS_OK ? "" : ls_error_message());
    if (r->status != LS_OK && r->comm) ls_comm_abort(r->comm, r->message);
    ls_program_destroy(program);
    ls_pool_destroy(pool);
    ls_device_destroy(device);
    return NULL;
}

/* State of rank 0 after some steps, for free(); the others must agree. */
static inline char *run_plan(const ls_plan *plan, size_t *bytes_out, float *loss_out) {
    const int n = ls_plan_ranks(plan);
    ls_comm_hub *hub = NULL;
    rank_run ranks[MAX_RANKS] = {{0}};
    pthread_t threads[MAX_RANKS];
    const ls_comm_options options = {.late_seconds = 60, .quiet = 1};
    if (n > 1) check_ok(ls_comm_hub_create(n, &options, &hub));
    for (int r = 0; r < n; r++) {
        ranks[r] = (rank_run){.plan = plan, .comm = hub ? ls_comm_hub_rank(hub, r) : NULL};
        ranks[r].rank = r;
        pthread_create(&threads[r], NULL, run_rank, &ranks[r]);
    }
    for (int r = 0; r < n; r++) pthread_join(threads[r], NULL);
    for (int r = 0; r < n; r++) {
        if (ranks[r].status != LS_OK) fail_msg("rank %d: %s", r, ranks[r].message);
        assert_memory_equal(ranks[r].state, ranks[0].state, ranks[0].bytes);
        if (r) free(ranks[r].state);
    }
    ls_comm_hub_destroy(hub);
    *bytes_out = ranks[0].bytes;
    *loss_out = ranks[0].loss;
    return ranks[0].state;
}

#endif
