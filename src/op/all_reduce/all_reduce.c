/* all_reduce: every member reads everybody's whole tensors and adds them in the order of the member tree, so that all have the same
 * bits: n operands read for one written, good for small tensors. fast: the transport's own sum. MPI_Allreduce of MPI 4.0. */
#include "op/collective_room.h"

static ls_status infer_start(const void *attr, int n_in, const ls_type *in, int *n_out,
                             ls_type *out) {
    return ls_collective_infer_start(LS_COLLECTIVE_ALL_REDUCE, attr, n_in, in, n_out, out);
}

static ls_status infer_wait(const void *attr, int n_in, const ls_type *in, int *n_out,
                            ls_type *out) {
    return ls_collective_infer_wait(LS_COLLECTIVE_ALL_REDUCE, attr, n_in, in, n_out, out);
}

static ls_status start_ref(const ls_launch *launch) {
    return ls_collective_sum_start(launch, &ls_wire_fns_ref);
}

static ls_status wait_ref(const ls_launch *launch) {
    return ls_collective_sum_wait(launch, &ls_wire_fns_ref);
}

LS_DECLARE_CPU_KERNELS(all_reduce_start)
LS_DECLARE_CPU_KERNELS(all_reduce_wait)
static const ls_kernel all_reduce_start_ref = {
    .name = "all_reduce_start_ref", .device = LS_DEVICE_CPU, .launch = start_ref};
static const ls_kernel all_reduce_wait_ref = {.name = "all_reduce_wait_ref",
                                              .device = LS_DEVICE_CPU,
                                              .workspace_bytes = ls_collective_wait_workspace,
                                              .launch = wait_ref};
static const ls_kernel *const start_kernels[] = {LS_CPU_KERNELS(all_reduce_start),
                                                 &all_reduce_start_ref, NULL};
static const ls_kernel *const wait_kernels[] = {LS_CPU_KERNELS(all_reduce_wait),
                                                &all_reduce_wait_ref, NULL};

const ls_op ls_op_all_reduce_start = {
    LS_COLLECTIVE_OP("all_reduce_start", infer_start, start_kernels), .flags = LS_OP_KEEP_F32};
const ls_op ls_op_all_reduce_wait = {LS_COLLECTIVE_OP("all_reduce_wait", infer_wait, wait_kernels),
                                     .flags = LS_OP_KEEP_F32};
