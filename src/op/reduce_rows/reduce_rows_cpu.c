#include "op/reduce/reduce_tile.h"
#include "op/reduce_rows/reduce_rows_view.h"

static ls_status launch(const ls_launch *launch) {
    reduce_job job = {.x = &launch->in[0],
                      .y = &launch->out[0],
                      .partial = launch->workspace,
                      .view = reduce_rows_view(launch->sig),
                      .kind = LS_REDUCE_SUM};
    return run_reduce(launch->pool, &job);
}

LS_CPU_KERNEL(reduce_rows_fwd) = {LS_CPU_KERNEL_HEAD("reduce_rows_fwd"), .refuses = ls_refuses_wide,
                                  .workspace_bytes = ls_reduce_rows_workspace, .launch = launch};
