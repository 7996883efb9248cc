/* What can be said against a transport before a process is a rank. Local. */
#ifndef LS_COMM_TRANSPORT_H
#define LS_COMM_TRANSPORT_H
#include "lockstep/comm.h"

/* Refuses what ls_comm_open refuses however the process was started. */
ls_status ls_comm_check_transport(ls_transport transport);
/* mode = fast on a transport without sums of its own. */
ls_status ls_comm_refuse_fast(const char *transport, int n_ranks);

#endif
