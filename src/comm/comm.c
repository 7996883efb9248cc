/* The public face: opens the transport that the environment asks for, and hands on to its table. */
#include "comm/comm.h"
#include "base/alloc.h"
#include "base/config.h"
#include "comm/backend/backend.h"
#include "comm/fault.h"
#include "comm/mpi_plugin.h"
#include "comm/transport.h"
#include <string.h>
#include <unistd.h>

const char *const ls_wire_names[] = {"f32", "bf16", "int8", NULL};
const char *const ls_transport_names[] = {"auto", "self", "threads", "shm", "mpi", "nccl", NULL};

static ls_transport choose_transport(void) {
    if (ls_comm_shm_is_offered()) return LS_TRANSPORT_SHM;
    if (ls_comm_mpi_launcher()) return LS_TRANSPORT_MPI;
    return LS_TRANSPORT_SELF;
}

ls_status ls_comm_check_transport(ls_transport transport) {
    if (transport == LS_TRANSPORT_THREADS)
        return LS_FAIL(
            LS_ERR_UNSUPPORTED,
            "transport threads was asked for: ranks that are threads of one process come from "
            "ls_comm_hub_create(); processes of one host use shm (`lockstep run -n R -- ...`)");
    if (transport == LS_TRANSPORT_NCCL)
        return LS_FAIL(
            LS_ERR_UNSUPPORTED,
            "transport nccl was asked for: it carries GPU memory only and this build's graph is on "
            "the CPU; use shm or mpi");
    return LS_OK;
}

ls_status ls_comm_refuse_fast(const char *transport, int n_ranks) {
    return LS_FAIL(LS_ERR_UNSUPPORTED,
                   "mode = fast: transport %s makes no sums of its own; use transport mpi "
                   "(mpirun -n %d lockstep train ...) or mode = exact",
                   transport, n_ranks);
}

static ls_status open_transport(const ls_comm_options *options, ls_comm **out) {
    const ls_transport asked = options->transport;
    LS_TRY(ls_comm_check_transport(asked));
    switch (asked == LS_TRANSPORT_AUTO ? choose_transport() : asked) {
    case LS_TRANSPORT_SELF:
        return ls_comm_open_self(out);
    case LS_TRANSPORT_SHM:
        return ls_comm_open_shm(options, out);
    case LS_TRANSPORT_MPI:
        return ls_comm_open_mpi(options, out);
    default:
        return LS_FAIL(LS_ERR_INVALID, "transport %d is unknown", (int)asked);
    }
}

ls_status ls_comm_open(const ls_comm_options *options, ls_comm **out) {
    const ls_comm_options defaults = {0};
    ls_comm *comm = NULL;
    LS_TRY(open_transport(options ? options : &defaults, &comm));
    const ls_status status = ls_comm_fault_wrap(&comm);
    if (status != LS_OK) {
        ls_comm_close(comm);
        return status;
    }
    *out = comm;
    return LS_OK;
}

void ls_comm_close(ls_comm *comm) {
    if (!comm) return;
    if (comm->page) comm->ops->memory_destroy(comm, comm->page);
    ls_free(comm->landing);
    comm->page = comm->landing = NULL;
    comm->ops->close(comm);
}

int ls_comm_rank(const ls_comm *comm) {
    return comm ? comm->rank : 0;
}

int ls_comm_size(const ls_comm *comm) {
    return comm ? comm->size : 1;
}

const char *ls_comm_transport(const ls_comm *comm) {
    return comm ? comm->ops->name : ls_transport_names[LS_TRANSPORT_SELF];
}

const char *ls_comm_host(const ls_comm *comm, int rank) {
    if (rank < 0 || rank >= ls_comm_size(comm)) return "";
    return comm && comm->hosts && comm->hosts[rank] ? comm->hosts[rank] : "localhost";
}

int ls_comm_hosts(const ls_comm *comm) {
    return comm ? comm->n_hosts : 1;
}

ls_status ls_comm_memory_create(ls_comm *comm, size_t bytes, void **out) {
    if (comm) return comm->ops->memory_create(comm, bytes, out);
    *out = ls_alloc(bytes);
    return *out ? LS_OK : LS_ERR_NO_MEMORY;
}

void ls_comm_memory_destroy(ls_comm *comm, void *memory) {
    if (!memory) return;
    if (comm)
        comm->ops->memory_destroy(comm, memory);
    else
        ls_free(memory);
}

ls_status ls_comm_memory_map(ls_comm *comm, int fd, size_t bytes, void **out) {
    if (comm && comm->ops->memory_map) return comm->ops->memory_map(comm, fd, bytes, out);
    return LS_FAIL(LS_ERR_UNSUPPORTED,
                   "transport %s cannot take over memory that outlives its process: use shm or mpi",
                   ls_comm_transport(comm));
}

ls_status ls_comm_check(ls_comm *comm) {
    return comm ? comm->ops->check(comm) : LS_OK;
}

void ls_comm_abort(ls_comm *comm, const char *reason) {
    if (comm) comm->ops->abort(comm, reason);
}

size_t ls_comm_piece_bytes(const ls_comm_part *part, int q) {
    const size_t before = (size_t)q * part->piece_bytes;
    if (before >= part->bytes) return 0;
    const size_t left = part->bytes - before;
    return left < part->piece_bytes ? left : part->piece_bytes;
}

size_t ls_comm_landing_bytes(const ls_comm_call *call, int size) {
    size_t bytes = 0;
    for (int i = 0; i < call->n_parts; i++)
        bytes += (size_t)size * ((call->parts[i].piece_bytes + 63) / 64 * 64);
    return bytes;
}
