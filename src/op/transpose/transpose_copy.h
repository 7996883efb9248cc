/* The blocked kernel of transpose; inside the room. */
#ifndef LS_OP_TRANSPOSE_COPY_H
#define LS_OP_TRANSPOSE_COPY_H
#include "graph/op.h"

ls_status ls_transpose_tiles(const ls_launch *launch);

#endif
