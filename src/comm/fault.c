/* The decorator: every call goes to the transport below; the one that was chosen goes there changed, late or not at all. */
#include "comm/fault.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/fs.h"
#include "comm/comm.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct fault_comm {
    ls_comm base;
    ls_comm_ops ops; /* of base: as many functions as the transport below has */
    ls_comm *inner;
    ls_fault fault;
    int fired;
    uint64_t step;   /* of the calls counted by n_calls */
    int64_t n_calls; /* started in this step */
    int64_t n_slow;  /* that were delayed, less the first */
    /* The call that was left out: what its peers would have given is zeros. */
    int skipped_ticket; /* -1 = none */
    ls_comm_part skipped_parts[LS_COMM_MAX_PARTS];
    int n_skipped, skipped_scatter;
    void *zeros;
} fault_comm;

static fault_comm *fault_of(ls_comm *comm) {
    return (fault_comm *)comm;
}

/* The moment of the fault, for whoever measures how fast it is found. Raw system calls: nothing may fail a fault. */
static void write_stamp(const ls_fault *fault) {
    if (!fault->stamp[0]) return;
    char text[64];
    const int fd = open(fault->stamp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) return;
    const int n = snprintf(text, sizeof text, "%.9f\n", ls_clock_seconds());
    if (write(fd, text, (size_t)n) != n) (void)ftruncate(fd, 0);
    close(fd);
}

/* Calls without a step, such as agreements, count as calls of the step before them. */
static int is_time(fault_comm *self, const ls_comm_call *call) {
    if (call->step > self->step) {
        self->step = call->step;
        self->n_calls = 0;
    }
    const int64_t n_before = self->n_calls++;
    if (self->fired) return 0;
    const ls_fault *fault = &self->fault;
    return self->step > fault->step || (self->step == fault->step && n_before >= fault->call);
}

static void sleep_seconds(double seconds) {
    struct timespec left = {(time_t)seconds, (long)(1e9 * (seconds - (double)(time_t)seconds))};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}

/* Nothing is sent; arrive() will find zeros and finish() nothing to wait for. */
static ls_status skip_call(fault_comm *self, const ls_comm_call *call) {
    size_t most = 1;
    for (int i = 0; i < call->n_parts; i++) {
        self->skipped_parts[i] = call->parts[i];
        if (call->parts[i].piece_bytes > most) most = call->parts[i].piece_bytes;
    }
    self->zeros = ls_alloc(most);
    if (!self->zeros) return LS_ERR_NO_MEMORY;
    self->n_skipped = call->n_parts;
    self->skipped_scatter = call->scatter;
    self->skipped_ticket = call->ticket;
    return LS_OK;
}

/* A collective of its own, just before the others' next: it waits for peers that never come to it. */
static ls_status make_extra_call(fault_comm *self, const ls_comm_call *call) {
    ls_comm_call extra = *call;
    extra.op = "all_gather";
    extra.scope = "injected";
    extra.id = INT64_MAX;
    extra.scatter = 0;
    extra.from = extra.to = -1;
    extra.n_parts = 0;
    LS_TRY(self->inner->ops->start(self->inner, &extra));
    ls_comm_view views[LS_COMM_MAX_PARTS];
    for (int peer = 0; peer < self->base.size; peer++)
        LS_TRY(self->inner->ops->arrive(self->inner, extra.ticket, peer, views));
    return self->inner->ops->finish(self->inner, extra.ticket);
}

/* A quiet NaN at the start of the first tensor, whose first elements every layout hands to member 0. */
static void write_nan(const ls_comm_call *call) {
    static const unsigned char nan_f32[] = {0, 0, 0xc0, 0x7f}, nan_bf16[] = {0xc0, 0x7f};
    const int wide = call->dtype == LS_DTYPE_F32;
    memcpy((void *)call->parts[0].data, wide ? nan_f32 : nan_bf16, wide ? 4 : 2);
}

static int takes_nan(const ls_comm_call *call) {
    return strcmp(call->op, "reduce_scatter") == 0 && call->n_parts > 0 &&
           call->parts[0].bytes >= 4 && call->parts[0].piece_bytes >= 4 && call->parts[0].data &&
           (call->dtype == LS_DTYPE_F32 || call->dtype == LS_DTYPE_BF16);
}

void ls_fault_flip(void *data, size_t bytes) {
    /* Bit 20 of a float of the middle: in its mantissa, so that nothing looks wrong. */
    if (bytes > 0) ((unsigned char *)data)[bytes >= 8 ? bytes / 2 / 4 * 4 + 2 : 0] ^= 0x10;
}

/* What this rank gives of a part: of a scatter the whole part, else its own piece of it. */
static size_t given_bytes(const fault_comm *self, const ls_comm_call *call, int i) {
    const ls_comm_part *part = &call->parts[i];
    if (!part->data) return 0;
    return call->scatter ? part->bytes : ls_comm_piece_bytes(part, self->base.rank);
}

/* The first part of which it gives something (small tensors have no piece for the last ranks), or n_parts. */
static int first_gift(const fault_comm *self, const ls_comm_call *call) {
    int i = 0;
    while (i < call->n_parts && given_bytes(self, call, i) == 0) i++;
    return i;
}

static int gives(const fault_comm *self, const ls_comm_call *call) {
    return first_gift(self, call) < call->n_parts;
}

static void flip_gift(const fault_comm *self, const ls_comm_call *call) {
    const int i = first_gift(self, call);
    ls_fault_flip((void *)call->parts[i].data, given_bytes(self, call, i));
}

/* Some faults wait for a call that can carry them. */
static int can_carry(const fault_comm *self, const ls_comm_call *call) {
    switch (self->fault.kind) {
    case LS_FAULT_NAN:
        return takes_nan(call);
    case LS_FAULT_FLIP:
        return strcmp(call->op, "reduce_scatter") == 0 && gives(self, call);
    case LS_FAULT_FLIP_SHARE:
        return strcmp(call->op, "all_gather") == 0 && gives(self, call);
    case LS_FAULT_FLIP_STATE:
        return 0;
    default:
        return 1;
    }
}

/* The call with one thing told wrong. */
static void change_call(ls_fault_kind kind, ls_comm_call *call) {
    if (kind == LS_FAULT_SHAPE) {
        if (call->shape.n_dims == 0) call->shape.n_dims = 1;
        call->shape.dims[0]++;
    } else if (kind == LS_FAULT_DTYPE) {
        call->dtype = call->dtype == LS_DTYPE_F64 ? LS_DTYPE_F32 : LS_DTYPE_F64;
    } else if (kind == LS_FAULT_OP) {
        call->op = strcmp(call->op, "all_to_all") == 0 ? "broadcast" : "all_to_all";
    } else if (kind == LS_FAULT_STEP) {
        call->step++;
    }
}

static ls_status inject(fault_comm *self, const ls_comm_call *call) {
    const ls_fault *fault = &self->fault;
    ls_comm_call changed = *call;
    self->fired = 1;
    write_stamp(fault);
    switch (fault->kind) {
    case LS_FAULT_DIE:
        (void)kill(getpid(), SIGKILL);
        break;
    case LS_FAULT_STOP:
        (void)kill(getpid(), SIGSTOP);
        break;
    case LS_FAULT_SKIP:
        return skip_call(self, call);
    case LS_FAULT_EXTRA:
        LS_TRY(make_extra_call(self, call));
        break;
    case LS_FAULT_SLOW:
        sleep_seconds(fault->seconds);
        break;
    case LS_FAULT_NAN:
        write_nan(call);
        break;
    case LS_FAULT_DISK:
        if (fault->count > 0)
            ls_fs_fail_for(fault->count, ENOSPC);
        else
            ls_fs_fail_at(-1, ENOSPC);
        break;
    case LS_FAULT_TORN:
        ls_fs_fault_at(fault->count > 0 ? fault->count : 1, LS_FS_FAULT_TEAR, EIO);
        break;
    case LS_FAULT_FLIP:
    case LS_FAULT_FLIP_SHARE:
        flip_gift(self, call);
        break;
    default:
        change_call(fault->kind, &changed);
    }
    return self->inner->ops->start(self->inner, &changed);
}

static int is_still_slow(fault_comm *self) {
    if (self->fault.kind != LS_FAULT_SLOW) return 0;
    return self->fault.count == 0 || ++self->n_slow < self->fault.count;
}

static ls_status start_call(ls_comm *comm, const ls_comm_call *call) {
    fault_comm *self = fault_of(comm);
    if (is_time(self, call) && can_carry(self, call)) return inject(self, call);
    if (self->fired && is_still_slow(self)) sleep_seconds(self->fault.seconds);
    return self->inner->ops->start(self->inner, call);
}

static ls_status arrive_at(ls_comm *comm, int ticket, int peer, ls_comm_view *views_out) {
    const fault_comm *self = fault_of(comm);
    if (ticket != self->skipped_ticket)
        return self->inner->ops->arrive(self->inner, ticket, peer, views_out);
    const int piece = self->skipped_scatter ? comm->rank : peer;
    for (int i = 0; i < self->n_skipped; i++)
        views_out[i] =
            (ls_comm_view){self->zeros, ls_comm_piece_bytes(&self->skipped_parts[i], piece)};
    return LS_OK;
}

static ls_status finish_call(ls_comm *comm, int ticket) {
    fault_comm *self = fault_of(comm);
    if (ticket != self->skipped_ticket) return self->inner->ops->finish(self->inner, ticket);
    self->skipped_ticket = -1;
    return LS_OK;
}

static ls_status create_memory(ls_comm *comm, size_t bytes, void **out) {
    return fault_of(comm)->inner->ops->memory_create(fault_of(comm)->inner, bytes, out);
}

static ls_status map_memory(ls_comm *comm, int fd, size_t bytes, void **out) {
    return ls_comm_memory_map(fault_of(comm)->inner, fd, bytes, out);
}

static void destroy_memory(ls_comm *comm, void *memory) {
    fault_of(comm)->inner->ops->memory_destroy(fault_of(comm)->inner, memory);
}

static ls_status check_peers(ls_comm *comm) {
    return fault_of(comm)->inner->ops->check(fault_of(comm)->inner);
}

static void abort_run(ls_comm *comm, const char *reason) {
    fault_of(comm)->inner->ops->abort(fault_of(comm)->inner, reason);
}

static ls_status fast_all_reduce(ls_comm *comm, const ls_comm_call *call, float *data,
                                 int64_t count) {
    return fault_of(comm)->inner->ops->fast_all_reduce(fault_of(comm)->inner, call, data, count);
}

static void close_comm(ls_comm *comm) {
    fault_comm *self = fault_of(comm);
    self->inner->ops->close(self->inner);
    ls_free(self->zeros);
    ls_free(self);
}

static const ls_comm_ops fault_ops = {
    .memory_create = create_memory,
    .memory_destroy = destroy_memory,
    .memory_map = map_memory,
    .start = start_call,
    .arrive = arrive_at,
    .finish = finish_call,
    .check = check_peers,
    .abort = abort_run,
    .close = close_comm,
    .fast_all_reduce = fast_all_reduce,
};

ls_status ls_comm_fault_wrap_with(ls_comm **comm, const ls_fault *fault) {
    if (fault->rank >= (*comm)->size)
        return LS_FAIL(LS_ERR_CONFIG, "LOCKSTEP_FAULT: rank = %d, but the run has ranks 0 to %d",
                       fault->rank, (*comm)->size - 1);
    if (fault->kind == LS_FAULT_NONE || fault->rank != (*comm)->rank) return LS_OK;
    fault_comm *self = ls_alloc(sizeof *self);
    if (!self) return LS_ERR_NO_MEMORY;
    self->base = **comm;
    self->ops = fault_ops;
    self->ops.name = (*comm)->ops->name;
    if (!(*comm)->ops->fast_all_reduce) self->ops.fast_all_reduce = NULL;
    self->base.ops = &self->ops;
    self->inner = *comm;
    self->fault = *fault;
    self->skipped_ticket = -1;
    *comm = &self->base;
    return LS_OK;
}

static int64_t read_attempt(void) {
    const char *text = ls_config_env("LOCKSTEP_ATTEMPT");
    return text ? strtoll(text, NULL, 10) : 0;
}

ls_status ls_comm_fault_wrap(ls_comm **comm) {
    const char *text = ls_config_env("LOCKSTEP_FAULT");
    if (!text || !*text) return LS_OK;
    ls_fault fault;
    LS_TRY(ls_fault_parse(text, &fault));
    if (fault.attempt >= 0 && fault.attempt != read_attempt()) return LS_OK;
    return ls_comm_fault_wrap_with(comm, &fault);
}

const ls_comm *ls_comm_fault_inner(const ls_comm *comm) {
    if (!comm || comm->ops->start != start_call) return comm;
    return ((const fault_comm *)comm)->inner;
}

int ls_comm_fault_takes_state(ls_comm *comm, uint64_t step) {
    if (!comm || comm->ops->start != start_call) return 0;
    fault_comm *self = fault_of(comm);
    if (self->fault.kind != LS_FAULT_FLIP_STATE || self->fired || step < self->fault.step) return 0;
    self->fired = 1;
    write_stamp(&self->fault);
    return 1;
}
