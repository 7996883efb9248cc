/* Memory that the ranks of a host see: MPI_Win_allocate_shared, by way of the communication thread; a descriptor's without MPI. */
#include "base/alloc.h"
#include "comm/backend/backend.h"
#include "comm/backend/comm_mpi.h"
#include <string.h>

enum { ALIGNMENT = 64 };

typedef struct window {
    ls_mpi_handle handle; /* none: heap memory of a rank that is alone on its host */
} window;

static void *align(void *memory) {
    return (void *)(((uintptr_t)memory + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
}

/* My window's bases are by rank on the host; the engine's by rank of all. */
static ls_status make_window(ls_mpi *mpi, ls_shared_block *block, ls_mpi_handle *handle_out) {
    ls_mpi_task *task = ls_mpi_task_create(mpi, LS_MPI_WINDOW);
    if (!task) return LS_ERR_NO_MEMORY;
    task->bytes = block->bytes + ALIGNMENT;
    const ls_status status = ls_mpi_task_run(mpi, task);
    if (status == LS_OK) {
        int at = 0;
        for (int r = 0; r < mpi->place.size; r++)
            if (mpi->node_of[r] == mpi->node) block->bases[r] = align(task->bases[at++]);
        *handle_out = task->window;
        memset(block->bases[mpi->place.rank], 0, block->bytes);
    }
    if (atomic_load(&task->done)) ls_free(task);
    return status;
}

static ls_status make_alone(ls_mpi *mpi, ls_shared_block *block) {
    block->bases[mpi->place.rank] = ls_alloc(block->bytes);
    return block->bases[mpi->place.rank] ? LS_OK : LS_ERR_NO_MEMORY;
}

/* Collectively freed, but nobody waits for that here; after a failure it stays until the process ends. */
static void free_window(ls_mpi *mpi, ls_mpi_handle handle) {
    if (!handle.bits || ls_board_failure(ls_shared_board(mpi->shared), NULL) >= 0) return;
    ls_mpi_task *task = ls_mpi_task_create(mpi, LS_MPI_UNWINDOW);
    if (!task) return;
    task->window = handle;
    task->detached = 1;
    ls_mpi_task_post(mpi, task);
}

/* LS_OK when all ranks of this host have it. */
static ls_status agree_on_host(ls_mpi *mpi, ls_status mine) {
    int32_t all[LS_COMM_EXCHANGE_BYTES / 4] = {0}, my = (int32_t)mine;
    const int size = mpi->place.size;
    if (size > (int)(sizeof all / sizeof *all))
        return LS_FAIL(LS_ERR_UNSUPPORTED, "%d ranks are too many to share memory on a host", size);
    LS_TRY(ls_shared_exchange(mpi->shared, "memory", &my, sizeof my, all));
    for (int r = 0; mine == LS_OK && r < size; r++)
        if (all[r] != LS_OK)
            return LS_FAIL((ls_status)all[r], "rank %d has no memory that its peers could see", r);
    return mine;
}

static ls_status create(ls_shared *shared, ls_shared_block *block) {
    if (block->fd >= 0) return ls_memfd_block_create(shared, block);
    ls_mpi *mpi = ls_shared_user(shared);
    const int alone = mpi->place.host_size == 1;
    window *mine = ls_alloc(sizeof *mine);
    ls_status status = mine ? LS_OK : LS_ERR_NO_MEMORY;
    /* Who is late, or elsewhere, is named before MPI hangs in it. */
    if (!alone) status = agree_on_host(mpi, status);
    if (status == LS_OK)
        status = alone ? make_alone(mpi, block) : make_window(mpi, block, &mine->handle);
    if (!alone && status == LS_OK) status = agree_on_host(mpi, status);
    block->handle = mine;
    if (status == LS_OK) return LS_OK;
    if (mine && !alone) free_window(mpi, mine->handle);
    ls_free(mine);
    return status;
}

static void destroy(ls_shared *shared, ls_shared_block *block) {
    if (block->fd >= 0) {
        ls_memfd_block_destroy(shared, block);
        return;
    }
    ls_mpi *mpi = ls_shared_user(shared);
    window *mine = block->handle;
    if (mpi->place.host_size == 1)
        ls_free(block->bases[mpi->place.rank]);
    else
        free_window(mpi, mine->handle);
    ls_free(mine);
}

const ls_shared_memory ls_mpi_memory = {
    .name = "mpi", .create = create, .destroy = destroy, .close = ls_mpi_leave};
