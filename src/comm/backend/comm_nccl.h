/* GPUs, by NCCL: built with LS_CUDA, loaded (libnccl.so.2) when it is opened. */
#ifndef LS_COMM_NCCL_H
#define LS_COMM_NCCL_H
#include "comm/comm.h"
#include "device/device.h"

/* Joins the ranks of `bootstrap` (shm or mpi), one GPU each. Bytes travel between GPUs; what each rank does, and who failed, goes by
 * the bootstrap, which belongs to the new comm from then on. Memory is the device's. Collective. LS_ERR_UNSUPPORTED says what
 * to install. */
LS_API ls_status ls_comm_open_nccl(ls_comm *bootstrap, ls_device *device, ls_comm **out);

#endif
