/* The inside of the engine, for shared*.c. */
#ifndef LS_COMM_SHARED_INTERNAL_H
#define LS_COMM_SHARED_INTERNAL_H
#include "comm/shared.h"

enum { LS_SHARED_BLOCKS = 64 };

/* A call of mine that is under way. */
typedef struct ls_shared_call {
    int active, scatter, from, to, n_parts;
    uint64_t number, hash;
    double seconds, first_seconds; /* when I started it; when the first of those I looked at did */
} ls_shared_call;

struct ls_shared {
    ls_comm base;
    ls_comm_ops ops; /* of base, under the bootstrap's name */
    ls_board *board;
    const ls_shared_memory *memory;
    void *user;
    int node, may_spin;
    int *node_of;       /* NULL: all on this host */
    const char **hosts; /* [size] */
    ls_watch *own_watch;
    uint64_t n_calls, step;
    ls_board_stand stand; /* mine; the board has a copy, */
    double published;     /* of this time */
    ls_shared_call calls[LS_BOARD_SLOTS];
    int in_use[LS_SHARED_BLOCKS];
    ls_shared_block blocks[LS_SHARED_BLOCKS];
};

typedef enum ls_shared_wait_kind {
    LS_SHARED_STARTED, /* the peer has started the call */
    LS_SHARED_DONE     /* the peer has read what it wanted */
} ls_shared_wait_kind;

static inline int ls_shared_is_here(const ls_shared *shared, int rank) {
    return !shared->node_of || shared->node_of[rank] == shared->node;
}
/* Waits for one peer's slot of my call `ticket`. LS_ERR_COMM names the culprit. */
ls_status ls_shared_await(ls_shared *shared, int ticket, int peer, ls_shared_wait_kind kind);

/* Copies my stand to the board when the last copy is old; `now` is about now. */
void ls_shared_publish(ls_shared *shared, double now);

ls_status ls_shared_start(ls_comm *comm, const ls_comm_call *call);
ls_status ls_shared_arrive(ls_comm *comm, int ticket, int peer, ls_comm_view *views_out);
ls_status ls_shared_finish(ls_comm *comm, int ticket);
ls_status ls_shared_create_memory(ls_comm *comm, size_t bytes, void **out);
ls_status ls_shared_map_memory(ls_comm *comm, int fd, size_t bytes, void **out);
void ls_shared_destroy_memory(ls_comm *comm, void *memory);
void ls_shared_destroy_memories(ls_shared *shared);

#endif
