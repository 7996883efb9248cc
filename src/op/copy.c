#include "op/copy.h"

#include <string.h>

enum { COPY_TASK_BYTES = 1 << 17 };

typedef struct copy_job {
    const ls_block_copy *copy;
    int64_t blocks_per_task; /* 0: a block is cut into tasks */
    int64_t tasks_per_block;
} copy_job;

static void copy_part(const ls_block_copy *copy, int64_t block, size_t from, size_t bytes) {
    char *dst = (char *)copy->dst + block * copy->dst_step + (int64_t)from;
    if (copy->src)
        memmove(dst, (const char *)copy->src + block * copy->src_step + (int64_t)from, bytes);
    else
        memset(dst, 0, bytes);
}

static ls_status run_copy(void *user, int64_t task, int worker) {
    const copy_job *job = user;
    const ls_block_copy *copy = job->copy;
    (void)worker;
    if (job->blocks_per_task == 0) {
        const size_t from = (size_t)(task % job->tasks_per_block) * COPY_TASK_BYTES;
        const size_t left = copy->block_bytes - from;
        copy_part(copy, task / job->tasks_per_block, from,
                  left < COPY_TASK_BYTES ? left : COPY_TASK_BYTES);
        return LS_OK;
    }
    const int64_t begin = task * job->blocks_per_task, end = begin + job->blocks_per_task;
    for (int64_t i = begin; i < end && i < copy->n_blocks; i++)
        copy_part(copy, i, 0, copy->block_bytes);
    return LS_OK;
}

ls_status ls_copy_blocks(ls_pool *pool, const ls_block_copy *copy) {
    if (copy->block_bytes == 0 || copy->n_blocks == 0) return LS_OK;
    copy_job job = {.copy = copy};
    if (copy->block_bytes > COPY_TASK_BYTES) {
        job.tasks_per_block =
            (int64_t)((copy->block_bytes + COPY_TASK_BYTES - 1) / COPY_TASK_BYTES);
        return ls_pool_run(pool, copy->n_blocks * job.tasks_per_block, run_copy, &job);
    }
    job.blocks_per_task = (int64_t)(COPY_TASK_BYTES / copy->block_bytes);
    return ls_pool_run(pool, (copy->n_blocks + job.blocks_per_task - 1) / job.blocks_per_task,
                       run_copy, &job);
}

ls_dim_view ls_shape_around(const ls_shape *shape, int dim) {
    ls_dim_view view = {1, shape->dims[dim], 1};
    for (int i = 0; i < dim; i++) view.outer *= shape->dims[i];
    for (int i = dim + 1; i < shape->n_dims; i++) view.inner *= shape->dims[i];
    return view;
}

ls_status ls_infer_dim(const char *op, const ls_type *type, int64_t dim) {
    char shape[128];
    if (dim >= 0 && dim < type->shape.n_dims) return LS_OK;
    return LS_FAIL(LS_ERR_INVALID, "op %s: dim must be 0 to %d for shape %s, got %lld", op,
                   type->shape.n_dims - 1, ls_shape_print(&type->shape, shape), (long long)dim);
}

ls_status ls_shard_around(const ls_sig *sig, int dim, const int *in_split, int *out_split) {
    if (in_split[0] == dim)
        return LS_FAIL(LS_ERR_UNSUPPORTED, "op %s: works inside dim %d, which must not be split",
                       sig->op->name, dim);
    return ls_shard_elementwise(sig, in_split, out_split);
}
