/* Calls between GPUs: grouped sends and receives on a stream of their own. Compiled with LS_CUDA only.
 *
 * NCCL cannot say who is dead or does something else, so every call is also made, without bytes, over the bootstrap: arrive() first
 * waits there, where the blame is found, and only then for the GPU. The communicator does not block; a failure aborts it. */
#include "comm/backend/comm_nccl.h"
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <sched.h>
#include <string.h>

#include "base/alloc.h"
#if __has_include(<nccl.h>)
#include <nccl.h>

enum { ALIGNMENT = 64, MAX_MEMORIES = 64 };

/* What is used of the library. */
#define LS_NCCL_MAP(X)        \
    X(ncclGetUniqueId)        \
    X(ncclCommInitRankConfig) \
    X(ncclCommGetAsyncError)  \
    X(ncclCommAbort)          \
    X(ncclCommDestroy)        \
    X(ncclGetErrorString)     \
    X(ncclGroupStart)         \
    X(ncclGroupEnd)           \
    X(ncclSend)               \
    X(ncclRecv)               \
    X(ncclAllReduce)

typedef struct nccl_library {
#define LS_NCCL_MEMBER(name) typeof(&name) name;
    LS_NCCL_MAP(LS_NCCL_MEMBER)
#undef LS_NCCL_MEMBER
} nccl_library;

typedef struct nccl_call {
    int active, n_parts, scatter, from, to;
    ls_comm_part parts[LS_COMM_MAX_PARTS];
    char *landing;
    cudaEvent_t done;
} nccl_call;

typedef struct nccl_memory {
    void *data;
    size_t bytes;
} nccl_memory;

typedef struct nccl_comm {
    ls_comm base;
    ls_comm *bootstrap;
    ls_device *device;
    nccl_library lib;
    ncclComm_t comm; /* NULL once aborted */
    cudaStream_t stream;
    nccl_call calls[LS_COMM_MAX_TICKETS + 1]; /* the last: ls_comm_exchange */
    nccl_memory memories[MAX_MEMORIES];
} nccl_comm;

static ls_status load_nccl(nccl_library *out) {
    void *handle = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!handle)
        return LS_FAIL(
            LS_ERR_UNSUPPORTED,
            "transport 'nccl' was asked for, but its library cannot be loaded: %s; install "
            "NVIDIA's libnccl2 (Debian package of the CUDA repository, or pip install "
            "nvidia-nccl-cu13 and its lib folder in LD_LIBRARY_PATH)",
            dlerror());
    const struct {
        const char *name;
        size_t offset;
    } wanted[] = {
#define LS_NCCL_WANTED(name) {#name, offsetof(nccl_library, name)},
        LS_NCCL_MAP(LS_NCCL_WANTED)
#undef LS_NCCL_WANTED
    };
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        void *symbol = dlsym(handle, wanted[i].name);
        if (!symbol) {
            (void)dlclose(handle);
            return LS_FAIL(LS_ERR_UNSUPPORTED,
                           "libnccl.so.2 has no %s: NCCL 2.14 or newer is needed", wanted[i].name);
        }
        memcpy((char *)out + wanted[i].offset, &symbol, sizeof symbol);
    }
    return LS_OK;
}

static ls_status check_cuda(const nccl_comm *n, cudaError_t error, const char *asked) {
    if (error == cudaSuccess) return LS_OK;
    return LS_FAIL(LS_ERR_COMM, "rank %d: %s: CUDA says %s", n->base.rank, asked,
                   cudaGetErrorString(error));
}

/* A call of NCCL that goes on in the background is no failure. */
static ls_status check_nccl(const nccl_comm *n, ncclResult_t result, const char *asked) {
    if (result == ncclSuccess || result == ncclInProgress) return LS_OK;
    return LS_FAIL(LS_ERR_COMM, "rank %d: %s: NCCL says %s", n->base.rank, asked,
                   n->lib.ncclGetErrorString(result));
}

static void abort_nccl(nccl_comm *n) {
    if (n->comm) (void)n->lib.ncclCommAbort(n->comm);
    n->comm = NULL;
}

/* Neither a rank nor NCCL has failed; otherwise the communicator is gone afterwards. state_out: ncclInProgress while the last
 * call is still being set up. */
static ls_status look(nccl_comm *n, ncclResult_t *state_out) {
    ls_status status = ls_comm_check(n->bootstrap);
    *state_out = ncclSuccess;
    if (status == LS_OK && !n->comm)
        status = LS_FAIL(LS_ERR_COMM, "rank %d has given NCCL up after a failure", n->base.rank);
    if (status == LS_OK)
        status = check_nccl(n, n->lib.ncclCommGetAsyncError(n->comm, state_out), "asking NCCL");
    if (status == LS_OK) status = check_nccl(n, *state_out, "moving bytes between GPUs");
    if (status != LS_OK) abort_nccl(n);
    return status;
}

/* Until NCCL takes another call. */
static ls_status settle(nccl_comm *n) {
    for (;;) {
        ncclResult_t state;
        LS_TRY(look(n, &state));
        if (state != ncclInProgress) return LS_OK;
        (void)sched_yield();
    }
}

static nccl_comm *nccl_of(ls_comm *comm) {
    return (nccl_comm *)comm;
}

static ls_status memory_create(ls_comm *comm, size_t bytes, void **out) {
    nccl_comm *n = nccl_of(comm);
    for (int i = 0; i < MAX_MEMORIES; i++) {
        if (n->memories[i].data) continue;
        LS_TRY(ls_device_alloc(n->device, bytes, out));
        n->memories[i] = (nccl_memory){*out, bytes};
        return LS_OK;
    }
    return LS_FAIL(LS_ERR_UNSUPPORTED, "a rank has %d memories that it gives from; no more fit",
                   MAX_MEMORIES);
}

static void memory_destroy(ls_comm *comm, void *memory) {
    nccl_comm *n = nccl_of(comm);
    for (int i = 0; i < MAX_MEMORIES; i++) {
        if (n->memories[i].data != memory) continue;
        ls_device_release(n->device, memory, n->memories[i].bytes);
        n->memories[i] = (nccl_memory){NULL, 0};
        return;
    }
}

static int gives(const nccl_call *call, int giver, int taker) {
    return giver != taker && (call->from < 0 || call->from == giver) &&
           (call->to < 0 || call->to == taker);
}

static size_t piece_bytes(const nccl_call *call, int giver, int taker, int part) {
    return ls_comm_piece_bytes(&call->parts[part], call->scatter     ? taker
                                                   : call->from >= 0 ? 0
                                                                     : giver);
}

static size_t align(size_t bytes) {
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static char *landing_of(const nccl_call *call, int rank, int peer) {
    char *at = call->landing;
    for (int q = 0; q < peer; q++)
        for (int i = 0; i < call->n_parts; i++) at += align(piece_bytes(call, q, rank, i));
    return at;
}

static const char *mine(const nccl_call *call, int taker, int part) {
    const char *data = call->parts[part].data;
    return call->scatter ? data + (size_t)taker * call->parts[part].piece_bytes : data;
}

static ls_status move_with(nccl_comm *n, const nccl_call *call, int peer) {
    const int rank = n->base.rank;
    char *landing = landing_of(call, rank, peer);
    for (int i = 0; i < call->n_parts; i++) {
        const size_t going = gives(call, rank, peer) ? piece_bytes(call, rank, peer, i) : 0;
        const size_t coming = gives(call, peer, rank) ? piece_bytes(call, peer, rank, i) : 0;
        if (going)
            LS_TRY(check_nccl(
                n, n->lib.ncclSend(mine(call, peer, i), going, ncclInt8, peer, n->comm, n->stream),
                "sending"));
        if (coming)
            LS_TRY(check_nccl(n,
                              n->lib.ncclRecv(landing, coming, ncclInt8, peer, n->comm, n->stream),
                              "receiving"));
        landing += align(piece_bytes(call, peer, rank, i));
    }
    return LS_OK;
}

/* The same call without bytes, for the board. */
static ls_status announce(nccl_comm *n, const ls_comm_call *from) {
    ls_comm_call call = *from;
    call.n_parts = call.scatter = 0;
    call.landing = NULL;
    return n->bootstrap->ops->start(n->bootstrap, &call);
}

static ls_status start(ls_comm *comm, const ls_comm_call *from) {
    nccl_comm *n = nccl_of(comm);
    nccl_call *call = &n->calls[from->ticket];
    LS_TRY(announce(n, from));
    const cudaEvent_t done = call->done;
    *call = (nccl_call){.active = 1,
                        .n_parts = from->n_parts,
                        .scatter = from->scatter,
                        .from = from->from,
                        .to = from->to,
                        .landing = from->landing,
                        .done = done};
    if (from->n_parts)
        memcpy(call->parts, from->parts, (size_t)from->n_parts * sizeof *from->parts);
    LS_TRY(settle(n));
    LS_TRY(check_nccl(n, n->lib.ncclGroupStart(), "starting a group"));
    ls_status status = LS_OK;
    for (int p = 0; status == LS_OK && p < comm->size; p++)
        if (p != comm->rank) status = move_with(n, call, p);
    const ncclResult_t ended = n->lib.ncclGroupEnd();
    LS_TRY(status);
    LS_TRY(check_nccl(n, ended, "ending a group"));
    /* An event holds only what has reached the stream. */
    LS_TRY(settle(n));
    return check_cuda(n, cudaEventRecord(call->done, n->stream), "marking the end of a call");
}

static ls_status await(nccl_comm *n, const nccl_call *call) {
    for (;;) {
        const cudaError_t state = cudaEventQuery(call->done);
        if (state == cudaSuccess) return LS_OK;
        if (state != cudaErrorNotReady) return check_cuda(n, state, "moving bytes between GPUs");
        ncclResult_t going_on;
        LS_TRY(look(n, &going_on));
        (void)sched_yield();
    }
}

static ls_status find_call(nccl_comm *n, int ticket, nccl_call **out) {
    if (ticket < 0 || ticket > LS_COMM_MAX_TICKETS || !n->calls[ticket].active)
        return LS_FAIL(LS_ERR_INVALID, "no collective of ticket %d is under way", ticket);
    *out = &n->calls[ticket];
    return LS_OK;
}

static ls_status arrive(ls_comm *comm, int ticket, int peer, ls_comm_view *views_out) {
    nccl_comm *n = nccl_of(comm);
    nccl_call *call = NULL;
    LS_TRY(find_call(n, ticket, &call));
    const int self = peer == comm->rank;
    const int takes =
        (call->to < 0 || call->to == comm->rank) && (call->from < 0 || call->from == peer);
    for (int i = 0; i < call->n_parts; i++) views_out[i] = (ls_comm_view){NULL, 0};
    LS_TRY(n->bootstrap->ops->arrive(n->bootstrap, ticket, peer, NULL));
    if (!takes) return LS_OK;
    if (!self) LS_TRY(await(n, call));
    const char *landing = self ? NULL : landing_of(call, comm->rank, peer);
    for (int i = 0; i < call->n_parts; i++) {
        const size_t bytes = piece_bytes(call, peer, comm->rank, i);
        const char *data = self ? mine(call, comm->rank, i) : landing;
        if (bytes) views_out[i] = (ls_comm_view){data, bytes};
        if (!self) landing += align(bytes);
    }
    return LS_OK;
}

static ls_status finish(ls_comm *comm, int ticket) {
    nccl_comm *n = nccl_of(comm);
    nccl_call *call = NULL;
    LS_TRY(find_call(n, ticket, &call));
    LS_TRY(await(n, call));
    LS_TRY(n->bootstrap->ops->finish(n->bootstrap, ticket));
    call->active = 0;
    return LS_OK;
}

static ls_status check(ls_comm *comm) {
    ncclResult_t state;
    return look(nccl_of(comm), &state);
}

static void abort_run(ls_comm *comm, const char *reason) {
    ls_comm_abort(nccl_of(comm)->bootstrap, reason);
    abort_nccl(nccl_of(comm));
}

static ls_status fast_all_reduce(ls_comm *comm, const ls_comm_call *from, float *data,
                                 int64_t count) {
    nccl_comm *n = nccl_of(comm);
    nccl_call *call = &n->calls[from->ticket];
    LS_TRY(announce(n, from));
    for (int p = 0; p < comm->size; p++)
        LS_TRY(n->bootstrap->ops->arrive(n->bootstrap, from->ticket, p, NULL));
    LS_TRY(settle(n));
    LS_TRY(check_nccl(
        n,
        n->lib.ncclAllReduce(data, data, (size_t)count, ncclFloat32, ncclSum, n->comm, n->stream),
        "summing over GPUs"));
    LS_TRY(settle(n));
    LS_TRY(check_cuda(n, cudaEventRecord(call->done, n->stream), "marking the end of a call"));
    LS_TRY(await(n, call));
    return n->bootstrap->ops->finish(n->bootstrap, from->ticket);
}

static void close_run(ls_comm *comm) {
    nccl_comm *n = nccl_of(comm);
    if (ls_comm_check(n->bootstrap) != LS_OK) abort_nccl(n);
    if (n->comm) (void)n->lib.ncclCommDestroy(n->comm);
    for (int t = 0; t <= LS_COMM_MAX_TICKETS; t++)
        if (n->calls[t].done) (void)cudaEventDestroy(n->calls[t].done);
    for (int i = 0; i < MAX_MEMORIES; i++)
        if (n->memories[i].data)
            ls_device_release(n->device, n->memories[i].data, n->memories[i].bytes);
    if (n->stream) (void)cudaStreamDestroy(n->stream);
    ls_comm_close(n->bootstrap);
    ls_free(n);
}

static const ls_comm_ops nccl_ops = {
    .name = "nccl",
    .memory_create = memory_create,
    .memory_destroy = memory_destroy,
    .start = start,
    .arrive = arrive,
    .finish = finish,
    .check = check,
    .abort = abort_run,
    .close = close_run,
    .fast_all_reduce = fast_all_reduce,
};

static ls_status make_stream(nccl_comm *n) {
    LS_TRY(check_cuda(n, cudaSetDevice(n->device->ordinal), "choosing the GPU"));
    LS_TRY(check_cuda(n, cudaStreamCreateWithFlags(&n->stream, cudaStreamNonBlocking),
                      "making a stream"));
    for (int t = 0; t <= LS_COMM_MAX_TICKETS; t++)
        LS_TRY(check_cuda(n, cudaEventCreateWithFlags(&n->calls[t].done, cudaEventDisableTiming),
                          "making an event"));
    return LS_OK;
}

/* Rank 0's id goes to all; who cannot go on says so before anybody waits in NCCL. */
static ls_status join(nccl_comm *n) {
    ls_comm *bootstrap = n->bootstrap;
    ncclUniqueId id = {0}, *all = ls_alloc((size_t)n->base.size * sizeof *all);
    ls_status status = all ? make_stream(n) : LS_ERR_NO_MEMORY;
    if (status == LS_OK && n->base.rank == 0)
        status = check_nccl(n, n->lib.ncclGetUniqueId(&id), "making the id of the group");
    status = ls_comm_agree(bootstrap, "starting NCCL", status);
    if (status == LS_OK)
        status = ls_comm_exchange(bootstrap, "the id of NCCL", &id, sizeof id, all);
    if (status == LS_OK) {
        ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
        config.blocking = 0;
        status = check_nccl(
            n, n->lib.ncclCommInitRankConfig(&n->comm, n->base.size, all[0], n->base.rank, &config),
            "joining the group");
    }
    ls_free(all);
    LS_TRY(status);
    return settle(n);
}

ls_status ls_comm_open_nccl(ls_comm *bootstrap, ls_device *device, ls_comm **out) {
    if (!bootstrap || device->ops->kind != LS_DEVICE_CUDA)
        return LS_FAIL(
            LS_ERR_INVALID,
            "transport 'nccl' was asked for with device '%s'; it needs ranks (shm or mpi) "
            "and device 'cuda'",
            device->ops->name);
    nccl_comm *n = ls_alloc(sizeof *n);
    if (!n) return LS_ERR_NO_MEMORY;
    n->base = (ls_comm){.ops = &nccl_ops,
                        .rank = bootstrap->rank,
                        .size = bootstrap->size,
                        .n_hosts = bootstrap->n_hosts,
                        .hosts = bootstrap->hosts};
    n->device = device;
    n->bootstrap = bootstrap;
    ls_status status = ls_comm_agree(bootstrap, "loading NCCL", load_nccl(&n->lib));
    if (status == LS_OK) status = join(n);
    if (status == LS_OK) {
        *out = &n->base;
        return LS_OK;
    }
    /* The bootstrap stays the caller's. */
    n->bootstrap = NULL;
    abort_nccl(n);
    close_run(&n->base);
    return status;
}

#else

ls_status ls_comm_open_nccl(ls_comm *bootstrap, ls_device *device, ls_comm **out) {
    (void)bootstrap;
    (void)device;
    (void)out;
    return LS_FAIL(LS_ERR_UNSUPPORTED,
                   "transport 'nccl' was asked for, but Lockstep was built where "
                   "nccl.h was not: install libnccl-dev and build again");
}

#endif
