/* reduce_scatter: member q gets piece q of the sum over members, added in the order of the member tree, each node rounded to the wire
 * format; on several hosts, pieces travel in it. MPI_Reduce_scatter of MPI 4.0. */
#include "op/collective_room.h"

static ls_status infer_start(const void *attr, int n_in, const ls_type *in, int *n_out,
                             ls_type *out) {
    return ls_collective_infer_start(LS_COLLECTIVE_REDUCE_SCATTER, attr, n_in, in, n_out, out);
}

static ls_status infer_wait(const void *attr, int n_in, const ls_type *in, int *n_out,
                            ls_type *out) {
    return ls_collective_infer_wait(LS_COLLECTIVE_REDUCE_SCATTER, attr, n_in, in, n_out, out);
}

static ls_status start_ref(const ls_launch *launch) {
    return ls_collective_sum_start(launch, &ls_wire_fns_ref);
}

static ls_status wait_ref(const ls_launch *launch) {
    return ls_collective_sum_wait(launch, &ls_wire_fns_ref);
}

LS_DECLARE_CPU_KERNELS(reduce_scatter_start)
LS_DECLARE_CPU_KERNELS(reduce_scatter_wait)
static const ls_kernel reduce_scatter_start_ref = {
    .name = "reduce_scatter_start_ref", .device = LS_DEVICE_CPU, .launch = start_ref};
static const ls_kernel reduce_scatter_wait_ref = {.name = "reduce_scatter_wait_ref",
                                                  .device = LS_DEVICE_CPU,
                                                  .workspace_bytes = ls_collective_wait_workspace,
                                                  .launch = wait_ref};
static const ls_kernel *const start_kernels[] = {LS_CPU_KERNELS(reduce_scatter_start),
                                                 &reduce_scatter_start_ref, NULL};
static const ls_kernel *const wait_kernels[] = {LS_CPU_KERNELS(reduce_scatter_wait),
                                                &reduce_scatter_wait_ref, NULL};

const ls_op ls_op_reduce_scatter_start = {
    LS_COLLECTIVE_OP("reduce_scatter_start", infer_start, start_kernels), .flags = LS_OP_KEEP_F32};
const ls_op ls_op_reduce_scatter_wait = {
    LS_COLLECTIVE_OP("reduce_scatter_wait", infer_wait, wait_kernels), .flags = LS_OP_KEEP_F32};
