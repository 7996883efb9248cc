/* Processes of one host: each memory is a memfd, which peers map through /proc/PID/fd. */
#include "base/alloc.h"
#include "base/config.h"
#include "base/shared_file.h"
#include "comm/backend/backend.h"
#include "comm/job_internal.h"
#include "comm/shared.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { HOST_BYTES = 64 };

/* What each rank tells of its memory. */
typedef struct announcement {
    int32_t status, fd, pid;
    uint32_t unused;
    uint64_t bytes;
} announcement;

typedef struct shm_block {
    int fd;
    announcement all[]; /* [size] */
} shm_block;

/* A descriptor of new memory, or a copy of the one that was given. */
static ls_status open_mine(int given, shm_block *block, const announcement *mine) {
    block->fd = -1;
    if (given < 0) return ls_shared_file_create("lockstep-memory", mine->bytes, &block->fd);
    block->fd = fcntl(given, F_DUPFD_CLOEXEC, 3);
    if (block->fd < 0) return LS_FAIL(LS_ERR_NO_MEMORY, "no shared memory: %s", strerror(errno));
    return LS_OK;
}

static ls_status make_mine(int given, shm_block *block, announcement *mine, void **out) {
    LS_TRY(open_mine(given, block, mine));
    void *memory = mmap(NULL, mine->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, block->fd, 0);
    if (memory == MAP_FAILED)
        return LS_FAIL(LS_ERR_NO_MEMORY, "%llu bytes of shared memory could not be mapped: %s",
                       (unsigned long long)mine->bytes, strerror(errno));
    (void)madvise(memory, mine->bytes, MADV_HUGEPAGE); /* heeded where shmem_enabled is "advise" */
    mine->fd = block->fd;
    *out = memory;
    return LS_OK;
}

/* Read-only: whoever writes into a peer's memory should hear of it. */
static ls_status map_peer(const announcement *peer, int rank, void **out) {
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/fd/%d", peer->pid, peer->fd);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return LS_FAIL(
            LS_ERR_UNSUPPORTED,
            "the memory of rank %d (%s) cannot be opened: %s; ranks that share memory must be "
            "processes "
            "of one user that see each other in /proc (one container, no hidepid, not set-uid)",
            rank, path, strerror(errno));
    void *memory = mmap(NULL, peer->bytes, PROT_READ, MAP_SHARED, fd, 0);
    const int error = errno;
    (void)close(fd);
    if (memory == MAP_FAILED)
        return LS_FAIL(LS_ERR_NO_MEMORY, "%llu bytes of rank %d could not be mapped: %s",
                       (unsigned long long)peer->bytes, rank, strerror(error));
    *out = memory;
    return LS_OK;
}

void ls_memfd_block_destroy(ls_shared *shared, ls_shared_block *block) {
    shm_block *mine = block->handle;
    for (int r = 0; r < ls_shared_size(shared); r++)
        if (block->bases[r]) (void)munmap(block->bases[r], mine->all[r].bytes);
    if (mine->fd >= 0) (void)close(mine->fd);
    ls_free(mine);
}

static ls_status map_all(ls_shared *shared, ls_shared_block *block, announcement *my) {
    shm_block *mine = block->handle;
    const int rank = ls_shared_rank(shared);
    void *memory = NULL;
    ls_status status = make_mine(block->fd, mine, my, &memory);
    my->status = (int32_t)status;
    block->bases[rank] = memory;
    mine->all[rank] = *my;
    LS_TRY(ls_shared_exchange(shared, "memory", my, sizeof *my, mine->all));
    for (int r = 0; status == LS_OK && r < ls_shared_size(shared); r++) {
        if (mine->all[r].status != LS_OK)
            status = LS_FAIL(LS_ERR_NO_MEMORY, "rank %d has no memory for what it shares", r);
        else if (r != rank && mine->all[r].pid != 0) /* a rank of another host tells nothing */
            status = map_peer(&mine->all[r], r, &block->bases[r]);
    }
    int32_t verdicts[LS_COMM_EXCHANGE_BYTES / 4], verdict = (int32_t)status;
    const int n = ls_shared_size(shared);
    if (n > (int)(sizeof verdicts / sizeof *verdicts))
        return LS_FAIL(LS_ERR_UNSUPPORTED, "%d ranks on one host are too many for shared memory",
                       n);
    LS_TRY(ls_shared_exchange(shared, "memory mapped", &verdict, sizeof verdict, verdicts));
    for (int r = 0; status == LS_OK && r < n; r++)
        if (verdicts[r] != LS_OK)
            status = LS_FAIL((ls_status)verdicts[r], "rank %d cannot map its peers' memory", r);
    return status;
}

ls_status ls_memfd_block_create(ls_shared *shared, ls_shared_block *block) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    announcement my = {.pid = getpid(), .bytes = (block->bytes / page + 1) * page};
    if (block->fd >= 0) my.bytes = block->bytes;
    shm_block *mine = ls_alloc(sizeof *mine + (size_t)ls_shared_size(shared) * sizeof *mine->all);
    if (!mine) return LS_ERR_NO_MEMORY;
    mine->fd = -1;
    block->handle = mine;
    const ls_status status = map_all(shared, block, &my);
    if (status != LS_OK) ls_memfd_block_destroy(shared, block);
    return status;
}

static void close_board(void *user) {
    ls_job_destroy(user);
}

static const ls_shared_memory shm_memory = {.name = "shm",
                                            .create = ls_memfd_block_create,
                                            .destroy = ls_memfd_block_destroy,
                                            .close = close_board};

/* A number of the environment that `lockstep run` sets, or -1. */
static long read_number(const char *name) {
    const char *text = ls_config_env(name);
    char *end;
    if (!text || !*text) return -1;
    const long n = strtol(text, &end, 10);
    return *end == '\0' && n >= 0 && n < INT32_MAX ? n : -1;
}

int ls_comm_shm_is_offered(void) {
    return ls_config_env("LOCKSTEP_RUN_FD") != NULL;
}

static ls_status open_board(ls_job **out, int *rank_out) {
    const long fd = read_number("LOCKSTEP_RUN_FD"), rank = read_number("LOCKSTEP_RUN_RANK");
    if (fd < 0 || rank < 0)
        return LS_FAIL(
            LS_ERR_UNSUPPORTED,
            "transport shm was asked for, but this process was not started as a rank "
            "(LOCKSTEP_RUN_FD, LOCKSTEP_RUN_RANK): start it with `lockstep run -n R -- ...`");
    const int own = fcntl((int)fd, F_DUPFD_CLOEXEC, 3);
    if (own < 0)
        return LS_FAIL(LS_ERR_COMM, "LOCKSTEP_RUN_FD = %ld: %s: the job's board was not inherited",
                       fd, strerror(errno));
    (void)fcntl((int)fd, F_SETFD, FD_CLOEXEC); /* a program that this rank starts is not a rank */
    LS_TRY(ls_job_map(own, 1, out));
    if (rank < ls_job_size(*out)) {
        *rank_out = (int)rank;
        return LS_OK;
    }
    const ls_status status = LS_FAIL(LS_ERR_COMM, "LOCKSTEP_RUN_RANK = %ld in a job of %d ranks",
                                     rank, ls_job_size(*out));
    ls_job_destroy(*out);
    return status;
}

ls_status ls_comm_open_shm(const ls_comm_options *options, ls_comm **out) {
    ls_job *job = NULL;
    int rank = 0;
    char host[HOST_BYTES] = "localhost", unused = 0;
    LS_TRY(open_board(&job, &rank));
    (void)gethostname(host, sizeof host - 1);
    const ls_shared_options shared = {.board = ls_job_board(job),
                                      .rank = rank,
                                      .memory = &shm_memory,
                                      .user = job,
                                      .host = host,
                                      .late_seconds = options->late_seconds,
                                      .quiet = options->quiet};
    ls_comm *comm = NULL;
    ls_status status = ls_shared_open(&shared, &comm);
    if (status != LS_OK) {
        ls_job_destroy(job);
        return status;
    }
    /* Nobody goes on before all are there. */
    status = ls_shared_exchange(ls_shared_of(comm), "join", &unused, 0, &unused);
    if (status != LS_OK) {
        ls_comm_close(comm);
        return status;
    }
    *out = comm;
    return LS_OK;
}
