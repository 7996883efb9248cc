#include "op/collective_room.h"

extern const ls_wire_fns LS_PASTE(ls_wire_, fns, LS_KERNEL_ISA);

static ls_status start(const ls_launch *launch) {
    return ls_collective_sum_start(launch, &LS_PASTE(ls_wire_, fns, LS_KERNEL_ISA));
}

static ls_status wait_and_sum(const ls_launch *launch) {
    return ls_collective_sum_wait(launch, &LS_PASTE(ls_wire_, fns, LS_KERNEL_ISA));
}

LS_CPU_KERNEL(all_reduce_start) = {LS_CPU_KERNEL_HEAD("all_reduce_start"), .launch = start};
LS_CPU_KERNEL(all_reduce_wait) = {LS_CPU_KERNEL_HEAD("all_reduce_wait"),
                                  .workspace_bytes = ls_collective_wait_workspace,
                                  .launch = wait_and_sum};
