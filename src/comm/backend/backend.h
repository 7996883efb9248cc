/* How each built-in transport is opened. */
#ifndef LS_COMM_BACKEND_BACKEND_H
#define LS_COMM_BACKEND_BACKEND_H
#include "lockstep/comm.h"

ls_status ls_comm_open_self(ls_comm **out);

/* Processes of one host: the board's descriptor and the rank come from `lockstep run` by the environment. */
int ls_comm_shm_is_offered(void);
ls_status ls_comm_open_shm(const ls_comm_options *options, ls_comm **out);

#endif
