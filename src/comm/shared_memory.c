/* The engine's memories: numbered alike on every rank, because all make and destroy them in the same order. */
#include "base/alloc.h"
#include "comm/shared_internal.h"
#include <string.h>

static ls_status create_block(ls_shared *shared, int fd, size_t bytes, ls_shared_block *block) {
    *block = (ls_shared_block){.bytes = bytes, .fd = fd};
    block->bases = ls_alloc((size_t)shared->base.size * sizeof *block->bases);
    if (!block->bases) return LS_ERR_NO_MEMORY;
    const ls_status status = shared->memory->create(shared, block);
    if (status != LS_OK) ls_free(block->bases);
    return status;
}

ls_status ls_shared_map_memory(ls_comm *comm, int fd, size_t bytes, void **out) {
    ls_shared *shared = (ls_shared *)comm;
    int i = 0;
    while (i < LS_SHARED_BLOCKS && shared->in_use[i]) i++;
    if (i == LS_SHARED_BLOCKS)
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "a rank has %d memories that its peers see; there is room for no more",
                       LS_SHARED_BLOCKS);
    LS_TRY(create_block(shared, fd, bytes, &shared->blocks[i]));
    shared->in_use[i] = 1;
    *out = shared->blocks[i].bases[comm->rank];
    return LS_OK;
}

ls_status ls_shared_create_memory(ls_comm *comm, size_t bytes, void **out) {
    return ls_shared_map_memory(comm, -1, bytes, out);
}

static void destroy_block(ls_shared *shared, int i) {
    shared->memory->destroy(shared, &shared->blocks[i]);
    ls_free(shared->blocks[i].bases);
    shared->in_use[i] = 0;
}

void ls_shared_destroy_memory(ls_comm *comm, void *memory) {
    ls_shared *shared = (ls_shared *)comm;
    for (int i = 0; i < LS_SHARED_BLOCKS; i++)
        if (shared->in_use[i] && shared->blocks[i].bases[comm->rank] == memory)
            destroy_block(shared, i);
}

void ls_shared_destroy_memories(ls_shared *shared) {
    for (int i = 0; i < LS_SHARED_BLOCKS; i++)
        if (shared->in_use[i]) destroy_block(shared, i);
}
