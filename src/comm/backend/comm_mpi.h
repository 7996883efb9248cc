/* The inside of the mpi transport.
 *
 * comm_mpi_open.c    which MPI started the process, and loading its plugin (comm/mpi_plugin.h)
 * comm_mpi_thread.c  the one thread that makes MPI calls: tasks for it, and its sleep
 * comm_mpi_join.c    joining the run: who is where, the board; leaving it
 * comm_mpi_window.c  memory that the ranks of a host share
 * comm_mpi_p2p.c     calls between hosts, for the rank's thread: start, arrive, finish
 * comm_mpi_message.c the same for the communication thread: messages under way
 * comm_mpi_peers.c   liveness between hosts: TCP connections beside MPI (comm_mpi_wire.c)
 *
 * Ranks of one host use the shared-memory engine (comm/shared.h) and nothing of this but memory; its board also holds the ranks
 * of other hosts, which comm_mpi_peers.c relays. */
#ifndef LS_COMM_MPI_H
#define LS_COMM_MPI_H
#include "comm/mpi_plugin.h"
#include "comm/shared.h"
#include <pthread.h>

/* A loaded plugin; it stays loaded until the process ends, as MPI does. */
typedef struct ls_mpi_library {
    const ls_mpi_plugin *plugin;
    const char *launcher; /* "mpirun of Open MPI" */
} ls_mpi_library;

typedef struct ls_mpi ls_mpi;
typedef struct ls_mpi_peers ls_mpi_peers;

/* --- tasks of the communication thread --- */

typedef enum ls_mpi_verb {
    LS_MPI_INIT,
    LS_MPI_GATHER,
    LS_MPI_WINDOW,
    LS_MPI_UNWINDOW,
    LS_MPI_ALL_REDUCE,
    LS_MPI_FINALIZE,
    LS_MPI_QUIT /* without MPI */
} ls_mpi_verb;

/* Heap memory: a rank that gives up leaves the task to the thread, which may be stuck in MPI for ever. */
typedef struct ls_mpi_task {
    ls_mpi_verb verb;
    size_t bytes;
    const void *in;
    void *out; /* GATHER: of `size` times `bytes`; ALL_REDUCE: the data */
    int64_t count;
    ls_mpi_handle window;
    int detached; /* nobody waits: the thread frees it */
    _Atomic int done;
    ls_status status;
    char message[LS_BOARD_SENTENCE];
    struct ls_mpi_task *next;
    void *bases[]; /* WINDOW: [host_size] */
} ls_mpi_task;

/* --- a call between hosts --- */

#define LS_MPI_MAGIC \
    UINT64_C(0x4c534d5049303031) /* of the first word of what ranks send each other */

/* What goes before the pieces of a call to each peer that takes from me. */
typedef struct ls_mpi_header {
    uint64_t magic;
    ls_board_call call;
} ls_mpi_header;

/* A call of mine. Written by the rank's thread until it is posted. */
typedef struct ls_mpi_call {
    int active, n_parts, scatter, from, to;
    ls_comm_part parts[LS_COMM_MAX_PARTS];
    char *landing;
    ls_mpi_header header;
    double heard_seconds; /* when the first header came */
    _Atomic int *coming;  /* [size] messages that are still to come from a peer */
    _Atomic int *going;   /* [size] and to it */
} ls_mpi_call;

/* What is to come from one peer, in the order of my calls. */
typedef struct ls_mpi_inbox {
    int tickets[LS_BOARD_SLOTS], first, n;
    int listening; /* a receive for `header` is under way */
    ls_mpi_header header;
    ls_board_cell_call heard; /* the last call that a header told of; read by comm_mpi_peers.c */
} ls_mpi_inbox;

typedef struct ls_mpi_request {
    ls_mpi_handle handle;
    int ticket, peer;
    int kind; /* of message; comm_mpi_message.c */
} ls_mpi_request;

struct ls_mpi {
    ls_mpi_library library;
    void *world; /* the plugin's */
    ls_mpi_place place;
    int split;                   /* LOCKSTEP_MPI_P2P: every rank is a host of its own */
    int node, n_hosts, *node_of; /* [size] */
    char (*hosts)[64];           /* [size] */
    const char **host_names;     /* [size], into hosts */
    ls_job *job;
    ls_comm *comm;            /* the engine's; belongs to the caller of ls_comm_open */
    const ls_comm_ops *inner; /* its table, before ours was put in front */
    ls_shared *shared;
    ls_mpi_peers *peers;

    pthread_t thread;
    pthread_mutex_t lock; /* tasks, posted, quit */
    pthread_cond_t woken;
    ls_mpi_task *first_task, *last_task;
    int posted[LS_BOARD_SLOTS], n_posted; /* tickets for the thread */
    _Atomic uint32_t events;              /* futex: changes when something is done */
    _Atomic int dozing;                   /* the thread sleeps between two looks */
    _Atomic int waiting;       /* the rank's thread waits for messages: poll without sleep */
    _Atomic uint64_t mismatch; /* number + 1 of a call that a peer of another host did not make */

    ls_mpi_call *calls;    /* [LS_BOARD_SLOTS]; NULL on one host */
    _Atomic int *counts;   /* of all calls */
    ls_mpi_inbox *inboxes; /* [size]; the communication thread's */
    ls_mpi_request *requests;
    int64_t n_requests, requests_capacity;
};

/* Finds and loads the plugin of the MPI that started the process. */
ls_status ls_mpi_load(ls_mpi_library *out);
/* Joins; the rest of ls_comm_open_mpi. */
ls_status ls_mpi_join(const ls_mpi_library *library, const ls_comm_options *options, ls_comm **out);

/* pthread_create, but signals are left to the program's own threads. */
int ls_mpi_create_thread(pthread_t *thread, void *(*fn)(void *), void *user);
ls_status ls_mpi_thread_start(ls_mpi *mpi);
ls_mpi_task *ls_mpi_task_create(ls_mpi *mpi, ls_mpi_verb verb) LS_MUST_CHECK;
void ls_mpi_task_post(ls_mpi *mpi, ls_mpi_task *task);
/* Posts and waits; before there is a board nobody can be blamed, afterwards LS_ERR_COMM names the culprit. The caller frees the
 * task, but not after a failure with task->done == 0: then the thread has it for ever. */
ls_status ls_mpi_task_run(ls_mpi *mpi, ls_mpi_task *task);
/* Gives the thread the calls of mpi->posted[]. */
void ls_mpi_post_call(ls_mpi *mpi, int ticket);
/* For the wait of a rank's thread: sleeps until events move from `seen`, a while at most. */
void ls_mpi_sleep(ls_mpi *mpi, uint32_t seen);
void ls_mpi_notify(ls_mpi *mpi);
/* Ends the thread's sleep between two looks: the rank waits now. */
void ls_mpi_nudge(ls_mpi *mpi);

/* The communication thread's: begins a call's messages; moves all messages on: 1 when one was finished, 0 when none was, -1 when none
 * is under way. A failure ends up on the board. */
void ls_mpi_begin_call(ls_mpi *mpi, int ticket);
int ls_mpi_progress(ls_mpi *mpi);
/* Does `giver` give to `taker` in this call? */
int ls_mpi_gives(const ls_mpi_call *call, int giver, int taker);
/* Where in the landing memory of `rank` the pieces from `peer` begin; each takes ls_mpi_aligned of its bytes. */
size_t ls_mpi_landing_offset(const ls_mpi_call *call, int rank, int peer);
static inline size_t ls_mpi_aligned(size_t bytes) {
    return (bytes + 63) / 64 * 64;
}
size_t ls_mpi_piece_bytes(const ls_mpi_call *call, int giver, int taker, int part);

extern const ls_comm_ops ls_mpi_hosts_ops; /* between hosts */
extern const ls_comm_ops ls_mpi_host_ops;  /* on one host */
ls_mpi *ls_mpi_of(ls_comm *comm);
extern const ls_shared_memory ls_mpi_memory;
/* Leaves MPI and frees everything. Collective while nobody has failed. */
void ls_mpi_leave(void *user);

/* --- peers --- */

typedef struct ls_mpi_address {
    uint64_t cookie;
    uint16_t port; /* network order */
    uint8_t n_ips;
    uint8_t unused[5];
    uint32_t ips[16]; /* IPv4, network order */
} ls_mpi_address;

/* The first rank of every host starts one: rank 0 listens (its address goes out before), the others connect to it. */
ls_status ls_mpi_peers_create(ls_mpi *mpi, ls_mpi_peers **out);
/* Rank 0: listens and says where. */
ls_status ls_mpi_peers_listen(ls_mpi_peers *peers, ls_mpi_address *out);
/* Starts the thread; rank 0 waits until everybody has come, or a while. */
ls_status ls_mpi_peers_start(ls_mpi_peers *peers, const ls_mpi_address *hub);
/* Says what is still to be said, then leaves. NULL is fine. */
void ls_mpi_peers_stop(ls_mpi_peers *peers);

#endif
