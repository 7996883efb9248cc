/* Pipeline channels between threads: each is a ring of message buffers under the hub's lock. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "comm/comm.h"

typedef struct ring {
    ls_comm_channel spec;
    ls_device *device; /* holds the buffers */
    char *buffers;
    size_t stride, held_bytes;
    int64_t n_sent, n_received;
} ring;

struct ls_channel_end {
    ls_channel_hub *hub;
    int rank;
};

struct ls_channel_hub {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    ring *rings;
    int n_rings, n_ranks;
    ls_channel_end *ranks;
    int aborted_by; /* rank, or -1 */
    char reason[512];
};

static ls_status report_abort(const ls_channel_hub *hub, const ls_channel_end *end, const ring *r) {
    return LS_FAIL(LS_ERR_COMM, "rank %d waited for rank %d, but rank %d stopped: %s", end->rank,
                   r->spec.from == end->rank ? r->spec.to : r->spec.from, hub->aborted_by,
                   hub->reason);
}

ls_status ls_channel_send(ls_channel_end *end, int channel, const void *data) {
    ls_channel_hub *hub = end->hub;
    ring *r = &hub->rings[channel];
    ls_status status = LS_OK;
    pthread_mutex_lock(&hub->lock);
    while (hub->aborted_by < 0 && r->n_sent - r->n_received >= r->spec.depth)
        pthread_cond_wait(&hub->moved, &hub->lock);
    if (hub->aborted_by >= 0) status = report_abort(hub, end, r);
    pthread_mutex_unlock(&hub->lock);
    if (status != LS_OK) return status;
    /* One sender and one receiver a ring: the slot is ours until n_sent moves. */
    memcpy(r->buffers + (size_t)(r->n_sent % r->spec.depth) * r->stride, data, r->spec.bytes);
    pthread_mutex_lock(&hub->lock);
    r->n_sent++;
    pthread_cond_broadcast(&hub->moved);
    pthread_mutex_unlock(&hub->lock);
    return LS_OK;
}

ls_status ls_channel_recv(ls_channel_end *end, int channel, void *data) {
    ls_channel_hub *hub = end->hub;
    ring *r = &hub->rings[channel];
    ls_status status = LS_OK;
    pthread_mutex_lock(&hub->lock);
    while (hub->aborted_by < 0 && r->n_sent == r->n_received)
        pthread_cond_wait(&hub->moved, &hub->lock);
    if (r->n_sent == r->n_received) status = report_abort(hub, end, r);
    pthread_mutex_unlock(&hub->lock);
    if (status != LS_OK) return status;
    memcpy(data, r->buffers + (size_t)(r->n_received % r->spec.depth) * r->stride, r->spec.bytes);
    pthread_mutex_lock(&hub->lock);
    r->n_received++;
    pthread_cond_broadcast(&hub->moved);
    pthread_mutex_unlock(&hub->lock);
    return LS_OK;
}

void ls_channel_abort(ls_channel_end *end, const char *reason) {
    ls_channel_hub *hub = end->hub;
    pthread_mutex_lock(&hub->lock);
    if (hub->aborted_by < 0) {
        hub->aborted_by = end->rank;
        snprintf(hub->reason, sizeof hub->reason, "%s", reason);
    }
    pthread_cond_broadcast(&hub->moved);
    pthread_mutex_unlock(&hub->lock);
}

static ls_status open_ring(ring *r, const ls_comm_channel *spec, ls_device *device) {
    r->spec = *spec;
    r->device = device;
    r->stride = (spec->bytes + 63) / 64 * 64;
    r->held_bytes = r->stride * (size_t)spec->depth;
    return ls_device_alloc(device, r->held_bytes, (void **)&r->buffers);
}

ls_status ls_channel_hub_create(int n_ranks, const ls_comm_channel *channels, int n_channels,
                                ls_device *const *devices, ls_channel_hub **out) {
    ls_channel_hub *hub = ls_alloc(sizeof *hub);
    if (!hub) return LS_ERR_NO_MEMORY;
    pthread_mutex_init(&hub->lock, NULL);
    pthread_cond_init(&hub->moved, NULL);
    hub->aborted_by = -1;
    hub->n_ranks = n_ranks;
    hub->rings = ls_alloc(sizeof *hub->rings * (size_t)(n_channels + 1));
    hub->ranks = ls_alloc(sizeof *hub->ranks * (size_t)n_ranks);
    ls_status status = hub->rings && hub->ranks ? LS_OK : LS_ERR_NO_MEMORY;
    for (int i = 0; status == LS_OK && i < n_channels; i++) {
        status = open_ring(&hub->rings[i], &channels[i], devices[channels[i].to]);
        if (status == LS_OK) hub->n_rings++;
    }
    if (status != LS_OK) {
        ls_channel_hub_destroy(hub);
        return status;
    }
    for (int r = 0; r < n_ranks; r++) hub->ranks[r] = (ls_channel_end){hub, r};
    *out = hub;
    return LS_OK;
}

void ls_channel_hub_destroy(ls_channel_hub *hub) {
    if (!hub) return;
    for (int i = 0; i < hub->n_rings; i++) {
        ring *r = &hub->rings[i];
        ls_device_release(r->device, r->buffers, r->held_bytes);
    }
    ls_free(hub->rings);
    ls_free(hub->ranks);
    pthread_cond_destroy(&hub->moved);
    pthread_mutex_destroy(&hub->lock);
    ls_free(hub);
}

ls_channel_end *ls_channel_hub_rank(ls_channel_hub *hub, int rank) {
    return &hub->ranks[rank];
}
