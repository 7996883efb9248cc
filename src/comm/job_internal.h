#ifndef LS_COMM_JOB_INTERNAL_H
#define LS_COMM_JOB_INTERNAL_H
#include "comm/board.h"
#include "comm/job.h"

/* Maps the board behind a descriptor, which the job then owns. */
ls_status ls_job_map(int fd, int writable, ls_job **out);

#endif
