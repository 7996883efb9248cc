/* Ranks as threads of one process: the board and the memories are the process's own. */
#include "base/alloc.h"
#include "comm/shared.h"
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAX_THREADS = 512 }; /* an exchange of pointers fits */

/* Freed when every rank has given it back: a peer that has not yet noticed a failure may still be reading. */
typedef struct hub_memory {
    void *data;
    size_t bytes;
    int n_holders, is_mapped;
    struct hub_memory *next;
} hub_memory;

struct ls_comm_hub {
    ls_board *board;
    ls_watch *watch;
    pthread_mutex_t lock;
    hub_memory *memories; /* under the lock */
    void (*close_rank)(ls_comm *comm);
    int size;
    char host[64];
    ls_comm **ranks;
    ls_comm_ops *ops; /* [size] of the ranks: closing a rank's comm only leaves */
};

static const size_t pages_from_bytes = (size_t)2 << 20;

static void free_memory(hub_memory *memory) {
    if (memory->is_mapped)
        (void)munmap(memory->data, memory->bytes);
    else if (memory->bytes >= pages_from_bytes)
        ls_free_pages(memory->data, memory->bytes);
    else
        ls_free(memory->data);
    ls_free(memory);
}

static void *map_descriptor(int fd, size_t bytes) {
    void *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (data != MAP_FAILED) {
        (void)madvise(data, bytes, MADV_HUGEPAGE);
        return data;
    }
    (void)LS_FAIL(LS_ERR_NO_MEMORY, "%zu bytes of shared memory could not be mapped: %s", bytes,
                  strerror(errno));
    return NULL;
}

static hub_memory *add_memory(ls_comm_hub *hub, const ls_shared_block *block) {
    const size_t bytes = block->bytes;
    hub_memory *memory = ls_alloc(sizeof *memory);
    if (!memory) return NULL;
    memory->bytes = bytes;
    memory->n_holders = hub->size;
    memory->is_mapped = block->fd >= 0;
    if (memory->is_mapped)
        memory->data = map_descriptor(block->fd, bytes);
    else
        memory->data = bytes >= pages_from_bytes ? ls_alloc_pages(bytes) : ls_alloc(bytes);
    if (!memory->data) {
        ls_free(memory);
        return NULL;
    }
    pthread_mutex_lock(&hub->lock);
    memory->next = hub->memories;
    hub->memories = memory;
    pthread_mutex_unlock(&hub->lock);
    return memory;
}

static void give_back(ls_comm_hub *hub, const void *data) {
    pthread_mutex_lock(&hub->lock);
    for (hub_memory **at = &hub->memories; *at; at = &(*at)->next) {
        hub_memory *memory = *at;
        if (memory->data != data) continue;
        if (--memory->n_holders == 0) {
            *at = memory->next;
            free_memory(memory);
        }
        break;
    }
    pthread_mutex_unlock(&hub->lock);
}

/* A memory whose making failed is given back with the hub. */
static ls_status create_block(ls_shared *shared, ls_shared_block *block) {
    ls_comm_hub *hub = ls_shared_user(shared);
    const hub_memory *memory = add_memory(hub, block);
    void *data = memory ? memory->data : NULL;
    LS_TRY(ls_shared_exchange(shared, "memory", &data, sizeof data, block->bases));
    for (int r = 0; r < hub->size; r++)
        if (!block->bases[r])
            return r == ls_shared_rank(shared)
                       ? LS_ERR_NO_MEMORY
                       : LS_FAIL(LS_ERR_NO_MEMORY, "rank %d has no memory for what it shares", r);
    return LS_OK;
}

static void destroy_block(ls_shared *shared, ls_shared_block *block) {
    ls_comm_hub *hub = ls_shared_user(shared);
    for (int r = 0; r < hub->size; r++) give_back(hub, block->bases[r]);
}

static const ls_shared_memory hub_memory_table = {
    .name = "threads", .create = create_block, .destroy = destroy_block};

/* The rank stays until the hub goes; what it says of itself must be right at once. */
static void leave_hub(ls_comm *comm) {
    ls_shared *shared = ls_shared_of(comm);
    ls_board *board = ls_shared_board(shared);
    ls_board_stand stand = ls_board_get_stand(board, comm->rank);
    if (stand.state != LS_RANK_FAILED) stand.state = LS_RANK_LEFT;
    ls_board_set_stand(board, comm->rank, &stand);
    ls_board_wake(board, comm->rank);
}

static ls_status open_rank(ls_comm_hub *hub, int rank) {
    const ls_shared_options options = {.board = hub->board,
                                       .rank = rank,
                                       .memory = &hub_memory_table,
                                       .user = hub,
                                       .host = hub->host,
                                       .watch = hub->watch};
    LS_TRY(ls_shared_open(&options, &hub->ranks[rank]));
    hub->close_rank = hub->ranks[rank]->ops->close;
    hub->ops[rank] = *hub->ranks[rank]->ops;
    hub->ops[rank].close = leave_hub;
    hub->ranks[rank]->ops = &hub->ops[rank];
    return LS_OK;
}

static ls_status fill_hub(ls_comm_hub *hub, const ls_comm_options *options) {
    hub->board = ls_alloc(ls_board_bytes(hub->size));
    hub->ranks = ls_alloc((size_t)hub->size * sizeof *hub->ranks);
    hub->ops = ls_alloc((size_t)hub->size * sizeof *hub->ops);
    if (!hub->board || !hub->ranks || !hub->ops) return LS_ERR_NO_MEMORY;
    ls_board_init(hub->board, hub->size, "threads");
    const ls_watch_options watch = {options->late_seconds, options->quiet, 0};
    LS_TRY(ls_watch_start(hub->board, &watch, &hub->watch));
    for (int r = 0; r < hub->size; r++) LS_TRY(open_rank(hub, r));
    return LS_OK;
}

ls_status ls_comm_hub_create(int size, const ls_comm_options *options, ls_comm_hub **out) {
    const ls_comm_options defaults = {0};
    if (size < 1 || size > MAX_THREADS)
        return LS_FAIL(LS_ERR_INVALID, "%d ranks as threads were asked for; 1 to %d", size,
                       MAX_THREADS);
    ls_comm_hub *hub = ls_alloc(sizeof *hub);
    if (!hub) return LS_ERR_NO_MEMORY;
    hub->size = size;
    (void)gethostname(hub->host, sizeof hub->host - 1);
    pthread_mutex_init(&hub->lock, NULL);
    const ls_status status = fill_hub(hub, options ? options : &defaults);
    if (status != LS_OK) {
        ls_comm_hub_destroy(hub);
        return status;
    }
    *out = hub;
    return LS_OK;
}

static void close_rank(ls_comm_hub *hub, ls_comm *comm) {
    if (!comm) return;
    ls_comm_close(comm);
    hub->close_rank(comm);
}

void ls_comm_hub_destroy(ls_comm_hub *hub) {
    if (!hub) return;
    ls_watch_stop(hub->watch);
    for (int r = 0; hub->ranks && r < hub->size; r++) close_rank(hub, hub->ranks[r]);
    while (hub->memories) {
        hub_memory *memory = hub->memories;
        hub->memories = memory->next;
        free_memory(memory);
    }
    ls_free(hub->ranks);
    ls_free(hub->ops);
    ls_free(hub->board);
    pthread_mutex_destroy(&hub->lock);
    ls_free(hub);
}

ls_comm *ls_comm_hub_rank(ls_comm_hub *hub, int rank) {
    return rank >= 0 && rank < hub->size ? hub->ranks[rank] : NULL;
}
