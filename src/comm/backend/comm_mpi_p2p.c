/* Calls between hosts, for the rank's thread. Ranks of this host are left to the engine's own table; peers of other hosts are waited for
 * here. */
#include "base/alloc.h"
#include "comm/backend/comm_mpi.h"
#include <string.h>

static int is_elsewhere(const ls_mpi *mpi, int rank) {
    return mpi->node_of[rank] != mpi->node;
}

static void describe(const ls_comm_call *from, ls_mpi_call *call, int size) {
    _Atomic int *coming = call->coming, *going = call->going;
    for (int p = 0; p < size; p++) {
        atomic_store(&coming[p], 0);
        atomic_store(&going[p], 0);
    }
    call->active = 1;
    call->n_parts = from->n_parts;
    call->scatter = from->scatter;
    call->from = from->from;
    call->to = from->to;
    if (from->n_parts)
        memcpy(call->parts, from->parts, (size_t)from->n_parts * sizeof *from->parts);
    call->landing = from->landing;
    call->heard_seconds = 0;
}

static ls_status start(ls_comm *comm, const ls_comm_call *from) {
    ls_mpi *mpi = ls_mpi_of(comm);
    LS_TRY(mpi->inner->start(comm, from));
    ls_mpi_call *call = &mpi->calls[from->ticket];
    int n_messages = 0, n_landing = 0;
    describe(from, call, comm->size);
    for (int p = 0; p < comm->size; p++) {
        if (!is_elsewhere(mpi, p)) continue;
        const int gets = ls_mpi_gives(call, p, comm->rank);
        atomic_store(&call->coming[p], gets);
        atomic_store(&call->going[p], ls_mpi_gives(call, comm->rank, p));
        n_messages += gets + ls_mpi_gives(call, comm->rank, p);
        for (int i = 0; gets && i < call->n_parts; i++)
            n_landing += ls_mpi_piece_bytes(call, p, comm->rank, i) > 0;
    }
    if (n_landing && !call->landing)
        return LS_FAIL(LS_ERR_INVALID,
                       "%s gets %d pieces from other hosts, but has no memory for them", from->op,
                       n_landing);
    call->header.magic = LS_MPI_MAGIC;
    (void)ls_board_last_call(ls_shared_board(mpi->shared), comm->rank, &call->header.call);
    if (n_messages) ls_mpi_post_call(mpi, from->ticket);
    return LS_OK;
}

typedef struct message_wait {
    ls_mpi *mpi;
    _Atomic int *count; /* until this is 0 */
    uint64_t number;
    int peer, for_call; /* for_call: for what the peer starts, not for what it takes */
    int n_looks;
} message_wait;

/* Has the peer ended without making the call? Its last calls are relayed before the news that it left. */
static int has_left(const message_wait *w) {
    const ls_board *board = ls_shared_board(w->mpi->shared);
    const int32_t state = ls_board_get_stand(board, w->peer).state;
    return (state == LS_RANK_LEFT || state == LS_RANK_FAILED) &&
           atomic_load_explicit(&board->ranks[w->peer].n_started, memory_order_acquire) <=
               w->number;
}

static int is_over(void *user) {
    message_wait *w = user;
    ls_mpi *mpi = w->mpi;
    const uint32_t seen = atomic_load(&mpi->events);
    if (atomic_load(w->count) == 0) return 1;
    uint64_t wrong = atomic_load(&mpi->mismatch);
    if (!wrong && w->for_call && has_left(w)) wrong = w->number + 1;
    if (wrong) ls_board_blame_mismatch(ls_shared_board(mpi->shared), wrong - 1);
    /* The first look must not sleep: the engine has not said yet that the rank waits. */
    if (!wrong && w->n_looks++ > 0) ls_mpi_sleep(mpi, seen);
    return atomic_load(w->count) == 0;
}

static ls_status await(ls_mpi *mpi, int ticket, int peer, _Atomic int *count, int for_call) {
    message_wait w = {.mpi = mpi,
                      .count = count,
                      .number = mpi->calls[ticket].header.call.number,
                      .peer = peer,
                      .for_call = for_call};
    if (atomic_load(count) == 0) return LS_OK;
    atomic_store(&mpi->waiting, 1);
    ls_mpi_nudge(mpi);
    const ls_status status = ls_shared_wait(mpi->shared, ticket, peer, is_over, &w);
    atomic_store(&mpi->waiting, 0);
    return status;
}

static ls_mpi_call *find_call(ls_mpi *mpi, int ticket) {
    if (ticket < 0 || ticket >= LS_BOARD_SLOTS || !mpi->calls[ticket].active) {
        (void)LS_FAIL(LS_ERR_INVALID, "no collective of ticket %d is under way", ticket);
        return NULL;
    }
    return &mpi->calls[ticket];
}

static ls_status arrive(ls_comm *comm, int ticket, int peer, ls_comm_view *views_out) {
    ls_mpi *mpi = ls_mpi_of(comm);
    if (!is_elsewhere(mpi, peer)) return mpi->inner->arrive(comm, ticket, peer, views_out);
    ls_mpi_call *call = find_call(mpi, ticket);
    if (!call) return LS_ERR_INVALID;
    for (int i = 0; i < call->n_parts; i++) views_out[i] = (ls_comm_view){NULL, 0};
    if (!ls_mpi_gives(call, peer, comm->rank)) return LS_OK;
    LS_TRY(await(mpi, ticket, peer, &call->coming[peer], 1));
    size_t at = ls_mpi_landing_offset(call, comm->rank, peer);
    for (int i = 0; i < call->n_parts; i++) {
        const size_t bytes = ls_mpi_piece_bytes(call, peer, comm->rank, i);
        if (bytes) views_out[i] = (ls_comm_view){call->landing + at, bytes};
        at += ls_mpi_aligned(bytes);
    }
    return LS_OK;
}

/* What is still to come is waited for even when nobody asked for it: it is written into landing memory that another call gets. */
static ls_status finish(ls_comm *comm, int ticket) {
    ls_mpi *mpi = ls_mpi_of(comm);
    ls_mpi_call *call = find_call(mpi, ticket);
    if (!call) return LS_ERR_INVALID;
    for (int p = 0; p < comm->size; p++) {
        if (!is_elsewhere(mpi, p)) continue;
        LS_TRY(await(mpi, ticket, p, &call->coming[p], 1));
        LS_TRY(await(mpi, ticket, p, &call->going[p], 0));
    }
    LS_TRY(mpi->inner->finish(comm, ticket));
    call->active = 0;
    return LS_OK;
}

static ls_status memory_create(ls_comm *comm, size_t bytes, void **out) {
    return ls_mpi_of(comm)->inner->memory_create(comm, bytes, out);
}

static void memory_destroy(ls_comm *comm, void *memory) {
    ls_mpi_of(comm)->inner->memory_destroy(comm, memory);
}

static ls_status memory_map(ls_comm *comm, int fd, size_t bytes, void **out) {
    return ls_mpi_of(comm)->inner->memory_map(comm, fd, bytes, out);
}

static ls_status check(ls_comm *comm) {
    return ls_mpi_of(comm)->inner->check(comm);
}

static void abort_run(ls_comm *comm, const char *reason) {
    ls_mpi_of(comm)->inner->abort(comm, reason);
}

static void close_run(ls_comm *comm) {
    ls_mpi_of(comm)->inner->close(comm);
}

static ls_status start_on_host(ls_comm *comm, const ls_comm_call *call) {
    return ls_mpi_of(comm)->inner->start(comm, call);
}

static ls_status arrive_on_host(ls_comm *comm, int ticket, int peer, ls_comm_view *views_out) {
    return ls_mpi_of(comm)->inner->arrive(comm, ticket, peer, views_out);
}

static ls_status finish_on_host(ls_comm *comm, int ticket) {
    return ls_mpi_of(comm)->inner->finish(comm, ticket);
}

/* A call that gives nothing says on the board what the rank is in; whoever makes another is found before MPI hangs in it. */
static ls_status fast_all_reduce(ls_comm *comm, const ls_comm_call *call, float *data,
                                 int64_t count) {
    ls_mpi *mpi = ls_mpi_of(comm);
    ls_comm_call announced = *call;
    announced.n_parts = announced.scatter = 0;
    announced.from = announced.to = -1;
    LS_TRY(comm->ops->start(comm, &announced));
    for (int p = 0; p < comm->size; p++) LS_TRY(comm->ops->arrive(comm, call->ticket, p, NULL));
    ls_mpi_task *task = ls_mpi_task_create(mpi, LS_MPI_ALL_REDUCE);
    if (!task) return LS_ERR_NO_MEMORY;
    task->out = data;
    task->count = count;
    const ls_status status = ls_mpi_task_run(mpi, task);
    if (atomic_load(&task->done)) ls_free(task);
    LS_TRY(status);
    return comm->ops->finish(comm, call->ticket);
}

const ls_comm_ops ls_mpi_hosts_ops = {
    .name = "mpi",
    .memory_create = memory_create,
    .memory_destroy = memory_destroy,
    .memory_map = memory_map,
    .start = start,
    .arrive = arrive,
    .finish = finish,
    .check = check,
    .abort = abort_run,
    .close = close_run,
    .fast_all_reduce = fast_all_reduce,
};

const ls_comm_ops ls_mpi_host_ops = {
    .name = "mpi",
    .memory_create = memory_create,
    .memory_destroy = memory_destroy,
    .memory_map = memory_map,
    .start = start_on_host,
    .arrive = arrive_on_host,
    .finish = finish_on_host,
    .check = check,
    .abort = abort_run,
    .close = close_run,
    .fast_all_reduce = fast_all_reduce,
};
