/* A call: start, arrive, finish. See shared.h for how the slots work. */
#include "base/clock.h"
#include "base/hash.h"
#include "comm/shared_internal.h"
#include <stdio.h>
#include <string.h>

enum { IN_NO_MEMORY = -1, IN_PAGE = -2 };

static ls_shared *shared_of(ls_comm *comm) {
    return (ls_shared *)comm;
}

static int gives(const ls_shared_call *call, int rank) {
    return call->from < 0 || call->from == rank;
}

static int takes(const ls_shared_call *call, int rank) {
    return call->to < 0 || call->to == rank;
}

/* Long names keep their beginning; the rest stays zero for the hash. */
static void copy_name(char *to, size_t room, const char *from) {
    if (from) memcpy(to, from, strnlen(from, room - 1));
}

static void describe(const ls_comm_call *call, ls_board_call *out) {
    *out = (ls_board_call){.step = call->step,
                           .id = call->id,
                           .n_dims = call->shape.n_dims,
                           .dtype = (int32_t)call->dtype,
                           .from = call->from,
                           .to = call->to};
    copy_name(out->op, sizeof out->op, call->op);
    copy_name(out->scope, sizeof out->scope, call->scope);
    for (int i = 0; i < call->shape.n_dims; i++) out->dims[i] = call->shape.dims[i];
    uint64_t sizes[2 * LS_COMM_MAX_PARTS + 2];
    for (int i = 0; i < call->n_parts; i++) {
        sizes[2 * i] = call->parts[i].bytes;
        sizes[2 * i + 1] = call->parts[i].piece_bytes;
        out->bytes += call->parts[i].bytes;
    }
    sizes[2 * call->n_parts] = (uint64_t)call->scatter;
    sizes[2 * call->n_parts + 1] = (uint64_t)call->ticket;
    out->hash = ls_xxh3(sizes, (2 * (size_t)call->n_parts + 2) * sizeof *sizes, 0);
    const uint64_t hash = ls_xxh3(out, sizeof *out, 0);
    out->hash = hash < 2 ? hash + 2 : hash; /* 0 and 1 mean something else to blame.c */
}

/* A lone giver's bytes are piece 0, whichever member it is. */
static int piece_of(int scatter, int from, int taker, int giver) {
    return scatter ? taker : from >= 0 ? 0 : giver;
}

/* Finds the memory that holds the bytes a part gives. */
static ls_status locate(ls_shared *shared, const ls_comm_call *call, const ls_comm_part *part,
                        ls_board_part *out) {
    const int rank = shared->base.rank;
    const size_t given = call->scatter
                             ? part->bytes
                             : ls_comm_piece_bytes(part, piece_of(0, call->from, rank, rank));
    const char *data = part->data;
    *out = (ls_board_part){
        .memory = IN_NO_MEMORY, .bytes = part->bytes, .piece_bytes = part->piece_bytes};
    if (given == 0 || (call->from >= 0 && call->from != rank)) return LS_OK;
    const unsigned char *page = shared->board->ranks[rank].page;
    if ((const unsigned char *)data == page && given <= LS_COMM_EXCHANGE_BYTES) {
        out->memory = IN_PAGE;
        return LS_OK;
    }
    for (int i = 0; i < LS_SHARED_BLOCKS; i++) {
        const ls_shared_block *block = &shared->blocks[i];
        if (!shared->in_use[i]) continue;
        const char *base = block->bases[rank];
        if (data < base || data >= base + block->bytes) continue;
        if (given > block->bytes - (size_t)(data - base)) break;
        out->memory = i;
        out->offset = (uint64_t)(data - base);
        return LS_OK;
    }
    return LS_FAIL(LS_ERR_INVALID,
                   "%s %s gives %zu bytes that are not within memory made by ls_comm_memory_create",
                   call->op, call->scope ? call->scope : "", given);
}

static ls_status check_call(const ls_shared *shared, const ls_comm_call *call) {
    if (call->ticket < 0 || call->ticket >= LS_BOARD_SLOTS || call->n_parts < 0 ||
        call->n_parts > LS_COMM_MAX_PARTS || call->from >= shared->base.size ||
        call->to >= shared->base.size || call->shape.n_dims < 0 || call->shape.n_dims > LS_MAX_DIMS)
        return LS_FAIL(
            LS_ERR_INVALID,
            "%s: ticket %d, %d parts, from %d, to %d: tickets go to %d, parts to %d, ranks to %d",
            call->op, call->ticket, call->n_parts, call->from, call->to, LS_COMM_MAX_TICKETS - 1,
            LS_COMM_MAX_PARTS, shared->base.size - 1);
    if (shared->calls[call->ticket].active)
        return LS_FAIL(LS_ERR_INVALID,
                       "%s: ticket %d still belongs to a call that was not finished", call->op,
                       call->ticket);
    return LS_OK;
}

ls_status ls_shared_start(ls_comm *comm, const ls_comm_call *call) {
    ls_shared *shared = shared_of(comm);
    LS_TRY(check_call(shared, call));
    ls_board_call entry;
    describe(call, &entry);
    entry.number = shared->n_calls;
    entry.seconds = ls_clock_seconds();
    ls_board_slot *slot = &shared->board->ranks[comm->rank].slots[call->ticket];
    for (int i = 0; i < call->n_parts; i++)
        LS_TRY(locate(shared, call, &call->parts[i], &slot->parts[i]));
    slot->n_parts = call->n_parts;
    slot->seconds = entry.seconds;
    shared->calls[call->ticket] = (ls_shared_call){.active = 1,
                                                   .scatter = call->scatter,
                                                   .from = call->from,
                                                   .to = call->to,
                                                   .n_parts = call->n_parts,
                                                   .number = entry.number,
                                                   .hash = entry.hash,
                                                   .seconds = entry.seconds,
                                                   .first_seconds = entry.seconds};
    shared->n_calls++;
    shared->step = call->step;
    atomic_store_explicit(&slot->hash, entry.hash, memory_order_relaxed);
    atomic_store_explicit(&slot->started, entry.number + 1, memory_order_release);
    ls_board_log_call(shared->board, comm->rank, &entry);
    ls_board_wake(shared->board, comm->rank);
    return LS_OK;
}

static ls_shared_call *find_call(ls_shared *shared, int ticket) {
    if (ticket < 0 || ticket >= LS_BOARD_SLOTS || !shared->calls[ticket].active) {
        (void)LS_FAIL(LS_ERR_INVALID, "no collective of ticket %d is under way", ticket);
        return NULL;
    }
    return &shared->calls[ticket];
}

static ls_comm_view view_part(const ls_shared *shared, const ls_shared_call *call, int peer,
                              const ls_board_part *part) {
    const ls_comm_part whole = {NULL, part->bytes, part->piece_bytes};
    const int piece = piece_of(call->scatter, call->from, shared->base.rank, peer);
    const size_t bytes = ls_comm_piece_bytes(&whole, piece);
    if (bytes == 0 || part->memory == IN_NO_MEMORY) return (ls_comm_view){NULL, 0};
    const char *base = part->memory == IN_PAGE ? (const char *)shared->board->ranks[peer].page
                                               : shared->blocks[part->memory].bases[peer];
    const size_t skip = call->scatter ? (size_t)piece * part->piece_bytes : 0;
    return (ls_comm_view){base + part->offset + skip, bytes};
}

ls_status ls_shared_arrive(ls_comm *comm, int ticket, int peer, ls_comm_view *views_out) {
    ls_shared *shared = shared_of(comm);
    ls_shared_call *call = find_call(shared, ticket);
    if (!call) return LS_ERR_INVALID;
    for (int i = 0; i < call->n_parts; i++) views_out[i] = (ls_comm_view){NULL, 0};
    if (!gives(call, peer) || !takes(call, comm->rank)) return LS_OK;
    if (!ls_shared_is_here(shared, peer))
        return LS_FAIL(LS_ERR_INVALID, "rank %d is on another host than rank %d", peer, comm->rank);
    if (peer != comm->rank) LS_TRY(ls_shared_await(shared, ticket, peer, LS_SHARED_STARTED));
    const ls_board_slot *slot = &shared->board->ranks[peer].slots[ticket];
    if (slot->seconds < call->first_seconds) call->first_seconds = slot->seconds;
    for (int i = 0; i < call->n_parts; i++)
        views_out[i] = view_part(shared, call, peer, &slot->parts[i]);
    return LS_OK;
}

/* Who gave nothing yet is waited for even when nobody asked for it: its slot may still be that of an earlier call. */
ls_status ls_shared_finish(ls_comm *comm, int ticket) {
    ls_shared *shared = shared_of(comm);
    ls_shared_call *call = find_call(shared, ticket);
    if (!call) return LS_ERR_INVALID;
    const int rank = comm->rank, size = comm->size;
    for (int p = 0; takes(call, rank) && p < size; p++)
        if (p != rank && gives(call, p) && ls_shared_is_here(shared, p))
            LS_TRY(ls_shared_await(shared, ticket, p, LS_SHARED_STARTED));
    ls_board_slot *slot = &shared->board->ranks[rank].slots[ticket];
    atomic_store_explicit(&slot->done, call->number + 1, memory_order_release);
    ls_board_wake(shared->board, rank);
    for (int p = 0; gives(call, rank) && p < size; p++)
        if (p != rank && takes(call, p) && ls_shared_is_here(shared, p))
            LS_TRY(ls_shared_await(shared, ticket, p, LS_SHARED_DONE));
    shared->stand.lag_seconds += call->seconds - call->first_seconds;
    ls_shared_publish(shared, call->seconds);
    call->active = 0;
    return LS_OK;
}
