/* Parallel copies for the ops that only move data (slice, concat, broadcast, reshape, gather). Any dtype: bytes. Local. */
#ifndef LS_OP_COPY_H
#define LS_OP_COPY_H
#include "graph/op.h"

/* Block i of `block_bytes` goes from src + i * src_step to dst + i * dst_step; steps may be 0 for the source. */
typedef struct ls_block_copy {
    void *dst;
    const void *src; /* NULL: zeros are written */
    size_t block_bytes;
    int64_t n_blocks, dst_step, src_step; /* steps in bytes */
} ls_block_copy;

LS_API ls_status ls_copy_blocks(ls_pool *pool, const ls_block_copy *copy);

/* x seen as [outer, n, inner] around one dim. */
typedef struct ls_dim_view {
    int64_t outer, n, inner;
} ls_dim_view;
LS_API ls_dim_view ls_shape_around(const ls_shape *shape, int dim);
/* Checks 0 <= dim < n_dims of the type. */
LS_API ls_status ls_infer_dim(const char *op, const ls_type *type, int64_t dim);

/* Sharding of ops that work inside `dim` only: any other dim may be split. */
LS_API ls_status ls_shard_around(const ls_sig *sig, int dim, const int *in_split, int *out_split);

#endif
