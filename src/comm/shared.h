/* The engine for ranks that see each other's memory: threads of a hub, processes of one host, MPI ranks of one host.
 *
 * The engine needs two things from a bootstrap: one board (comm/board.h), zeroed memory that all ranks map writable, and a
 * ls_shared_memory table that makes blocks which peers can read. Everything else (calls, waiting, blame, accounting) is here.
 *
 * How a call goes: start() fills the rank's slot `ticket` on the board and raises its `started` to the call's number (the n-th call
 * of a rank has number n); arrive(peer) waits for the peer's slot to reach that number and turns (memory, offset) into addresses;
 * finish() raises `done` of its own slot to the number and waits until everybody who takes from it has done so. Every field of a
 * rank is written by that rank alone, so nothing is added atomically but the counts of sleepers.
 *
 * A bootstrap makes a board like this: ls_job_create() + ls_job_board() in one process, ls_job_join(pid) + ls_job_board() in the
 * others (that also shows it to `lockstep top`); or ls_board_init() on its own zeroed memory of ls_board_bytes(size).
 * Thread-safety: an ls_shared belongs to its rank's thread, but for check(). */
#ifndef LS_COMM_SHARED_H
#define LS_COMM_SHARED_H
#include "comm/board.h"
#include "comm/comm.h"
#include "comm/watch.h"

typedef struct ls_shared ls_shared;

/* One memory_create() of all ranks. */
typedef struct ls_shared_block {
    size_t bytes; /* of mine */
    int fd;       /* to map instead of new memory; the caller's. -1: none */
    void **
        bases; /* [size], made and freed by the engine: where each rank's memory lies in this process; bases[rank] is
                    * mine and writable; NULL for ranks of other hosts */
    void *handle; /* the table's own */
} ls_shared_block;

/* How peers get to see memory. */
typedef struct ls_shared_memory {
    const char *name; /* of the transport: "shm" */
    /* Fills block->bases and block->handle; block->bytes is asked for, may differ between ranks and may be 0 (bases[rank] is
     * a valid pointer all the same). Zeroed, 64-byte aligned. Collective: all ranks must fail alike, for which
     * ls_shared_exchange() may be used. On failure nothing is left behind. */
    ls_status (*create)(ls_shared *shared, ls_shared_block *block);
    /* Local. A peer that failed may still be reading mine: what it mapped must stay. */
    void (*destroy)(ls_shared *shared, ls_shared_block *block);
    /* After the rank has left the board: unmaps the board, frees `user`. May be NULL. */
    void (*close)(void *user);
} ls_shared_memory;

typedef struct ls_shared_options {
    ls_board *board;
    int rank; /* the board's size is the comm's */
    const ls_shared_memory *memory;
    void *user;        /* for `memory` */
    const char *host;  /* name of this host */
    int node, n_hosts; /* number of this host, how many there are; 0 and 1 where there is one */
    const int *
        node_of; /* [size] host of each rank, copied; NULL = all on this one. A call takes from and waits for the ranks of
                             * this host only; a transport that spans hosts brings the others' bytes itself and writes their
                             * part of this host's board (ls_board_relay) */
    double late_seconds; /* as in ls_comm_options */
    int quiet;
    ls_watch *watch; /* a hub's; NULL: the rank starts its own */
} ls_shared_options;

/* Joins the board. Local: waits for nobody. On failure the caller still owns `user`; afterwards `memory->close` has it. The
 * ls_comm is closed with ls_comm_close. */
LS_API ls_status ls_shared_open(const ls_shared_options *options, ls_comm **out);
/* The engine behind a comm that ls_shared_open made, its user and its board. */
LS_API ls_shared *ls_shared_of(ls_comm *comm);
LS_API void *ls_shared_user(const ls_shared *shared);
LS_API int ls_shared_rank(const ls_shared *shared);
LS_API int ls_shared_size(const ls_shared *shared);
LS_API ls_board *ls_shared_board(const ls_shared *shared);

/* Like ls_comm_exchange among the ranks of this host, through the board (at most LS_COMM_EXCHANGE_BYTES); needs no memory. Ranks of other hosts
 * leave their part of all_out zero. Collective over the host. */
LS_API ls_status ls_shared_exchange(ls_shared *shared, const char *what, const void *mine,
                                    size_t bytes, void *all_out);

/* For transports that span hosts: sleeps, looking at ready() every millisecond or so, until it says 1 or a rank has failed; `ticket` and
 * `peer` are for the blame (peer: whom it waits for). LS_ERR_COMM with the whole sentence. */
LS_API ls_status ls_shared_wait(ls_shared *shared, int ticket, int peer, int (*ready)(void *user),
                                void *user);

#endif
