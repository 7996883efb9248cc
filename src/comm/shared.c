/* The engine's rank: joining the board, leaving it, memory that peers see, the exchange over the board. */
#include "comm/shared.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/thread.h"
#include "comm/fault.h"
#include "comm/shared_internal.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static ls_shared *shared_of(ls_comm *comm) {
    return (ls_shared *)comm;
}

ls_shared *ls_shared_of(ls_comm *comm) {
    return shared_of((ls_comm *)ls_comm_fault_inner(comm));
}

void *ls_shared_user(const ls_shared *shared) {
    return shared->user;
}

int ls_shared_rank(const ls_shared *shared) {
    return shared->base.rank;
}

int ls_shared_size(const ls_shared *shared) {
    return shared->base.size;
}

ls_board *ls_shared_board(const ls_shared *shared) {
    return shared->board;
}

/* Who asks is getting on: waiting ranks see the count of events grow, without being woken for it. */
static ls_status check_peers(ls_comm *comm) {
    ls_board *board = shared_of(comm)->board;
    atomic_fetch_add_explicit(&board->ranks[comm->rank].events, 1, memory_order_relaxed);
    if (atomic_load_explicit(&board->failed, memory_order_relaxed) == 0) return LS_OK;
    return ls_board_report_failure(board, comm->rank);
}

static void abort_run(ls_comm *comm, const char *reason) {
    ls_shared *shared = shared_of(comm);
    char who[112], last[192], text[LS_BOARD_SENTENCE] = {0};
    ls_board_cell_text *cell = &shared->board->ranks[comm->rank].reason;
    (void)snprintf(text, sizeof text, "%s", reason);
    ls_cell_write(&cell->version, cell->words, text, sizeof text);
    ls_board_say_rank(shared->board, comm->rank, who, sizeof who);
    ls_board_say_last(shared->board, comm->rank, last, sizeof last);
    (void)snprintf(text, sizeof text, "%s gave up: %.600s; %s", who, reason, last);
    (void)ls_board_fail(shared->board, comm->rank, text);
    shared->stand.state = LS_RANK_FAILED;
    ls_board_set_stand(shared->board, comm->rank, &shared->stand);
    ls_board_wake(shared->board, comm->rank);
}

static void leave(ls_shared *shared) {
    if (shared->stand.state != LS_RANK_FAILED) shared->stand.state = LS_RANK_LEFT;
    ls_board_set_stand(shared->board, shared->base.rank, &shared->stand);
    ls_board_wake(shared->board, shared->base.rank);
}

static void free_parts(ls_shared *shared) {
    ls_free(shared->hosts);
    ls_free(shared->node_of);
    ls_free(shared);
}

static void close_shared(ls_comm *comm) {
    ls_shared *shared = shared_of(comm);
    leave(shared);
    ls_watch_stop(shared->own_watch);
    ls_shared_destroy_memories(shared);
    if (shared->memory->close) shared->memory->close(shared->user);
    free_parts(shared);
}

static const ls_comm_ops shared_ops = {
    .memory_create = ls_shared_create_memory,
    .memory_destroy = ls_shared_destroy_memory,
    .memory_map = ls_shared_map_memory,
    .start = ls_shared_start,
    .arrive = ls_shared_arrive,
    .finish = ls_shared_finish,
    .check = check_peers,
    .abort = abort_run,
    .close = close_shared,
};

/* Whoever spans hosts has a comm of its own, with all their names. */
static ls_status name_host(ls_shared *shared, const char *host) {
    (void)snprintf(shared->stand.host, sizeof shared->stand.host, "%s", host ? host : "localhost");
    shared->hosts = ls_alloc((size_t)shared->base.size * sizeof *shared->hosts);
    if (!shared->hosts) return LS_ERR_NO_MEMORY;
    for (int r = 0; r < shared->base.size; r++) shared->hosts[r] = shared->stand.host;
    shared->base.hosts = shared->hosts;
    return LS_OK;
}

static ls_status copy_nodes(ls_shared *shared, const ls_shared_options *options) {
    if (!options->node_of) return LS_OK;
    const size_t bytes = (size_t)shared->base.size * sizeof *shared->node_of;
    shared->node_of = ls_alloc(bytes);
    if (!shared->node_of) return LS_ERR_NO_MEMORY;
    memcpy(shared->node_of, options->node_of, bytes);
    return LS_OK;
}

static int count_ranks_here(const ls_shared *shared) {
    int n = 0;
    for (int r = 0; r < shared->base.size; r++) n += ls_shared_is_here(shared, r);
    return n;
}

static void join_board(ls_shared *shared) {
    const int rank = shared->base.rank;
    shared->stand.state = LS_RANK_RUNNING;
    shared->stand.pid = getpid();
    shared->stand.node = shared->node;
    shared->stand.born = ls_process_born(getpid());
    shared->stand.since = ls_clock_seconds();
    ls_board_set_stand(shared->board, rank, &shared->stand);
    ls_board_wake(shared->board, rank);
}

ls_status ls_shared_open(const ls_shared_options *options, ls_comm **out) {
    ls_shared *shared = ls_alloc(sizeof *shared);
    if (!shared) return LS_ERR_NO_MEMORY;
    ls_status status = LS_OK;
    shared->ops = shared_ops;
    shared->ops.name = options->memory->name;
    shared->base = (ls_comm){.ops = &shared->ops,
                             .rank = options->rank,
                             .size = options->board->size,
                             .n_hosts = options->n_hosts > 1 ? options->n_hosts : 1};
    shared->board = options->board;
    shared->memory = options->memory;
    shared->user = options->user;
    shared->node = options->node;
    if (ls_board_get_stand(options->board, options->rank).state != LS_RANK_ABSENT)
        LS_TRY_GOTO(LS_FAIL(LS_ERR_COMM, "rank %d has joined this run before: a run is joined once",
                            options->rank),
                    failed);
    LS_TRY_GOTO(name_host(shared, options->host), failed);
    LS_TRY_GOTO(copy_nodes(shared, options), failed);
    shared->may_spin = count_ranks_here(shared) <= ls_cpu_count();
    if (!options->watch) {
        const ls_watch_options watch = {options->late_seconds, options->quiet, options->node};
        LS_TRY_GOTO(ls_watch_start(options->board, &watch, &shared->own_watch), failed);
    }
    join_board(shared);
    *out = &shared->base;
    return LS_OK;
failed:
    free_parts(shared);
    return status;
}

ls_status ls_shared_exchange(ls_shared *shared, const char *what, const void *mine, size_t bytes,
                             void *all_out) {
    ls_comm *comm = &shared->base;
    unsigned char *page = shared->board->ranks[comm->rank].page;
    if (bytes > LS_COMM_EXCHANGE_BYTES)
        return LS_FAIL(LS_ERR_INVALID, "%s: %zu bytes to exchange; there is room for %d", what,
                       bytes, LS_COMM_EXCHANGE_BYTES);
    if (bytes) memcpy(page, mine, bytes);
    const ls_comm_part part = {page, bytes * (size_t)comm->size, bytes};
    const ls_comm_call call = {.op = "exchange",
                               .scope = what,
                               .step = shared->step,
                               .id = -1,
                               .dtype = LS_DTYPE_U8,
                               .shape = {1, {(int64_t)bytes}},
                               .ticket = LS_BOARD_TICKET_INNER,
                               .from = -1,
                               .to = -1,
                               .n_parts = 1,
                               .parts = &part};
    LS_TRY(ls_shared_start(comm, &call));
    for (int p = 0; p < comm->size; p++) {
        ls_comm_view view;
        char *to = (char *)all_out + bytes * (size_t)p;
        if (!ls_shared_is_here(shared, p)) {
            memset(to, 0, bytes);
            continue;
        }
        LS_TRY(ls_shared_arrive(comm, call.ticket, p, &view));
        if (view.bytes) memcpy(to, view.data, view.bytes);
    }
    return ls_shared_finish(comm, call.ticket);
}
