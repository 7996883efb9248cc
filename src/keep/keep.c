/* A rank's side: its connection to the keeper, its segment, begin and commit. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/log.h"
#include "base/shared_file.h"
#include "keep/keep_internal.h"
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* How long the process that had the rank before may take to end, and how long a neighbour's copy is waited for at most: its keeper
 * gives it up much sooner. */
static const double busy_seconds = 10, copy_seconds = 60;
enum { RETRY_MS = 5, NAP_NS = 50000000 };

int ls_keep_is_offered(void) {
    const char *offer = ls_config_env("LOCKSTEP_KEEPER");
    return offer && *offer;
}

/* --- the connection --- */

/* A number that the supervisor set; `missing` when it did not. */
static ls_status read_number(const char *name, int64_t missing, int64_t *out) {
    const char *text = ls_config_env(name);
    char *end;
    *out = missing;
    if (!text || !*text) return LS_OK;
    errno = 0;
    const long long n = strtoll(text, &end, 10);
    if (errno || *end || end == text || n < 0)
        return LS_FAIL(LS_ERR_INVALID, "%s='%s' is no number", name, text);
    *out = n;
    return LS_OK;
}

static ls_status connect_keeper(ls_keep *keep) {
    const char *offer = ls_config_env("LOCKSTEP_KEEPER");
    char name[128] = "";
    const size_t n = offer ? strcspn(offer, " ") : 0;
    if (!offer || n == 0 || n >= sizeof name || offer[n] != ' ' ||
        strlen(offer + n + 1) != LS_KEEPER_COOKIE - 1)
        return LS_FAIL(LS_ERR_INVALID, "LOCKSTEP_KEEPER is not \"NAME COOKIE\", as `lockstep run` "
                                       "sets it");
    memcpy(name, offer, n);
    memcpy(keep->cookie, offer + n + 1, sizeof keep->cookie);
    LS_TRY(read_number("LOCKSTEP_ATTEMPT", 0, &keep->job));
    LS_TRY(ls_keep_dial_unix(name, &keep->fd));
    ls_keep_hello hello = {
        .who = LS_KEEP_IS_RANK, .rank = ls_comm_rank(keep->comm), .job = keep->job};
    memcpy(hello.cookie, keep->cookie, sizeof hello.cookie);
    return ls_keep_greet(keep->fd, &hello);
}

ls_status ls_keep_open(ls_comm *comm, ls_keep **out) {
    ls_keep *keep = ls_alloc(sizeof *keep);
    ls_status status = LS_ERR_NO_MEMORY;
    if (keep) {
        *keep = (ls_keep){.comm = comm, .fd = -1, .noted = -1};
        status = connect_keeper(keep);
    }
    if (status == LS_OK) {
        keep->all_here = ls_alloc((size_t)ls_comm_size(comm));
        if (!keep->all_here) status = LS_ERR_NO_MEMORY;
    }
    status = ls_comm_agree(comm, "keeper", status);
    if (status != LS_OK) {
        ls_keep_close(keep);
        return status;
    }
    *out = keep;
    return LS_OK;
}

static void unmap(ls_keep *keep) {
    if (keep->mapped && keep->comm)
        ls_comm_memory_destroy(keep->comm, keep->mapped);
    else if (keep->mapped)
        (void)munmap(keep->mapped, keep->image->bytes);
    keep->mapped = NULL;
}

void ls_keep_close(ls_keep *keep) {
    if (!keep) return;
    unmap(keep);
    if (keep->fd >= 0) (void)close(keep->fd);
    ls_free(keep->image);
    ls_free(keep->all_here);
    ls_free(keep);
}

/* --- memory --- */

static ls_status describe(const ls_plan *plan, int rank, int64_t job, ls_keep_header **out) {
    ls_arena *arena = NULL;
    ls_plan_part *parts = NULL;
    int n = 0, n_tensors = 0;
    if (ls_plan_kept_bytes(plan, rank) == 0)
        return LS_FAIL(LS_ERR_INVALID, "the plan was made without two buffers of the state "
                                       "(ls_plan_options.kept): there is nothing to keep");
    LS_TRY(ls_arena_create(&arena));
    ls_status status = ls_plan_parts(plan, rank, arena, &parts, &n);
    for (int i = 0; status == LS_OK && i < n; i++)
        parts[i].offset += ls_plan_kept_offset(plan, rank, parts[i].region);
    const ls_graph *graph = plan->graph;
    for (int64_t v = 0; v < graph->n_values; v++)
        n_tensors +=
            graph->values[v].kind == LS_VALUE_PARAM || graph->values[v].kind == LS_VALUE_STATE;
    const ls_keep_layout layout = {.rank = rank,
                                   .size = ls_mesh_size(&plan->mesh),
                                   .n_tensors = n_tensors,
                                   .job = job,
                                   .parts = parts,
                                   .n_parts = n,
                                   .buffer_bytes = ls_plan_kept_bytes(plan, rank)};
    if (status == LS_OK) status = ls_keep_segment_make(&layout, out);
    ls_arena_destroy(arena);
    return status;
}

/* *fd_out -1: there is none with this layout. */
static ls_status take(ls_keep *keep, int *fd_out) {
    const ls_keep_take ask = {keep->image->fingerprint, keep->image->bytes};
    const double until = ls_clock_seconds() + busy_seconds;
    for (;;) {
        ls_keep_frame frame;
        LS_TRY(ls_keep_say(keep->fd, LS_SAY_TAKE, &ask, sizeof ask, -1));
        LS_TRY(ls_keep_hear(keep->fd, &frame, fd_out));
        if (frame.kind == LS_SAY_NONE || (frame.kind == LS_SAY_TAKEN && *fd_out >= 0)) return LS_OK;
        if (frame.kind != LS_SAY_BUSY)
            return LS_FAIL(LS_ERR_COMM, "the keeper answered message %d when asked for memory",
                           frame.kind);
        if (ls_clock_seconds() > until)
            return LS_FAIL(LS_ERR_COMM,
                           "the process that was rank %d before still has its memory after %.0f s: "
                           "end it",
                           keep->image->rank, busy_seconds);
        (void)poll(NULL, 0, RETRY_MS);
    }
}

static ls_status make(const ls_keep_header *image, int *fd_out) {
    int fd;
    const ls_status status = ls_shared_file_create("lockstep-kept", image->bytes, &fd);
    if (status != LS_OK)
        return ls_error_prefix(status,
                               "shared memory for the state of rank %d (recover.copies=0 keeps it "
                               "in ordinary memory, once)",
                               image->rank);
    if (pwrite(fd, image, image->buffers, 0) == (ssize_t)image->buffers) {
        *fd_out = fd;
        return LS_OK;
    }
    const int error = errno;
    (void)close(fd);
    return LS_FAIL(
        LS_ERR_NO_MEMORY,
        "%llu bytes of shared memory for the state of rank %d: %s; recover.copies=0 keeps "
        "it in ordinary memory, once",
        (unsigned long long)image->bytes, image->rank, strerror(error));
}

static ls_status map(ls_keep *keep, int fd) {
    void *memory = NULL;
    if (keep->comm)
        LS_TRY(ls_comm_memory_map(keep->comm, fd, keep->image->bytes, &memory));
    else
        memory = mmap(NULL, keep->image->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return LS_FAIL(LS_ERR_NO_MEMORY, "%llu bytes of shared memory could not be mapped: %s",
                       (unsigned long long)keep->image->bytes, strerror(errno));
    keep->mapped = memory;
    return LS_OK;
}

/* The keeper gets its own copy of the descriptor. */
static ls_status give(ls_keep *keep, int fd) {
    ls_keep_frame frame;
    LS_TRY(ls_keep_say(keep->fd, LS_SAY_GIVE, NULL, 0, fd));
    LS_TRY(ls_keep_hear(keep->fd, &frame, NULL));
    if (frame.kind == LS_SAY_DONE) return LS_OK;
    return LS_FAIL(LS_ERR_COMM, "the keeper answered message %d when given memory", frame.kind);
}

ls_status ls_keep_memory(ls_keep *keep, const ls_plan *plan, int rank, char *buffers_out[2]) {
    int fd = -1;
    ls_status status = keep->mapped ? LS_FAIL(LS_ERR_INVALID,
                                              "the kept memory of rank %d is there "
                                              "already",
                                              rank)
                                    : describe(plan, rank, keep->job, &keep->image);
    if (status == LS_OK) status = take(keep, &fd);
    keep->stats.attached = fd >= 0;
    if (status == LS_OK && fd < 0) status = make(keep->image, &fd);
    status = ls_comm_agree(keep->comm, "memory that outlives its process", status);
    if (status == LS_OK) status = map(keep, fd);
    if (status == LS_OK && !keep->stats.attached) status = give(keep, fd);
    status = ls_comm_agree(keep->comm, "memory that outlives its process", status);
    if (fd >= 0) (void)close(fd);
    LS_TRY(status);
    atomic_store(&keep->mapped->job, keep->job);
    atomic_store(&keep->mapped->pid, (int32_t)getpid());
    for (int b = 0; b < 2; b++) buffers_out[b] = ls_keep_buffer(keep->mapped, keep->image, b);
    return LS_OK;
}

/* --- restoring --- */

/* All ranks are to go on from one step. */
static ls_status agree_on_step(ls_keep *keep, int64_t *step_out) {
    const int size = ls_comm_size(keep->comm);
    int64_t step = -1;
    ls_status status = read_number("LOCKSTEP_RESTORE", -1, &step);
    status = ls_comm_agree(keep->comm, "restore", status);
    LS_TRY(status);
    int64_t *all = ls_alloc((size_t)size * sizeof *all);
    if (!all) return LS_ERR_NO_MEMORY;
    status = ls_comm_exchange(keep->comm, "restore", &step, sizeof step, all);
    for (int r = 0; status == LS_OK && r < size; r++)
        if (all[r] != all[0])
            status = LS_FAIL(LS_ERR_INVALID,
                             "rank %d is to go on from step %lld, rank 0 from step %lld: "
                             "LOCKSTEP_RESTORE must be the same on all hosts",
                             r, (long long)all[r], (long long)all[0]);
    ls_free(all);
    if (status == LS_OK) *step_out = step;
    return status;
}

/* Tells the keeper, which may have gone: then nobody outside can go on from here, but the run can. */
static void note_commit(ls_keep *keep, int64_t step, int was_restored) {
    const ls_keep_commit_note note = {.step = step, .was_restored = was_restored};
    keep->noted = step;
    if (keep->fd < 0) return;
    if (ls_keep_say(keep->fd, LS_SAY_COMMIT, &note, sizeof note, -1) == LS_OK) return;
    ls_log(LS_LOG_WARN, "rank %d: the keeper of this host is gone; the state is on disk only",
           keep->image->rank);
    (void)close(keep->fd);
    keep->fd = -1;
}

ls_status ls_keep_restore(ls_keep *keep, int64_t *step_out, int *current_out,
                          char blob_out[LS_KEEP_BLOB]) {
    const double begun = ls_clock_seconds();
    int64_t step = -1;
    int buffer = 0;
    size_t blob_bytes = 0;
    LS_TRY(agree_on_step(keep, &step));
    ls_status status = LS_OK;
    if (step >= 0) status = ls_keep_fetch(keep, step, &buffer, blob_out, &blob_bytes);
    LS_TRY(ls_comm_agree(keep->comm, "restore from memory", status));
    /* What the other buffer holds, nobody goes on from. */
    ls_keep_segment_tear(keep->mapped, 1 - buffer);
    if (step < 0)
        ls_keep_segment_tear(keep->mapped, buffer);
    else if (ls_keep_segment_find(keep->mapped, step) != buffer)
        ls_keep_segment_commit(keep->mapped, buffer, step, blob_out, blob_bytes);
    if (step >= 0) note_commit(keep, step, 1);
    keep->stats.restore_seconds += ls_clock_seconds() - begun;
    *step_out = step;
    *current_out = buffer;
    return LS_OK;
}

/* --- begin and commit --- */

static int is_keeper_gone(const ls_keep *keep) {
    struct pollfd look = {.fd = keep->fd, .events = POLLRDHUP};
    return keep->fd < 0 || (poll(&look, 1, 0) > 0 && look.revents);
}

static void say_alone(ls_keep *keep, const char *why) {
    if (keep->is_alone_said) return;
    keep->is_alone_said = 1;
    ls_log(LS_LOG_WARN, "rank %d: %s; the run goes on without copies on another host",
           keep->image->rank, why);
}

/* Until the neighbour has the step, or there is none. */
static void wait_for_copy(ls_keep *keep, int64_t step) {
    const struct timespec nap = {.tv_nsec = NAP_NS};
    const double begun = ls_clock_seconds();
    while (atomic_load(&keep->mapped->copied) < step) {
        const uint32_t seen = atomic_load(&keep->mapped->bell);
        if (keep->noted < step) note_commit(keep, step, !keep->has_new);
        if (atomic_load(&keep->mapped->copied) >= step) break;
        (void)syscall(SYS_futex, &keep->mapped->bell, FUTEX_WAIT, seen, &nap, NULL, 0);
        const int is_late = ls_clock_seconds() - begun > copy_seconds;
        if (!is_late && !is_keeper_gone(keep)) continue;
        say_alone(keep, is_late ? "its keeper makes no copies" : "the keeper of this host is gone");
        atomic_store(&keep->mapped->copied, LS_KEEP_NO_COPIES);
    }
    keep->stats.wait_seconds += ls_clock_seconds() - begun;
}

ls_status ls_keep_begin(ls_keep *keep) {
    if (!keep->mapped)
        return LS_FAIL(LS_ERR_INVALID, "ls_keep_begin before ls_keep_memory: there is no buffer");
    const int newest = ls_keep_segment_newest(keep->mapped);
    if (newest < 0) return LS_OK;
    const int64_t step = atomic_load(&keep->mapped->steps[newest]);
    if (atomic_load(&keep->mapped->copied) < step) wait_for_copy(keep, step);
    /* Until every rank is here, with its last step committed and copied, some may have nothing but the step before it. */
    LS_TRY(ls_comm_exchange(keep->comm, "begin", &keep->here, sizeof keep->here, keep->all_here));
    ls_keep_segment_tear(keep->mapped, 1 - newest);
    return LS_OK;
}

ls_status ls_keep_commit(ls_keep *keep, int64_t step, int buffer, const void *blob,
                         size_t blob_bytes) {
    if (!keep->mapped || buffer < 0 || buffer > 1 || step < 0 || blob_bytes > LS_KEEP_BLOB)
        return LS_FAIL(
            LS_ERR_INVALID,
            "commit of step %lld in buffer %d with %zu bytes of the trainer's; there are "
            "two buffers, and %d bytes fit",
            (long long)step, buffer, blob_bytes, LS_KEEP_BLOB);
    if (atomic_load(&keep->mapped->steps[buffer]) != LS_KEEP_TORN)
        return LS_FAIL(
            LS_ERR_INVALID,
            "commit of step %lld in buffer %d, which holds step %lld and was not given up "
            "(ls_keep_begin)",
            (long long)step, buffer, (long long)atomic_load(&keep->mapped->steps[buffer]));
    ls_keep_segment_commit(keep->mapped, buffer, step, blob, blob_bytes);
    const int is_first = !keep->has_new;
    keep->has_new = 1;
    /* The first tells the keeper that older attempts' memory is not needed; the others have copies made. */
    if (is_first || atomic_load(&keep->mapped->copied) != LS_KEEP_NO_COPIES)
        note_commit(keep, step, 0);
    return LS_OK;
}

ls_keep_stats ls_keep_get_stats(const ls_keep *keep) {
    return keep->stats;
}
