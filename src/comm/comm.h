/* Communication between ranks: a table of functions, one back end per transport (comm/backend/). Messages travel on the
 * channels that the plan lists; order within a channel is kept.
 * Thread-safety: an ls_comm belongs to its rank's thread. send and recv are Collective in pairs; abort is Local. */
#ifndef LS_COMM_COMM_H
#define LS_COMM_COMM_H
#include "device/device.h"
#include "lockstep/status.h"
#include <stddef.h>

typedef struct ls_comm ls_comm;

/* One direction between two ranks: messages of `bytes`, at most `depth` of them under way before send waits. */
typedef struct ls_comm_channel {
    int from, to;
    size_t bytes;
    int depth;
} ls_comm_channel;

typedef struct ls_comm_ops {
    const char *name; /* "self", "threads" */
    ls_status (*send)(ls_comm *comm, int channel, const void *data);
    ls_status (*recv)(ls_comm *comm, int channel, void *data);
    /* Tells every waiting rank that this one gives up; they fail with LS_ERR_COMM naming it. */
    void (*abort)(ls_comm *comm, const char *reason);
} ls_comm_ops;

struct ls_comm {
    const ls_comm_ops *ops;
    int rank, size;
};

/* One rank alone: no channels. */
LS_API ls_comm ls_comm_self(void);

/* Ranks as threads of one process. The receiver's device holds a channel's buffers. */
typedef struct ls_comm_hub ls_comm_hub;
LS_API ls_status ls_comm_hub_create(int n_ranks, const ls_comm_channel *channels, int n_channels,
                                    ls_device *const *devices, ls_comm_hub **out);
LS_API void ls_comm_hub_destroy(ls_comm_hub *hub);
LS_API ls_comm *ls_comm_hub_rank(ls_comm_hub *hub, int rank); /* belongs to the hub */

#endif
