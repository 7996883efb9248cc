/* What the kernels of cross_entropy share; inside the room. */
#ifndef LS_OP_CROSS_ENTROPY_ROWS_H
#define LS_OP_CROSS_ENTROPY_ROWS_H
#include "graph/op.h"

/* LS_ERR_DATA for a target that is neither a class nor ignored. */
ls_status ls_cross_entropy_check(const ls_launch *launch);
/* loss_sum and count from the row losses and the targets. */
void ls_cross_entropy_finish(const ls_launch *launch);

#endif
