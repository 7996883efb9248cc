/* Communication: how the ranks of one run find each other, and what travels between them in which format.
 *
 * A run is one process a rank (`lockstep run -n R`, mpirun, srun), or R threads of one process (ls_comm_hub, for tests and
 * for embedding). Every rank opens one ls_comm and hands it to ls_train. In exact mode a transport moves bytes and
 * never adds; sums are made by graph ops in the order of the lane tree.
 * Thread-safety: an ls_comm belongs to its rank's thread. Collective or Local is said at each function. */
#ifndef LOCKSTEP_COMM_H
#define LOCKSTEP_COMM_H
#include "lockstep/status.h"
#include <stddef.h>
#include <stdint.h>

typedef struct ls_comm ls_comm;

/* Format of gradients on the way between ranks. Every node of the lane tree is rounded to it, whether or not it crosses a
 * wire, so that the result does not depend on the number of ranks. */
typedef enum ls_wire {
    LS_WIRE_F32,
    LS_WIRE_BF16, /* rounded to nearest even */
    LS_WIRE_INT8, /* blocks of 32 int8 with one power-of-two scale, after MXINT8 of the OCP Microscaling Formats
                     specification 1.0; NaN or infinity in a block makes the whole block NaN */
    LS_WIRE_COUNT
} ls_wire;
extern LS_API const char *const ls_wire_names[]; /* "f32", "bf16", "int8", NULL */

typedef enum ls_transport {
    LS_TRANSPORT_AUTO, /* what the environment of the process asks for: mpi under mpirun or srun, shm under
                           * `lockstep run`, otherwise self */
    LS_TRANSPORT_SELF,    /* one rank alone */
    LS_TRANSPORT_THREADS, /* ranks as threads of one process; opened with ls_comm_hub only */
    LS_TRANSPORT_SHM,     /* processes of one host, started by `lockstep run` */
    LS_TRANSPORT_MPI,     /* Open MPI or MPICH, whichever started the process */
    LS_TRANSPORT_NCCL,    /* GPUs; bootstrapped by shm or mpi */
    LS_TRANSPORT_COUNT
} ls_transport;
extern LS_API const char *const ls_transport_names[]; /* "auto", "self", ..., NULL */

typedef struct ls_comm_options {
    ls_transport transport;
    double
        late_seconds; /* a rank that is alive but does not arrive for so long ends the run; 0 = the default, 60 */
    int quiet; /* no warnings about ranks that are late but not yet too late */
} ls_comm_options;

/* Joins the run that the environment describes. Collective over all its ranks. LS_ERR_UNSUPPORTED names what to install or
 * how to start when the transport cannot be had. */
LS_API ls_status ls_comm_open(const ls_comm_options *options, ls_comm **out);
/* Leaves. Collective in the good case; a rank that failed may leave alone. NULL is fine. */
LS_API void ls_comm_close(ls_comm *comm);

/* Local. A NULL comm is one rank alone. */
LS_API int ls_comm_rank(const ls_comm *comm);
LS_API int ls_comm_size(const ls_comm *comm);
LS_API const char *ls_comm_transport(const ls_comm *comm); /* "shm" */
LS_API const char *ls_comm_host(const ls_comm *comm, int rank);
LS_API int ls_comm_hosts(const ls_comm *comm); /* how many hosts the ranks are on */

/* Ranks as threads of one process: create once, give each thread its rank's comm (belongs to the hub). */
typedef struct ls_comm_hub ls_comm_hub;
LS_API ls_status ls_comm_hub_create(int size, const ls_comm_options *options, ls_comm_hub **out);
LS_API void ls_comm_hub_destroy(ls_comm_hub *hub); /* NULL is fine */
LS_API ls_comm *ls_comm_hub_rank(ls_comm_hub *hub, int rank);

/* Every rank gives `bytes` (at most 4096, equal on all) and gets everybody's, in rank order. Collective. `what` names it in
 * messages and must be the same everywhere. */
LS_API ls_status ls_comm_exchange(ls_comm *comm, const char *what, const void *mine, size_t bytes,
                                  void *all_out);
/* Decisions that can fail are taken together: LS_OK only when every rank passes LS_OK. Otherwise all ranks fail alike, and the
 * message names the first failed rank and its reason. Collective. */
LS_API ls_status ls_comm_agree(ls_comm *comm, const char *what, ls_status mine);
/* Tells the others that this rank gives up and why (a short sentence). Local; they fail with LS_ERR_COMM at their next look. */
LS_API void ls_comm_abort(ls_comm *comm, const char *reason);

#endif
