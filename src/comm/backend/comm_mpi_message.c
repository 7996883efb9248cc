/* Messages between hosts, for the communication thread.
 *
 * To each peer that takes from me a call sends a header, then its pieces in order. The receiver listens for the headers of a peer one at a
 * time, in the order of its own calls, and asks for the pieces only when the header is that of the call it expects. */
#include "base/alloc.h"
#include "base/clock.h"
#include "comm/backend/comm_mpi.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { TAG_HEADER = 1, TAG_PIECE = 2 };
enum { SENT, GOT_HEADER, GOT_PIECE }; /* what it means when a request is done */
enum { MAX_MESSAGE = 1 << 30 };

/* A failing MPI is often a dead peer: time for the liveness channel to say so. */
static const double settle_seconds = 0.7;

int ls_mpi_gives(const ls_mpi_call *call, int giver, int taker) {
    return giver != taker && (call->from < 0 || call->from == giver) &&
           (call->to < 0 || call->to == taker);
}

size_t ls_mpi_piece_bytes(const ls_mpi_call *call, int giver, int taker, int part) {
    const int piece = call->scatter ? taker : call->from >= 0 ? 0 : giver;
    return ls_comm_piece_bytes(&call->parts[part], piece);
}

size_t ls_mpi_landing_offset(const ls_mpi_call *call, int rank, int peer) {
    size_t at = 0;
    for (int q = 0; q < peer; q++)
        for (int i = 0; i < call->n_parts; i++)
            at += ls_mpi_aligned(ls_mpi_piece_bytes(call, q, rank, i));
    return at;
}

static int is_elsewhere(const ls_mpi *mpi, int rank) {
    return mpi->node_of[rank] != mpi->node;
}

/* Ends the job with what `said` holds, unless it turns out to have ended already. */
static void fail(ls_mpi *mpi, const char *doing, int peer, const char *said) {
    ls_board *board = ls_shared_board(mpi->shared);
    const double until = ls_clock_seconds() + settle_seconds;
    while (ls_board_failure(board, NULL) < 0 && ls_clock_seconds() < until) {
        const struct timespec moment = {0, 5000000};
        (void)nanosleep(&moment, NULL);
    }
    char me[112], them[112], text[LS_BOARD_SENTENCE];
    ls_board_say_rank(board, mpi->place.rank, me, sizeof me);
    ls_board_say_rank(board, peer, them, sizeof them);
    (void)snprintf(text, sizeof text, "%s failed while %s %s: %s", me, doing, them, said);
    (void)ls_board_fail(board, mpi->place.rank, text);
}

static void fail_mpi(ls_mpi *mpi, const char *doing, int peer) {
    fail(mpi, doing, peer, mpi->library.plugin->error(mpi->world));
}

/* Room for one more request; NULL after failing. */
static ls_mpi_request *next_request(ls_mpi *mpi, int ticket, int peer, int kind) {
    void *items = mpi->requests;
    const ls_status status = ls_array_reserve(&items, &mpi->requests_capacity, mpi->n_requests + 1,
                                              sizeof *mpi->requests);
    mpi->requests = items;
    if (status != LS_OK) {
        fail(mpi, "exchanging messages with", peer, ls_error_message());
        return NULL;
    }
    ls_mpi_request *request = &mpi->requests[mpi->n_requests];
    *request = (ls_mpi_request){.ticket = ticket, .peer = peer, .kind = kind};
    return request;
}

static int send(ls_mpi *mpi, int ticket, int peer, int tag, const void *data, size_t bytes) {
    ls_mpi_request *request = next_request(mpi, ticket, peer, SENT);
    if (!request) return 0;
    if (mpi->library.plugin->send(mpi->world, data, bytes, peer, tag, &request->handle)) {
        fail_mpi(mpi, "sending to", peer);
        return 0;
    }
    mpi->n_requests++;
    atomic_fetch_add(&mpi->calls[ticket].going[peer], 1);
    return 1;
}

static int listen_for(ls_mpi *mpi, int ticket, int peer, int kind, void *data, size_t bytes) {
    ls_mpi_request *request = next_request(mpi, ticket, peer, kind);
    if (!request) return 0;
    const int tag = kind == GOT_HEADER ? TAG_HEADER : TAG_PIECE;
    if (mpi->library.plugin->recv(mpi->world, data, bytes, peer, tag, &request->handle)) {
        fail_mpi(mpi, "receiving from", peer);
        return 0;
    }
    mpi->n_requests++;
    return 1;
}

static void send_call(ls_mpi *mpi, int ticket, int peer) {
    ls_mpi_call *call = &mpi->calls[ticket];
    const int rank = mpi->place.rank;
    if (!send(mpi, ticket, peer, TAG_HEADER, &call->header, sizeof call->header)) return;
    for (int i = 0; i < call->n_parts; i++) {
        const char *data = call->parts[i].data;
        if (call->scatter) data += (size_t)peer * call->parts[i].piece_bytes;
        const size_t piece = ls_mpi_piece_bytes(call, rank, peer, i);
        for (size_t sent = 0; sent < piece; sent += MAX_MESSAGE) {
            const size_t bytes = piece - sent < MAX_MESSAGE ? piece - sent : MAX_MESSAGE;
            if (!send(mpi, ticket, peer, TAG_PIECE, data + sent, bytes)) return;
        }
    }
}

/* The next header of a peer, when a call of mine expects one. */
static void listen_to(ls_mpi *mpi, int peer) {
    ls_mpi_inbox *inbox = &mpi->inboxes[peer];
    if (inbox->listening || inbox->n == 0) return;
    inbox->listening = listen_for(mpi, inbox->tickets[inbox->first], peer, GOT_HEADER,
                                  &inbox->header, sizeof inbox->header);
}

void ls_mpi_begin_call(ls_mpi *mpi, int ticket) {
    const ls_mpi_call *call = &mpi->calls[ticket];
    const int rank = mpi->place.rank, size = mpi->place.size;
    for (int p = 0; p < size; p++) {
        if (!is_elsewhere(mpi, p) || !ls_mpi_gives(call, p, rank)) continue;
        ls_mpi_inbox *inbox = &mpi->inboxes[p];
        inbox->tickets[(inbox->first + inbox->n++) % LS_BOARD_SLOTS] = ticket;
        listen_to(mpi, p);
    }
    /* Begin with my neighbour, so that not everybody sends to rank 0 first. */
    for (int i = 1; i < size; i++) {
        const int p = (rank + i) % size;
        if (!is_elsewhere(mpi, p) || !ls_mpi_gives(call, rank, p)) continue;
        send_call(mpi, ticket, p);
        /* The one that was counted for the posting itself. */
        atomic_fetch_sub(&call->going[p], 1);
    }
}

static void receive_pieces(ls_mpi *mpi, int ticket, int peer) {
    ls_mpi_call *call = &mpi->calls[ticket];
    const int rank = mpi->place.rank;
    size_t at = ls_mpi_landing_offset(call, rank, peer);
    for (int i = 0; i < call->n_parts; i++) {
        const size_t piece = ls_mpi_piece_bytes(call, peer, rank, i);
        for (size_t sent = 0; sent < piece; sent += MAX_MESSAGE) {
            const size_t bytes = piece - sent < MAX_MESSAGE ? piece - sent : MAX_MESSAGE;
            atomic_fetch_add(&call->coming[peer], 1);
            if (!listen_for(mpi, ticket, peer, GOT_PIECE, call->landing + at + sent, bytes)) return;
        }
        at += ls_mpi_aligned(piece);
    }
}

static void take_header(ls_mpi *mpi, int ticket, int peer) {
    ls_mpi_inbox *inbox = &mpi->inboxes[peer];
    ls_mpi_call *call = &mpi->calls[ticket];
    const ls_mpi_header *got = &inbox->header;
    inbox->listening = 0;
    if (got->magic != LS_MPI_MAGIC) {
        fail(mpi, "receiving from", peer, "a message that Lockstep did not send");
        return;
    }
    ls_board_call heard = got->call;
    heard.seconds = ls_clock_seconds();
    ls_cell_write(&inbox->heard.version, inbox->heard.words, &heard, sizeof heard);
    if (got->call.number != call->header.call.number || got->call.hash != call->header.call.hash) {
        /* The rank's thread sees to the blame. */
        atomic_store(&mpi->mismatch, call->header.call.number + 1);
        return;
    }
    inbox->first = (inbox->first + 1) % LS_BOARD_SLOTS;
    inbox->n--;
    receive_pieces(mpi, ticket, peer);
    listen_to(mpi, peer);
}

static void finish_request(ls_mpi *mpi, const ls_mpi_request *request) {
    ls_mpi_call *call = &mpi->calls[request->ticket];
    if (request->kind == SENT) {
        atomic_fetch_sub(&call->going[request->peer], 1);
        return;
    }
    if (request->kind == GOT_HEADER) {
        take_header(mpi, request->ticket, request->peer);
        if (atomic_load(&mpi->mismatch)) return;
    }
    /* The header's own count goes last: at 0 everything of this peer is here. */
    atomic_fetch_sub(&call->coming[request->peer], 1);
}

int ls_mpi_progress(ls_mpi *mpi) {
    int moved = 0;
    for (int64_t i = 0; i < mpi->n_requests;) {
        int done = 0;
        if (ls_board_failure(ls_shared_board(mpi->shared), NULL) >= 0) return -1;
        if (mpi->library.plugin->test(mpi->world, &mpi->requests[i].handle, &done)) {
            fail_mpi(mpi, "exchanging messages with", mpi->requests[i].peer);
            return -1;
        }
        if (!done) {
            i++;
            continue;
        }
        const ls_mpi_request request = mpi->requests[i];
        mpi->requests[i] = mpi->requests[--mpi->n_requests];
        finish_request(mpi, &request);
        moved = 1;
    }
    if (moved) ls_mpi_notify(mpi);
    return moved ? 1 : mpi->n_requests > 0 ? 0 : -1;
}
