/* The inside of the mpi transport.
 *
 * comm_mpi_open.c   which MPI started the process, and loading its plugin (comm/mpi_plugin.h)
 * comm_mpi_thread.c the one thread that makes MPI calls: jobs for it, and its sleep
 * comm_mpi_join.c   joining the run: who is where, the board, memory that the ranks of a host share
 * comm_mpi_p2p.c    calls between hosts, as messages
 * comm_mpi_peers.c  liveness between hosts: TCP beside MPI
 */
#ifndef LS_COMM_MPI_H
#define LS_COMM_MPI_H
#include "comm/mpi_plugin.h"

/* A loaded plugin; it stays loaded until the process ends, as MPI does. */
typedef struct ls_mpi_library {
    const ls_mpi_plugin *plugin;
    const char *launcher; /* "mpirun of Open MPI" */
} ls_mpi_library;

/* Finds and loads the plugin of the MPI that started the process. */
ls_status ls_mpi_load(ls_mpi_library *out);

#endif
