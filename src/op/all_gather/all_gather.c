/* all_gather: every member gets all members' pieces, in member order. Bytes are copied as they are, or (sums
 * rounded to a wire format, between hosts) travel in it. MPI_Allgatherv of MPI 4.0. */
#include "op/collective_room.h"

static ls_status infer_start(const void *attr, int n_in, const ls_type *in, int *n_out,
                             ls_type *out) {
    return ls_collective_infer_start(LS_COLLECTIVE_ALL_GATHER, attr, n_in, in, n_out, out);
}

static ls_status infer_wait(const void *attr, int n_in, const ls_type *in, int *n_out,
                            ls_type *out) {
    return ls_collective_infer_wait(LS_COLLECTIVE_ALL_GATHER, attr, n_in, in, n_out, out);
}

static ls_status start_ref(const ls_launch *launch) {
    return ls_collective_gather_start(launch, &ls_wire_fns_ref);
}

static ls_status wait_ref(const ls_launch *launch) {
    return ls_collective_gather_wait(launch, &ls_wire_fns_ref);
}

LS_DECLARE_CPU_KERNELS(all_gather_start)
LS_DECLARE_CPU_KERNELS(all_gather_wait)
static const ls_kernel all_gather_start_ref = {
    .name = "all_gather_start_ref", .device = LS_DEVICE_CPU, .launch = start_ref};
static const ls_kernel all_gather_wait_ref = {.name = "all_gather_wait_ref",
                                              .device = LS_DEVICE_CPU,
                                              .workspace_bytes = ls_collective_wait_workspace,
                                              .launch = wait_ref};
static const ls_kernel *const start_kernels[] = {LS_CPU_KERNELS(all_gather_start),
                                                 &all_gather_start_ref, NULL};
static const ls_kernel *const wait_kernels[] = {LS_CPU_KERNELS(all_gather_wait),
                                                &all_gather_wait_ref, NULL};

const ls_op ls_op_all_gather_start = {
    LS_COLLECTIVE_OP("all_gather_start", infer_start, start_kernels)};
const ls_op ls_op_all_gather_wait = {LS_COLLECTIVE_OP("all_gather_wait", infer_wait, wait_kernels)};
