/* The wire of comm_mpi_peers.c: connections and frames. Local to the mpi transport. */
#ifndef LS_COMM_MPI_PEERS_H
#define LS_COMM_MPI_PEERS_H
#include "base/alloc.h"
#include "comm/backend/comm_mpi.h"

typedef enum ls_peer_kind {
    LS_PEER_HELLO, /* both ways, first: the cookie, and who I am */
    LS_PEER_STAND, /* ls_peer_news of one rank */
    LS_PEER_FAIL,  /* the culprit and the sentence */
    LS_PEER_PING,
    LS_PEER_BYE /* what follows is no accident */
} ls_peer_kind;

typedef struct ls_peer_frame {
    uint64_t magic;
    int32_t kind, rank;
    uint64_t bytes; /* of what follows */
} ls_peer_frame;

enum { LS_PEER_CALLS = 32 };

/* How a rank stands and what it did since the last time. Times are ages: hosts do not share a clock. */
typedef struct ls_peer_news {
    ls_board_stand stand;
    int64_t n_calls;
    ls_board_call calls[LS_PEER_CALLS]; /* sent as many as there are */
} ls_peer_news;

typedef struct ls_peer_link {
    int fd, rank; /* the first rank of the other host; -1 until it said hello */
    int is_over, said_bye;
    double silent; /* seconds that I listened and heard nothing */
    ls_text out;
    size_t n_in;
    unsigned char in[sizeof(ls_peer_frame) + sizeof(ls_peer_news)];
} ls_peer_link;

/* Listens on a free port of all addresses; fills the addresses others may try. */
ls_status ls_peer_listen(int *fd_out, ls_mpi_address *out);
/* Tries them one after another until one answers with the cookie. */
ls_status ls_peer_connect(const ls_mpi_address *hub, int my_rank, int *fd_out);
void ls_peer_say(ls_peer_link *link, ls_peer_kind kind, int rank, const void *data, size_t bytes);
/* Sends what can be sent now, reads what is there; a broken connection is_over. */
void ls_peer_flush(ls_peer_link *link);
void ls_peer_read(ls_peer_link *link);
/* The next whole frame of what was read: 1 and where its bytes are, valid until ls_peer_drop. */
int ls_peer_next(ls_peer_link *link, ls_peer_frame *out, const unsigned char **data_out);
void ls_peer_drop(ls_peer_link *link, const ls_peer_frame *frame);
void ls_peer_close(ls_peer_link *link);

#endif
