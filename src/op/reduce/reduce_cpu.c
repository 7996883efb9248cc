#include "op/reduce/reduce_tile.h"

static ls_status launch(const ls_launch *launch) {
    const ls_reduce_attr *a = launch->sig->attr;
    const ls_shape *x = &launch->in[0].shape;
    reduce_job job = {.x = &launch->in[0], .y = &launch->out[0], .partial = launch->workspace};
    job.kind = (ls_reduce_kind)a->kind;
    job.view = a->dim < 0 ? (ls_dim_view){1, ls_shape_count(x), 1} : ls_shape_around(x, a->dim);
    return run_reduce(launch->pool, &job);
}

LS_CPU_KERNEL(reduce_fwd) = {LS_CPU_KERNEL_HEAD("reduce_fwd"), .refuses = ls_refuses_wide,
                             .workspace_bytes = ls_reduce_workspace, .launch = launch};
