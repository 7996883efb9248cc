/* Where MPI comes in. The program links no MPI: comm/backend/comm_mpi.c is compiled once against each MPI into a plugin
 * (liblockstep_mpi_openmpi.so, liblockstep_mpi_mpich.so) that hides what differs between their ABIs behind the table below and
 * needs nothing of the library; comm/backend/comm_mpi_open.c loads the one whose launcher started the process.
 *
 * The table is called by one thread, the one that called init(). Functions return 0, or -1 after writing a sentence that error()
 * gives. */
#ifndef LS_COMM_MPI_PLUGIN_H
#define LS_COMM_MPI_PLUGIN_H
#include "lockstep/comm.h"

/* Joins the run that mpirun or srun started. Collective. LS_ERR_UNSUPPORTED says what to install. */
ls_status ls_comm_open_mpi(const ls_comm_options *options, ls_comm **out);
/* Did an MPI launcher start this process? Its name ("mpirun of Open MPI"), or NULL. Local. */
LS_API const char *ls_comm_mpi_launcher(void);

enum { LS_MPI_PLUGIN_VERSION = 1 };

/* Room for an MPI_Request or an MPI_Win of either MPI; all zero is none. */
typedef struct ls_mpi_handle {
    uint64_t bits;
} ls_mpi_handle;

typedef struct ls_mpi_place {
    int rank, size;
    int host_rank, host_size; /* among the ranks that can share memory with me */
    int leader;               /* the first of those, as a rank of all */
} ls_mpi_place;

typedef struct ls_mpi_plugin {
    int version;        /* LS_MPI_PLUGIN_VERSION */
    size_t world_bytes; /* zeroed memory for `world`, 16-byte aligned; the caller's */
    const char *name;   /* "Open MPI" */
    /* MPI_Finalize may hang between hosts, and the launcher does not mind when it is left out (MPICH 4.0 over UCX over TCP: a
     * program that does nothing but talk and finalize shows it). */
    int hangs_at_end;
    int (*init)(void *world, ls_mpi_place *out);
    const char *(*error)(void *world);
    int (*all_gather)(void *world, const void *mine, size_t bytes, void *all_out);
    /* Memory that the ranks of this host share, at least `bytes` of it mine; bases_out[host_rank]. Collective over the host.
     * Not zeroed, not aligned. */
    int (*window_create)(void *world, size_t bytes, ls_mpi_handle *window_out, void **bases_out);
    int (*window_destroy)(void *world, ls_mpi_handle *window); /* collective over the host */
    /* At most 1 GiB. Messages of one pair and tag stay in order. */
    int (*send)(void *world, const void *data, size_t bytes, int peer, int tag,
                ls_mpi_handle *request_out);
    int (*recv)(void *world, void *data, size_t bytes, int peer, int tag,
                ls_mpi_handle *request_out);
    int (*test)(void *world, ls_mpi_handle *request, int *done_out);
    int (*all_reduce_f32)(void *world, float *data, int64_t count); /* in place */
    int (*finalize)(void *world);                                   /* collective */
} ls_mpi_plugin;

/* The one symbol of a plugin. */
#define LS_MPI_PLUGIN_SYMBOL "ls_mpi_plugin_table"
extern LS_API const ls_mpi_plugin ls_mpi_plugin_table;

#endif
