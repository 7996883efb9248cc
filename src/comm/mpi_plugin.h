/* Where MPI comes in: comm/backend/comm_mpi_open.c loads it when the environment asks for it. */
#ifndef LS_COMM_MPI_PLUGIN_H
#define LS_COMM_MPI_PLUGIN_H
#include "lockstep/comm.h"

/* Joins the run that mpirun or srun started. Collective. LS_ERR_UNSUPPORTED says what to install. */
ls_status ls_comm_open_mpi(const ls_comm_options *options, ls_comm **out);

#endif
