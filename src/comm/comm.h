/* The inside of a transport: a table of functions, one back end each (comm/backend/). See lockstep/comm.h.
 *
 * The one thing a transport does is a call: every rank starts the same call (same op, shape, dtype, step, in the same order),
 * giving bytes; each rank then takes from each peer what is meant for it, and finishes. A call is split in two so that work can
 * stand between: start() never waits for peers; arrive() and finish() do. Transports move bytes and never add.
 * Thread-safety: an ls_comm belongs to its rank's thread. */
#ifndef LS_COMM_COMM_H
#define LS_COMM_COMM_H
#include "device/device.h"
#include "lockstep/comm.h"
#include "lockstep/tensor.h"
#include <stddef.h>
#include <stdint.h>

enum {
    LS_COMM_MAX_PARTS = 48,    /* tensors of one call */
    LS_COMM_MAX_TICKETS = 256, /* calls under way at once */
    LS_COMM_EXCHANGE_BYTES = 4096
};

/* One tensor's bytes of a call. SCATTER calls: `data` is `bytes` long and member q takes
 * [q * piece_bytes, min(bytes, (q + 1) * piece_bytes)) of it. Others: `data` is my own piece and everybody takes all of it; it is
 * piece_bytes long, less for the last members: min(bytes - rank * piece_bytes, piece_bytes), not below 0; with from >= 0 the lone
 * giver's bytes are piece 0. */
typedef struct ls_comm_part {
    const void *data; /* in memory made by ls_comm_memory_create */
    size_t bytes;     /* of all members' pieces together */
    size_t piece_bytes;
} ls_comm_part;

typedef struct ls_comm_call {
    const char *op;    /* "reduce_scatter" */
    const char *scope; /* where in the model: "h.3.attn"; "" for none */
    uint64_t step;
    int64_t id;     /* number of the node: equal on every rank */
    ls_dtype dtype; /* of the first tensor, for messages and the match between ranks */
    ls_shape shape; /* of the first tensor */
    int ticket; /* 0 .. LS_COMM_MAX_TICKETS - 1: names this call until it is finished; LS_COMM_MAX_TICKETS is
                 * ls_comm_exchange's */
    int scatter; /* see ls_comm_part */
    int from,
        to; /* only member `from` gives, only member `to` takes; -1 = all. broadcast: from = root */
    int n_parts;
    const ls_comm_part *parts; /* read during start() only */
    void *
        landing; /* ls_comm_landing_bytes() of memory for what comes from other hosts; NULL where all share memory */
} ls_comm_call;

typedef struct ls_comm_view {
    const void *data;
    size_t bytes;
} ls_comm_view;

typedef struct ls_comm_ops {
    const char *name;
    /* Zeroed memory that peers of this host can read, 64-byte aligned. bytes may differ between ranks. Collective. */
    ls_status (*memory_create)(ls_comm *comm, size_t bytes, void **out);
    void (*memory_destroy)(ls_comm *comm, void *memory); /* Collective in the good case */
    /* The same of a descriptor of shared memory: see ls_comm_memory_map. Collective. */
    ls_status (*memory_map)(ls_comm *comm, int fd, size_t bytes, void **out);
    ls_status (*start)(ls_comm *comm, const ls_comm_call *call);
    /* Waits until `peer` (also myself) has started the same call; views_out[part] is what it gives me. LS_ERR_COMM, with the whole
     * sentence, when it died, stopped, is late, or started something else. */
    ls_status (*arrive)(ls_comm *comm, int ticket, int peer, ls_comm_view *views_out);
    /* I have read all I wanted. Waits until nobody needs my parts any more; the ticket is free again. */
    ls_status (*finish)(ls_comm *comm, int ticket);
    /* Has a peer failed? Cheap: asked between nodes, and now and then in long work. Who asks is not late. */
    ls_status (*check)(ls_comm *comm);
    void (*abort)(ls_comm *comm, const char *reason);
    void (*close)(ls_comm *comm);
    /* fast mode: sums of f32 in the library's own order, in place. NULL: this transport has none. */
    ls_status (*fast_all_reduce)(ls_comm *comm, const ls_comm_call *call, float *data,
                                 int64_t count);
} ls_comm_ops;

/* The first gift of a step that was not finite, seen when it was added. */
typedef struct ls_comm_suspect {
    int found, member; /* who gave it */
    uint64_t step;
    int64_t node, tensor,
        element; /* of the collective; of its tensors; of the member's piece for me */
    char op[32], scope[64];
} ls_comm_suspect;

struct ls_comm {
    const ls_comm_ops *ops;
    int rank, size, n_hosts;
    const char *const
        *hosts;           /* [size], the transport's: host of each rank; NULL = all on this one */
    void *page, *landing; /* of ls_comm_exchange; NULL before the first */
    ls_comm_suspect suspect;
    uint64_t step; /* of the program's last collective; exchanges are announced under it */
};

/* Remembers the first of a step. Local. */
LS_API void ls_comm_suspect_note(ls_comm *comm, const ls_comm_suspect *suspect);
/* Who gave the first value of `step` that was not finite? LS_ERR_NUMERIC with a sentence that names it, the same on all ranks;
 * LS_OK when nobody saw one. Collective. */
LS_API ls_status ls_comm_suspect_report(ls_comm *comm, uint64_t step);

/* All of these take a NULL comm as one rank alone. */
LS_API ls_status ls_comm_memory_create(ls_comm *comm, size_t bytes, void **out);
LS_API void ls_comm_memory_destroy(ls_comm *comm, void *memory);
/* Maps `bytes` (> 0) from the beginning of `fd`, a descriptor of shared memory (memfd_create) at least so long, writable for this rank and
 * readable for its peers of this host; what it holds stays. The descriptor stays the caller's. Given back with ls_comm_memory_destroy.
 * `comm` must not be NULL. Collective. */
LS_API ls_status ls_comm_memory_map(ls_comm *comm, int fd, size_t bytes, void **out);
LS_API ls_status ls_comm_check(ls_comm *comm);

/* Bytes of piece q of a part. */
LS_API size_t ls_comm_piece_bytes(const ls_comm_part *part, int q);
/* Memory that a call needs for pieces from other hosts: for every member and part, its piece for me, each 64-byte aligned. The
 * plan asks for all members, whichever host they turn out to be on. */
LS_API size_t ls_comm_landing_bytes(const ls_comm_call *call, int size);

/* --- how a tensor is cut among members: by the lane tree, not by the number of ranks --- */

/* Elements are dealt in units of LS_SHARD_UNIT. A tensor of `count` elements has `lanes` chunks of ls_shard_chunk elements
 * (the last ones short or empty); a member of a group of `size` owns lanes / size neighbouring chunks. */
enum { LS_SHARD_UNIT = 64 };
LS_API int64_t ls_shard_chunk(int64_t count, int lanes);
LS_API int64_t ls_shard_piece(int64_t count, int lanes, int size); /* chunk * lanes / size */
/* Elements that member q really has: 0 .. piece. */
LS_API int64_t ls_shard_count(int64_t count, int64_t piece, int q);

/* --- pipeline channels between threads (tests of the pipeline schedules) --- */

typedef struct ls_comm_channel {
    int from, to;
    size_t bytes;
    int depth; /* messages under way before send waits */
} ls_comm_channel;
typedef struct ls_channel_hub ls_channel_hub;
typedef struct ls_channel_end ls_channel_end;
LS_API ls_status ls_channel_hub_create(int n_ranks, const ls_comm_channel *channels, int n_channels,
                                       ls_device *const *devices, ls_channel_hub **out);
LS_API void ls_channel_hub_destroy(ls_channel_hub *hub);
LS_API ls_channel_end *ls_channel_hub_rank(ls_channel_hub *hub, int rank); /* belongs to the hub */
LS_API ls_status ls_channel_send(ls_channel_end *end, int channel, const void *data);
LS_API ls_status ls_channel_recv(ls_channel_end *end, int channel, void *data);
LS_API void ls_channel_abort(ls_channel_end *end, const char *reason);

#endif
