#include "op/collective_room.h"

extern const ls_wire_fns LS_PASTE(ls_wire_, fns, LS_KERNEL_ISA);

static ls_status start(const ls_launch *launch) {
    return ls_collective_gather_start(launch, &LS_PASTE(ls_wire_, fns, LS_KERNEL_ISA));
}

static ls_status wait_and_place(const ls_launch *launch) {
    return ls_collective_gather_wait(launch, &LS_PASTE(ls_wire_, fns, LS_KERNEL_ISA));
}

LS_CPU_KERNEL(all_gather_start) = {LS_CPU_KERNEL_HEAD("all_gather_start"), .launch = start};
LS_CPU_KERNEL(all_gather_wait) = {LS_CPU_KERNEL_HEAD("all_gather_wait"),
                                  .workspace_bytes = ls_collective_wait_workspace,
                                  .launch = wait_and_place};
