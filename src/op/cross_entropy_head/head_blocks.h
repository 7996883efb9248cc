/* The blocks of cross_entropy_head; inside the room. With `reference` every part is a reference kernel and all rows are one block. */
#ifndef LS_OP_HEAD_BLOCKS_H
#define LS_OP_HEAD_BLOCKS_H
#include "graph/op.h"

size_t ls_head_workspace(const ls_sig *sig, int reference, int n_threads);
ls_status ls_head_launch(const ls_launch *launch, int reference);

#endif
