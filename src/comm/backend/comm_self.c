/* One rank alone: it gives to itself. */
#include "base/alloc.h"
#include "comm/backend/backend.h"
#include "comm/comm.h"
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

typedef struct self_call {
    int active, scatter, from, to, n_parts;
    ls_comm_part parts[LS_COMM_MAX_PARTS];
} self_call;

/* A descriptor's memory. */
typedef struct self_map {
    void *data;
    size_t bytes;
    struct self_map *next;
} self_map;

typedef struct self_comm {
    ls_comm base;
    self_map *maps;
    self_call calls[LS_COMM_MAX_TICKETS + 1];
} self_comm;

static ls_status create_memory(ls_comm *comm, size_t bytes, void **out) {
    (void)comm;
    void *memory = ls_alloc(bytes);
    if (!memory) return LS_ERR_NO_MEMORY;
    *out = memory;
    return LS_OK;
}

static ls_status map_memory(ls_comm *comm, int fd, size_t bytes, void **out) {
    self_comm *self = (self_comm *)comm;
    self_map *map = ls_alloc(sizeof *map);
    if (!map) return LS_ERR_NO_MEMORY;
    void *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) {
        ls_free(map);
        return LS_FAIL(LS_ERR_NO_MEMORY, "%zu bytes of shared memory could not be mapped: %s",
                       bytes, strerror(errno));
    }
    (void)madvise(data, bytes, MADV_HUGEPAGE);
    *map = (self_map){data, bytes, self->maps};
    self->maps = map;
    *out = data;
    return LS_OK;
}

static void destroy_memory(ls_comm *comm, void *memory) {
    self_comm *self = (self_comm *)comm;
    for (self_map **at = &self->maps; *at; at = &(*at)->next) {
        self_map *map = *at;
        if (map->data != memory) continue;
        *at = map->next;
        (void)munmap(map->data, map->bytes);
        ls_free(map);
        return;
    }
    ls_free(memory);
}

static ls_status start_call(ls_comm *comm, const ls_comm_call *call) {
    self_comm *self = (self_comm *)comm;
    if (call->ticket < 0 || call->ticket > LS_COMM_MAX_TICKETS || call->n_parts < 0 ||
        call->n_parts > LS_COMM_MAX_PARTS || self->calls[call->ticket].active)
        return LS_FAIL(LS_ERR_INVALID,
                       "%s: ticket %d is out of range or under way, or %d parts are too many",
                       call->op, call->ticket, call->n_parts);
    self_call *mine = &self->calls[call->ticket];
    *mine = (self_call){.active = 1,
                        .scatter = call->scatter,
                        .from = call->from,
                        .to = call->to,
                        .n_parts = call->n_parts};
    if (call->n_parts)
        memcpy(mine->parts, call->parts, (size_t)call->n_parts * sizeof *call->parts);
    return LS_OK;
}

static ls_status find_call(ls_comm *comm, int ticket, self_call **out) {
    self_comm *self = (self_comm *)comm;
    if (ticket < 0 || ticket > LS_COMM_MAX_TICKETS || !self->calls[ticket].active)
        return LS_FAIL(LS_ERR_INVALID, "no collective of ticket %d is under way", ticket);
    *out = &self->calls[ticket];
    return LS_OK;
}

static ls_status arrive_call(ls_comm *comm, int ticket, int peer, ls_comm_view *views_out) {
    self_call *call = NULL;
    LS_TRY(find_call(comm, ticket, &call));
    if (peer != 0)
        return LS_FAIL(LS_ERR_INVALID, "rank %d was asked for; this rank is alone", peer);
    const int takes = call->from <= 0 && call->to <= 0;
    for (int i = 0; i < call->n_parts; i++) {
        const ls_comm_part *part = &call->parts[i];
        views_out[i] = takes ? (ls_comm_view){part->data, ls_comm_piece_bytes(part, 0)}
                             : (ls_comm_view){NULL, 0};
    }
    return LS_OK;
}

static ls_status finish_call(ls_comm *comm, int ticket) {
    self_call *call = NULL;
    LS_TRY(find_call(comm, ticket, &call));
    call->active = 0;
    return LS_OK;
}

static ls_status check_peers(ls_comm *comm) {
    (void)comm;
    return LS_OK;
}

static void abort_run(ls_comm *comm, const char *reason) {
    (void)comm;
    (void)reason;
}

static void close_self(ls_comm *comm) {
    const self_comm *self = (self_comm *)comm;
    while (self->maps) destroy_memory(comm, self->maps->data);
    ls_free(comm);
}

static const ls_comm_ops self_ops = {
    .name = "self",
    .memory_create = create_memory,
    .memory_destroy = destroy_memory,
    .memory_map = map_memory,
    .start = start_call,
    .arrive = arrive_call,
    .finish = finish_call,
    .check = check_peers,
    .abort = abort_run,
    .close = close_self,
};

ls_status ls_comm_open_self(ls_comm **out) {
    self_comm *self = ls_alloc(sizeof *self);
    if (!self) return LS_ERR_NO_MEMORY;
    self->base = (ls_comm){.ops = &self_ops, .size = 1, .n_hosts = 1};
    *out = &self->base;
    return LS_OK;
}
