/* Ranks for tests: the same body run by threads of a hub or by processes of a job. Include after cmocka.h. */
#ifndef LS_TESTS_UNIT_COMM_RANKS_H
#define LS_TESTS_UNIT_COMM_RANKS_H
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "comm/comm.h"
#include "comm/job.h"

enum { MAX_RANKS = 8 };
/* Of waits for what is sure to come, however slow the machine: they end when it is there. */
static const double patience_seconds = 100;

/* What became of a rank. In memory that forked ranks share. */
typedef struct outcome {
    ls_status status;
    double begun, ended; /* ended: when the body returned */
    char message[2048];
    int64_t n_wrong;
} outcome;

typedef ls_status (*rank_fn)(ls_comm *comm, void *user, outcome *out);

typedef struct rank_thread {
    pthread_t thread;
    ls_comm *comm;
    rank_fn fn;
    void *user;
    outcome *out;
} rank_thread;

static inline void run_body(ls_comm *comm, rank_fn fn, void *user, outcome *out) {
    out->begun = ls_clock_seconds();
    out->status = fn(comm, user, out);
    out->ended = ls_clock_seconds();
    if (out->status != LS_OK)
        (void)snprintf(out->message, sizeof out->message, "%s", ls_error_message());
}

static inline void *run_thread(void *user) {
    const rank_thread *r = user;
    run_body(r->comm, r->fn, r->user, r->out);
    if (r->out->status != LS_OK) ls_comm_abort(r->comm, r->out->message);
    ls_comm_close(r->comm);
    return NULL;
}

static inline void run_threads(int size, const ls_comm_options *options, rank_fn fn, void *user,
                               outcome *out) {
    ls_comm_hub *hub = NULL;
    rank_thread ranks[MAX_RANKS];
    memset(out, 0, (size_t)size * sizeof *out);
    assert_int_equal(ls_comm_hub_create(size, options, &hub), LS_OK);
    for (int r = 0; r < size; r++) {
        ranks[r] =
            (rank_thread){.comm = ls_comm_hub_rank(hub, r), .fn = fn, .user = user, .out = &out[r]};
        assert_int_equal(pthread_create(&ranks[r].thread, NULL, run_thread, &ranks[r]), 0);
    }
    for (int r = 0; r < size; r++) pthread_join(ranks[r].thread, NULL);
    ls_comm_hub_destroy(hub);
}

static inline outcome *shared_outcomes(void) {
    void *memory = mmap(NULL, MAX_RANKS * sizeof(outcome), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    return memory;
}

static inline pid_t fork_rank(ls_job *job, int rank, const ls_comm_options *options, rank_fn fn,
                              void *user, outcome *out) {
    const pid_t pid = fork();
    if (pid != 0) return pid;
    ls_comm *comm = NULL;
    out->status = ls_job_enter(job, rank);
    if (out->status == LS_OK) out->status = ls_comm_open(options, &comm);
    if (out->status == LS_OK)
        run_body(comm, fn, user, out);
    else
        (void)snprintf(out->message, sizeof out->message, "%s", ls_error_message());
    if (out->status != LS_OK) ls_comm_abort(comm, out->message);
    ls_comm_close(comm);
    _exit(out->status != LS_OK);
}

/* Ends with all processes gone; those that never return are killed by whoever calls with their pids. */
static inline void run_processes(int size, const ls_comm_options *options, rank_fn fn, void *user,
                                 outcome *out) {
    ls_job *job = NULL;
    pid_t pids[MAX_RANKS];
    memset(out, 0, (size_t)size * sizeof *out);
    assert_int_equal(ls_job_create(size, "test", &job), LS_OK);
    for (int r = 0; r < size; r++) pids[r] = fork_rank(job, r, options, fn, user, &out[r]);
    for (int r = 0; r < size; r++) (void)waitpid(pids[r], NULL, 0);
    ls_job_destroy(job);
}

/* One collective of one f32 tensor from start to finish; views go to `take`, which may be NULL. */
static inline ls_status run_call(ls_comm *comm, const ls_comm_call *call) {
    ls_comm_view views[LS_COMM_MAX_PARTS];
    LS_TRY(comm->ops->start(comm, call));
    for (int p = 0; p < comm->size; p++) LS_TRY(comm->ops->arrive(comm, call->ticket, p, views));
    return comm->ops->finish(comm, call->ticket);
}

#endif
