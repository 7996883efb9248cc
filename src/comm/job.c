/* A job's board in a memfd, found through a file in the runtime folder. */
#include "comm/job.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/fs.h"
#include "comm/job_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_SIZE = 65536 };

const char *const ls_rank_state_names[] = {"absent", "running", "waiting", "stopped",
                                           "dead",   "failed",  "left",    NULL};

struct ls_job {
    ls_board *board;
    size_t bytes;
    int fd;
    pid_t creator; /* who unregisters it; 0 in those who only mapped it */
    char path[320];
};

static void runtime_folder(char *out, size_t bytes) {
    const char *base = ls_config_env("XDG_RUNTIME_DIR");
    (void)snprintf(out, bytes, "%s/lockstep-%u", base && *base ? base : "/tmp", (unsigned)getuid());
}

static void job_path(pid_t pid, char *out, size_t bytes) {
    char folder[256];
    runtime_folder(folder, sizeof folder);
    (void)snprintf(out, bytes, "%s/%d.job", folder, (int)pid);
}

static void unmap(ls_job *job) {
    if (job->board) (void)munmap(job->board, job->bytes);
    if (job->fd >= 0) (void)close(job->fd);
    ls_free(job);
}

ls_status ls_job_map(int fd, int writable, ls_job **out) {
    struct stat info;
    ls_job *job = ls_alloc(sizeof *job);
    if (!job) {
        (void)close(fd);
        return LS_ERR_NO_MEMORY;
    }
    job->fd = fd;
    ls_status status = LS_OK;
    if (fstat(fd, &info) != 0 || info.st_size <= 0) {
        status = LS_FAIL(LS_ERR_COMM, "descriptor %d is not the board of a job", fd);
        goto failed;
    }
    job->bytes = (size_t)info.st_size;
    void *memory =
        mmap(NULL, job->bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        status = LS_FAIL(LS_ERR_COMM, "the job's board of %zu bytes could not be mapped: %s",
                         job->bytes, strerror(errno));
        goto failed;
    }
    job->board = memory;
    LS_TRY_GOTO(ls_board_verify(job->board, job->bytes), failed);
    *out = job;
    return LS_OK;
failed:
    unmap(job);
    return status;
}

static ls_status make_memory(size_t bytes, int *fd_out) {
    const int fd = memfd_create("lockstep-job", MFD_CLOEXEC);
    if (fd < 0) return LS_FAIL(LS_ERR_COMM, "no memory for a job's board: %s", strerror(errno));
    if (ftruncate(fd, (off_t)bytes) != 0) {
        const ls_status status =
            LS_FAIL(LS_ERR_NO_MEMORY, "a job's board of %zu bytes: %s", bytes, strerror(errno));
        (void)close(fd);
        return status;
    }
    *fd_out = fd;
    return LS_OK;
}

/* /tmp is everybody's: a folder that another user put there says nothing true. */
static ls_status claim_folder(const char *folder) {
    struct stat info;
    if (lstat(folder, &info) != 0 || !S_ISDIR(info.st_mode) || info.st_uid != getuid())
        return LS_FAIL(LS_ERR_IO,
                       "%s is not a folder of this user: remove it, or set XDG_RUNTIME_DIR",
                       folder);
    (void)chmod(folder, 0700);
    return LS_OK;
}

/* The file says through which descriptor of its process the board is to be had. */
static ls_status register_job(ls_job *job) {
    char folder[256], text[64];
    runtime_folder(folder, sizeof folder);
    LS_TRY(ls_dir_make(folder));
    LS_TRY(claim_folder(folder));
    job_path(getpid(), job->path, sizeof job->path);
    const int n = snprintf(text, sizeof text, "%d\n", job->fd);
    LS_TRY(ls_file_write_atomic(job->path, text, (size_t)n));
    job->creator = getpid();
    return LS_OK;
}

ls_status ls_job_create(int size, const char *name, ls_job **out) {
    if (size < 1 || size > MAX_SIZE)
        return LS_FAIL(LS_ERR_INVALID, "a job of %d ranks was asked for; 1 to %d", size, MAX_SIZE);
    const size_t bytes = ls_board_bytes(size);
    int fd = -1;
    LS_TRY(make_memory(bytes, &fd));
    ls_board *board = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (board == MAP_FAILED) {
        (void)close(fd);
        return LS_FAIL(LS_ERR_NO_MEMORY, "a job's board of %zu bytes could not be mapped: %s",
                       bytes, strerror(errno));
    }
    ls_board_init(board, size, name);
    (void)munmap(board, bytes);
    ls_job *job = NULL;
    LS_TRY(ls_job_map(fd, 1, &job));
    const ls_status status = register_job(job);
    if (status != LS_OK) {
        unmap(job);
        return status;
    }
    *out = job;
    return LS_OK;
}

ls_status ls_job_enter(ls_job *job, int rank) {
    char fd[16], number[16], size[16];
    if (rank < 0 || rank >= job->board->size)
        return LS_FAIL(LS_ERR_INVALID, "rank %d of a job of %d", rank, job->board->size);
    if (fcntl(job->fd, F_SETFD, 0) != 0)
        return LS_FAIL(LS_ERR_COMM, "the job's board cannot be inherited: %s", strerror(errno));
    (void)snprintf(fd, sizeof fd, "%d", job->fd);
    (void)snprintf(number, sizeof number, "%d", rank);
    (void)snprintf(size, sizeof size, "%d", job->board->size);
    LS_TRY(ls_config_env_set("LOCKSTEP_RUN_FD", fd));
    LS_TRY(ls_config_env_set("LOCKSTEP_RUN_RANK", number));
    LS_TRY(ls_config_env_set("LOCKSTEP_RUN_SIZE", size));
    /* A rank that ends before it opens its comm is found by its pid. */
    const ls_board_stand stand = {.state = LS_RANK_ABSENT,
                                  .pid = getpid(),
                                  .born = ls_process_born(getpid()),
                                  .since = ls_clock_seconds()};
    ls_board_set_stand(job->board, rank, &stand);
    return LS_OK;
}

static ls_status open_running(pid_t pid, int writable, ls_job **out) {
    char path[320], link[64], *text = NULL;
    size_t bytes = 0;
    job_path(pid, path, sizeof path);
    LS_TRY(ls_file_read(path, &text, &bytes));
    (void)snprintf(link, sizeof link, "/proc/%d/fd/%ld", (int)pid, strtol(text, NULL, 10));
    ls_free(text);
    const int fd = open(link, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    if (fd < 0)
        return LS_FAIL(errno == ENOENT ? LS_ERR_NOT_FOUND : LS_ERR_COMM,
                       "the board of job %d (%s) cannot be opened: %s", (int)pid, link,
                       strerror(errno));
    return ls_job_map(fd, writable, out);
}

ls_status ls_job_attach(pid_t pid, ls_job **out) {
    return open_running(pid, 0, out);
}

ls_status ls_job_join(pid_t pid, ls_job **out) {
    return open_running(pid, 1, out);
}

/* The pid of "123.job" when that process is there, else 0. A file that a killed supervisor left is removed. */
static pid_t pid_of_file(const char *name) {
    char *end, path[320];
    const long pid = strtol(name, &end, 10);
    if (end == name || strcmp(end, ".job") != 0 || pid <= 0 || pid > INT32_MAX) return 0;
    const char state = ls_process_state((pid_t)pid, 0);
    if (state != 0 && state != 'Z') return (pid_t)pid;
    job_path((pid_t)pid, path, sizeof path);
    (void)unlink(path);
    return 0;
}

ls_status ls_job_list(pid_t **pids_out, int *n_out) {
    char folder[256], **names = NULL;
    int n_names = 0, n = 0;
    runtime_folder(folder, sizeof folder);
    if (ls_path_is_dir(folder)) LS_TRY(ls_dir_list(folder, &names, &n_names));
    pid_t *pids = ls_alloc((size_t)n_names * sizeof *pids);
    for (int i = 0; i < n_names; i++) {
        const pid_t pid = pids ? pid_of_file(names[i]) : 0;
        if (pid) pids[n++] = pid;
        ls_free(names[i]);
    }
    ls_free(names);
    if (!pids) return LS_ERR_NO_MEMORY;
    *pids_out = pids;
    *n_out = n;
    return LS_OK;
}

int ls_job_size(const ls_job *job) {
    return job->board->size;
}

const char *ls_job_name(const ls_job *job) {
    return job->board->name;
}

struct ls_board *ls_job_board(ls_job *job) {
    return job->board;
}

int ls_job_failure(const ls_job *job, char sentence_out[LS_BOARD_SENTENCE]) {
    return ls_board_failure(job->board, sentence_out);
}

/* What the board cannot know: the process may be gone or stopped. */
static ls_rank_state look_from_outside(const ls_board_stand *stand) {
    if (stand->pid == 0 || stand->state == LS_RANK_LEFT || stand->state == LS_RANK_FAILED)
        return (ls_rank_state)stand->state;
    /* A rank of another host is what was relayed of it: its pid means nothing here. */
    char host[64] = "";
    (void)gethostname(host, sizeof host - 1);
    if (stand->host[0] && strcmp(stand->host, host) != 0) return (ls_rank_state)stand->state;
    const char state = ls_process_state(stand->pid, stand->born);
    if (state == 0 || state == 'Z' || state == 'X') return LS_RANK_DEAD;
    return state == 'T' || state == 't' ? LS_RANK_STOPPED : (ls_rank_state)stand->state;
}

void ls_job_report(const ls_job *job, int rank, ls_rank_report *out) {
    const ls_board_rank *r = &job->board->ranks[rank];
    const ls_board_stand stand = ls_board_get_stand(job->board, rank);
    char reason[LS_BOARD_SENTENCE];
    ls_board_call call;
    *out = (ls_rank_report){.rank = rank,
                            .pid = stand.pid,
                            .state = look_from_outside(&stand),
                            .n_calls = atomic_load(&r->n_started),
                            .wait_seconds = stand.wait_seconds,
                            .lag_seconds = stand.lag_seconds};
    memcpy(out->host, stand.host, sizeof out->host);
    if (ls_board_last_call(job->board, rank, &call)) {
        out->step = call.step;
        memcpy(out->op, call.op, sizeof out->op);
        memcpy(out->scope, call.scope, sizeof out->scope);
        out->idle_seconds = ls_clock_seconds() - call.seconds;
    }
    ls_cell_read(&r->reason.version, r->reason.words, reason, sizeof reason);
    (void)snprintf(out->message, sizeof out->message, "%.*s", (int)sizeof out->message - 1, reason);
}

void ls_job_destroy(ls_job *job) {
    if (!job) return;
    if (job->creator == getpid()) (void)unlink(job->path);
    unmap(job);
}
