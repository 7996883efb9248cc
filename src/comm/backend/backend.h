/* How each built-in transport is opened. */
#ifndef LS_COMM_BACKEND_BACKEND_H
#define LS_COMM_BACKEND_BACKEND_H
#include "comm/shared.h"

ls_status ls_comm_open_self(ls_comm **out);

/* Memory that is a memfd, which peers map through /proc/PID/fd: shm's own, and of every transport's processes when the descriptor is given
 * (block->fd). As in ls_shared_memory. */
ls_status ls_memfd_block_create(ls_shared *shared, ls_shared_block *block);
void ls_memfd_block_destroy(ls_shared *shared, ls_shared_block *block);

/* Processes of one host: the board's descriptor and the rank come from `lockstep run` by the environment. */
int ls_comm_shm_is_offered(void);
ls_status ls_comm_open_shm(const ls_comm_options *options, ls_comm **out);

#endif
