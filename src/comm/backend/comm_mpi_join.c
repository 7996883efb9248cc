/* Joining the run that mpirun started: who is on which host, a board on each, then the engine. And leaving it. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/config.h"
#include "comm/backend/comm_mpi.h"
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const double quit_seconds = 0.2, finalize_seconds = 5.0;
enum { GRACE_NS = 200000000 };

/* What every rank tells of itself. */
typedef struct introduction {
    int32_t leader, pid;
    char host[64];
} introduction;

typedef struct verdict {
    int32_t status;
    uint32_t unused;
    ls_mpi_address address; /* rank 0's counts */
    char reason[LS_BOARD_SENTENCE];
} verdict;

ls_mpi *ls_mpi_of(ls_comm *comm) {
    return ls_shared_user(ls_shared_of(comm));
}

static ls_status gather(ls_mpi *mpi, const void *mine, size_t bytes, void *all_out) {
    ls_mpi_task *task = ls_mpi_task_create(mpi, LS_MPI_GATHER);
    if (!task) return LS_ERR_NO_MEMORY;
    task->in = mine;
    task->bytes = bytes;
    task->out = all_out;
    const ls_status status = ls_mpi_task_run(mpi, task);
    ls_free(task);
    return status;
}

/* Nobody goes on when somebody cannot. Rank 0's address goes to all. */
static ls_status agree(ls_mpi *mpi, ls_status status, ls_mpi_address *address) {
    verdict mine = {.status = (int32_t)status, .address = *address};
    if (status != LS_OK) (void)snprintf(mine.reason, sizeof mine.reason, "%s", ls_error_message());
    verdict *all = ls_alloc((size_t)mpi->place.size * sizeof *all);
    if (!all) return LS_ERR_NO_MEMORY;
    status = gather(mpi, &mine, sizeof mine, all);
    for (int r = 0; status == LS_OK && r < mpi->place.size; r++)
        if (all[r].status != LS_OK)
            status = LS_FAIL((ls_status)all[r].status, "joining MPI: rank %d on host %s: %s", r,
                             mpi->hosts[r], all[r].reason);
    if (status == LS_OK) *address = all[0].address;
    ls_free(all);
    return status;
}

static ls_status run_plain(ls_mpi *mpi, ls_mpi_verb verb) {
    ls_mpi_task *task = ls_mpi_task_create(mpi, verb);
    if (!task) return LS_ERR_NO_MEMORY;
    const ls_status status = ls_mpi_task_run(mpi, task);
    ls_free(task);
    return status;
}

/* Numbers the hosts in the order of their first ranks; leader_pid_out: of the rank that makes this host's board. */
static ls_status find_hosts(ls_mpi *mpi, pid_t *leader_pid_out) {
    const size_t size = (size_t)mpi->place.size;
    introduction mine = {.leader = mpi->place.leader, .pid = getpid()};
    (void)gethostname(mine.host, sizeof mine.host - 1);
    introduction *all = ls_alloc(size * sizeof *all);
    mpi->node_of = ls_alloc(size * sizeof *mpi->node_of);
    mpi->hosts = ls_alloc(size * sizeof *mpi->hosts);
    mpi->host_names = ls_alloc(size * sizeof *mpi->host_names);
    ls_status status =
        all && mpi->node_of && mpi->hosts && mpi->host_names ? LS_OK : LS_ERR_NO_MEMORY;
    LS_TRY_GOTO(status, out);
    LS_TRY_GOTO(gather(mpi, &mine, sizeof mine, all), out);
    for (int r = 0; r < mpi->place.size; r++) {
        mpi->node_of[r] = all[r].leader == r ? mpi->n_hosts++ : mpi->node_of[all[r].leader];
        memcpy(mpi->hosts[r], all[r].host, sizeof all[r].host);
        mpi->host_names[r] = mpi->hosts[r];
    }
    mpi->node = mpi->node_of[mpi->place.rank];
    *leader_pid_out = all[mpi->place.leader].pid;
out:
    ls_free(all);
    return status;
}

static ls_status make_calls(ls_mpi *mpi) {
    const size_t size = (size_t)mpi->place.size;
    ls_mpi_call *calls = ls_alloc(LS_BOARD_SLOTS * sizeof *calls);
    mpi->inboxes = ls_alloc(size * sizeof *mpi->inboxes);
    mpi->counts = ls_alloc(2 * LS_BOARD_SLOTS * size * sizeof *mpi->counts);
    if (!calls || !mpi->inboxes || !mpi->counts) {
        ls_free(calls);
        return LS_ERR_NO_MEMORY;
    }
    for (size_t t = 0; t < LS_BOARD_SLOTS; t++) {
        calls[t].coming = mpi->counts + 2 * t * size;
        calls[t].going = calls[t].coming + size;
    }
    pthread_mutex_lock(&mpi->lock);
    mpi->calls = calls;
    pthread_mutex_unlock(&mpi->lock);
    return LS_OK;
}

static int is_leader(const ls_mpi *mpi) {
    return mpi->place.leader == mpi->place.rank;
}

/* The engine over this host's board, with our table in front. */
static ls_status open_engine(ls_mpi *mpi, const ls_comm_options *options) {
    const ls_shared_options shared = {.board = ls_job_board(mpi->job),
                                      .rank = mpi->place.rank,
                                      .memory = &ls_mpi_memory,
                                      .user = mpi,
                                      .host = mpi->hosts[mpi->place.rank],
                                      .node = mpi->node,
                                      .n_hosts = mpi->n_hosts,
                                      .node_of = mpi->node_of,
                                      .late_seconds = options->late_seconds,
                                      .quiet = options->quiet};
    ls_comm *comm = NULL;
    const ls_status status = ls_shared_open(&shared, &comm);
    if (status != LS_OK) {
        /* The others have gone ahead. */
        (void)ls_board_fail(shared.board, shared.rank, ls_error_message());
        return status;
    }
    mpi->comm = comm;
    mpi->inner = comm->ops;
    mpi->shared = ls_shared_of(comm);
    comm->ops = mpi->n_hosts > 1 ? &ls_mpi_hosts_ops : &ls_mpi_host_ops;
    comm->hosts = mpi->host_names;
    return LS_OK;
}

/* Every step is taken together, so that a rank that cannot is named by all. */
static ls_status join(ls_mpi *mpi, const ls_comm_options *options) {
    ls_mpi_address address = {0};
    pid_t leader_pid = 0;
    ls_status status = LS_OK;
    if (ls_config_env("LOCKSTEP_MPI_P2P")) {
        mpi->place.leader = mpi->place.rank;
        mpi->place.host_rank = 0;
        mpi->place.host_size = 1;
    }
    LS_TRY(find_hosts(mpi, &leader_pid));
    if (is_leader(mpi)) status = ls_job_create(mpi->place.size, "mpi", &mpi->job);
    if (status == LS_OK && mpi->n_hosts > 1) status = make_calls(mpi);
    if (status == LS_OK && mpi->n_hosts > 1 && is_leader(mpi))
        status = ls_mpi_peers_create(mpi, &mpi->peers);
    if (status == LS_OK && mpi->peers && mpi->place.rank == 0)
        status = ls_mpi_peers_listen(mpi->peers, &address);
    LS_TRY(agree(mpi, status, &address));
    if (!is_leader(mpi)) status = ls_job_join(leader_pid, &mpi->job);
    LS_TRY(agree(mpi, status, &address));
    if (mpi->peers) status = ls_mpi_peers_start(mpi->peers, &address);
    LS_TRY(agree(mpi, status, &address));
    return open_engine(mpi, options);
}

/* Gives the thread something to do and waits so long; not longer than a moment when a rank has failed. 1 when it is done. */
static int try_for(ls_mpi *mpi, ls_mpi_task *task, double seconds) {
    const double begun = ls_clock_seconds();
    double failed_since = 0;
    ls_mpi_task_post(mpi, task);
    for (;;) {
        const uint32_t seen = atomic_load(&mpi->events);
        const double now = ls_clock_seconds();
        if (atomic_load(&task->done)) return 1;
        if (!failed_since && mpi->job && ls_board_failure(ls_job_board(mpi->job), NULL) >= 0)
            failed_since = now;
        if (now - begun > seconds || (failed_since && now - failed_since > quit_seconds)) return 0;
        ls_mpi_sleep(mpi, seen);
    }
}

/* Waits until all ranks are about to leave, however long the slowest takes. 0 when one has failed. */
static int meet(ls_mpi *mpi) {
    char *all = ls_alloc((size_t)mpi->place.size + 1); /* and mine */
    ls_mpi_task *task = all ? ls_mpi_task_create(mpi, LS_MPI_GATHER) : NULL;
    if (!task) return 0;
    task->in = all + mpi->place.size;
    task->bytes = 1;
    task->out = all;
    if (!try_for(mpi, task, INFINITY)) return 0; /* the thread still has the memory */
    const int met = task->status == LS_OK;
    ls_free(task);
    ls_free(all);
    return met;
}

/* What MPI_Finalize would have told mpirun of MPICH (its PMI, version 1), which takes any other end for an accident. */
static void say_goodbye(void) {
    const char *fd = ls_config_env("PMI_FD"), goodbye[] = "cmd=finalize\n";
    char answer[64];
    if (!fd || !ls_config_env("HYDI_CONTROL_FD")) return;
    if (write((int)strtol(fd, NULL, 10), goodbye, sizeof goodbye - 1) > 0)
        (void)!read((int)strtol(fd, NULL, 10), answer, sizeof answer);
}

/* 1 when the thread has ended. After all have met nobody needs MPI any more. */
static int stop_thread(ls_mpi *mpi, int together) {
    together = together && meet(mpi);
    if (together && mpi->n_hosts > 1 && mpi->library.plugin->hangs_at_end) {
        say_goodbye();
        together = 0;
    }
    ls_mpi_task *task = ls_mpi_task_create(mpi, together ? LS_MPI_FINALIZE : LS_MPI_QUIT);
    if (!task || !try_for(mpi, task, together ? finalize_seconds : quit_seconds)) return 0;
    (void)pthread_join(mpi->thread, NULL);
    ls_free(task);
    return 1;
}

/* mpirun waits for all its processes, and a stopped one does not end by itself. */
static void end_stopped(const ls_mpi *mpi) {
    const ls_board *board = mpi->job ? ls_job_board(mpi->job) : NULL;
    const int culprit = board ? ls_board_failure(board, NULL) : -1;
    if (culprit < 0 || strcmp(mpi->hosts[culprit], mpi->hosts[mpi->place.rank]) != 0) return;
    const ls_board_stand stand = ls_board_get_stand(board, culprit);
    if (stand.pid > 0 && ls_process_state(stand.pid, stand.born) == 'T')
        (void)kill(stand.pid, SIGKILL);
}

static void leave(ls_mpi *mpi, int together) {
    if (!together) {
        /* MPI may end a process whose peer goes away, and mpirun ends them all: the others say first what they know. */
        const struct timespec grace = {0, GRACE_NS};
        (void)nanosleep(&grace, NULL);
        end_stopped(mpi);
    }
    const int ended = stop_thread(mpi, together);
    ls_mpi_peers_stop(mpi->peers);
    if (!ended) {
        /* It is stuck in MPI, and keeps all this until the process ends. */
        (void)pthread_detach(mpi->thread);
        return;
    }
    ls_job_destroy(mpi->job);
    pthread_cond_destroy(&mpi->woken);
    pthread_mutex_destroy(&mpi->lock);
    ls_free(mpi->requests);
    ls_free(mpi->inboxes);
    ls_free(mpi->counts);
    ls_free(mpi->calls);
    ls_free(mpi->host_names);
    ls_free(mpi->hosts);
    ls_free(mpi->node_of);
    ls_free(mpi->world);
    ls_free(mpi);
}

void ls_mpi_leave(void *user) {
    ls_mpi *mpi = user;
    leave(mpi, ls_board_failure(ls_job_board(mpi->job), NULL) < 0);
}

/* mpirun of MPICH tells the others of a dead rank with SIGUSR1, which would end them before they can say what happened. Threads
 * made from here on inherit this. */
static void block_notice(void) {
    sigset_t notice;
    (void)sigemptyset(&notice);
    (void)sigaddset(&notice, SIGUSR1);
    (void)pthread_sigmask(SIG_BLOCK, &notice, NULL);
}

ls_status ls_mpi_join(const ls_mpi_library *library, const ls_comm_options *options,
                      ls_comm **out) {
    ls_mpi *mpi = ls_alloc(sizeof *mpi);
    if (!mpi) return LS_ERR_NO_MEMORY;
    block_notice();
    mpi->library = *library;
    mpi->world = ls_alloc(library->plugin->world_bytes);
    ls_status status = mpi->world ? ls_mpi_thread_start(mpi) : LS_ERR_NO_MEMORY;
    if (status != LS_OK) {
        ls_free(mpi->world);
        ls_free(mpi);
        return status;
    }
    status = run_plain(mpi, LS_MPI_INIT);
    const int is_in = status == LS_OK;
    if (is_in) status = join(mpi, options);
    if (status != LS_OK) {
        leave(mpi, is_in && !(mpi->job && ls_board_failure(ls_job_board(mpi->job), NULL) >= 0));
        return status;
    }
    *out = mpi->comm;
    return LS_OK;
}
