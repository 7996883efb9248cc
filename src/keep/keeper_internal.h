/* The inside of a keeper. All of it is under ls_keeper.lock; the thread lets go of the lock only while it waits for its sockets. */
#ifndef LS_KEEP_KEEPER_INTERNAL_H
#define LS_KEEP_KEEPER_INTERNAL_H
#include "base/alloc.h"
#include "keep/keep_segment.h"
#include "keep/keep_wire.h"
#include "keep/keeper.h"
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

typedef struct ls_keeper_link ls_keeper_link;

/* A piece of a buffer that is copied, in order. */
typedef struct ls_keeper_span {
    uint64_t offset, bytes;
} ls_keeper_span;

typedef struct ls_keeper_segment {
    struct ls_keeper_segment *next;
    int is_copy; /* of another host's */
    int64_t job;
    ls_keep_header *mapped; /* what the rank writes */
    ls_keep_header *image;  /* my copy of its beginning, verified */
    int fd;                 /* -1: a copy */
    ls_keeper_link *owner;  /* the rank's connection while it lives */
    int has_committed;      /* a new step in this job */
    /* To the neighbour. */
    ls_keep_header *shadow; /* what it holds of this one; NULL before the first copy */
    ls_keeper_span *spans;
    int n_spans, is_announced;
    int64_t wanted; /* the step that waits to be copied, or -1 */
    int was_restored;
    /* A copy that is coming. */
    int coming_buffer;
    uint64_t coming_at;
    int32_t
        turn; /* of the newest connection that announced it: what older ones still bring is over */
} ls_keeper_segment;

struct ls_keeper_link {
    int fd, is_local, is_over, is_greeted, is_connecting;
    int passed; /* a descriptor that came, or -1 */
    int32_t who, rank, turn;
    int64_t job;
    double since;
    char *in;
    int64_t n_in, in_capacity;
    ls_text out;
    size_t n_sent;
    int is_reading; /* an answer to READ is under way */
    ls_keep_read read;
    ls_keeper_segment *coming; /* COPY was heard, COPIED not yet */
};

/* The way to the next keeper in the ring. */
typedef struct ls_keeper_ring {
    int is_on, was_lost;
    char address[320];
    struct sockaddr_storage to;
    socklen_t to_bytes;
    ls_keeper_link *link;
    int32_t n_turns;            /* connections made, to this neighbour or others */
    double ticked, silent;      /* the last tick; seconds in which no byte went or came */
    ls_keeper_segment *copying; /* its pieces are being sent */
    int buffer;
    int64_t step;
    int span;
    uint64_t span_at, sent;
} ls_keeper_ring;

struct ls_keeper {
    pthread_t thread;
    pthread_mutex_t lock;
    int is_running;
    int has_more; /* frames that came and were not heard yet */
    _Atomic int stop;
    int bell, local, tcp, port; /* eventfd, listeners */
    char name[96], cookie[LS_KEEPER_COOKIE], offer[160];
    ls_keeper_link **links;
    int64_t n_links, links_capacity;
    struct pollfd *polls;
    int64_t polls_capacity;
    ls_keeper_segment *segments;
    int64_t job;
    int n_ranks;
    ls_keeper_ring ring;
};

/* --- keeper_link.c --- */
ls_status ls_keeper_link_add(ls_keeper *keeper, int fd, int is_local, ls_keeper_link **out);
void ls_keeper_link_destroy(ls_keeper_link *link);
/* Queues a frame of head and bytes; without memory the link is over. */
void ls_keeper_link_say(ls_keeper_link *link, ls_keep_word kind, const void *head,
                        size_t head_bytes, const void *data, size_t bytes);
/* The error record, as a FAIL. */
void ls_keeper_link_fail(ls_keeper_link *link, ls_status status);
/* Reads what is there, up to about a chunk. */
void ls_keeper_link_read(ls_keeper_link *link);
/* 1 when bytes went. */
int ls_keeper_link_flush(ls_keeper_link *link);
size_t ls_keeper_link_queued(const ls_keeper_link *link);
/* The next whole frame: 1, and where its bytes are until ls_keeper_link_drop. A frame that nobody may send ends the link. */
int ls_keeper_link_next(ls_keeper_link *link, ls_keep_frame *out, const char **data_out);
void ls_keeper_link_drop(ls_keeper_link *link, const ls_keep_frame *frame);
/* May such a frame come? Looks at sizes only. */
LS_API int ls_keeper_frame_is_sound(const ls_keep_frame *frame, int is_greeted);

/* --- keeper_request.c --- */
void ls_keeper_hear(ls_keeper *keeper, ls_keeper_link *link, const ls_keep_frame *frame,
                    const char *data);
/* Queues more of an answer to READ when there is room. */
void ls_keeper_read_on(ls_keeper *keeper, ls_keeper_link *link);
void ls_keeper_enter_job(ls_keeper *keeper, int64_t job);

/* --- keeper_hold.c: segments --- */
ls_status ls_keeper_hold(ls_keeper *keeper, ls_keeper_link *owner, int fd);
ls_keeper_segment *ls_keeper_find_copy(ls_keeper *keeper, int64_t job, int rank);
ls_keeper_segment *ls_keeper_of_link(ls_keeper *keeper, const ls_keeper_link *link);
void ls_keeper_release(ls_keeper *keeper, ls_keeper_segment *segment);
/* Memory for a copy whose beginning is `image`, which becomes the segment's. */
ls_status ls_keeper_hold_copy(ls_keeper *keeper, int64_t job, ls_keep_header *image);
/* Gives older jobs' segments back when all of this one's here have a step of their own. */
void ls_keeper_drop_old(ls_keeper *keeper);
void ls_keeper_forget_link(ls_keeper *keeper, const ls_keeper_link *link);

/* --- keeper_copy.c: the ring --- */
ls_status ls_keeper_ring_set(ls_keeper *keeper, const char *address);
/* The segment has a new step. */
void ls_keeper_ring_want(ls_keeper *keeper, ls_keeper_segment *segment, int64_t step,
                         int was_restored);
void ls_keeper_ring_release(ls_keeper *keeper, ls_keeper_segment *segment);
/* The way to the neighbour is new or gone: what its ranks wait for. */
void ls_keeper_ring_show(ls_keeper *keeper, ls_keeper_segment *segment);
void ls_keeper_ring_go_on(ls_keeper *keeper);
void ls_keeper_ring_tick(ls_keeper *keeper, double now);
void ls_keeper_ring_hear(ls_keeper *keeper, const ls_keep_frame *frame, const char *data);
void ls_keeper_ring_lose(ls_keeper *keeper, const char *why);
/* SHADOW, COPY, PIECE and COPIED of another keeper. */
ls_status ls_keeper_copy_hear(ls_keeper *keeper, ls_keeper_link *link, const ls_keep_frame *frame,
                              const char *data);

/* --- keeper_inventory.c; the lock is held --- */
ls_status ls_keeper_list(const ls_keeper *keeper, json_t **out);

#endif
