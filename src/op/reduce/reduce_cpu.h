/* Reduction of x [outer, n, inner] along n on the CPU: shared by reduce and reduce_rows.
 *
 * n is cut into canonical blocks: of REDUCE_LINE elements where inner is 1, of REDUCE_ROWS rows otherwise. A block is reduced by one
 * task in a fixed order; with more than one block the f32 partial results lie in the workspace as [outer, blocks, inner] and are
 * combined by a binary tree over the block index. Local. */
#ifndef LS_OP_REDUCE_CPU_H
#define LS_OP_REDUCE_CPU_H
#include "op/copy.h"
#include "op/reduce/reduce.h"

enum { REDUCE_LINE = 4096, REDUCE_ROWS = 64 };

static inline int64_t ls_reduce_blocks(const ls_dim_view *v) {
    const int64_t size = v->inner == 1 ? REDUCE_LINE : REDUCE_ROWS;
    return (v->n + size - 1) / size;
}

/* Workspace of a reduction; 0 where one block is enough. */
static inline size_t ls_reduce_partial_bytes(const ls_dim_view *v) {
    const int64_t blocks = ls_reduce_blocks(v);
    return blocks <= 1 ? 0 : (size_t)(v->outer * blocks * v->inner) * sizeof(float);
}

size_t ls_reduce_workspace(const ls_sig *sig, int n_threads);

#endif
