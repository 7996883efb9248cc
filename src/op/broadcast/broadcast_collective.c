/* broadcast_start, broadcast_wait: every member gets member `from`'s tensors. Not the op broadcast, which repeats a tensor along a
 * dim. MPI_Bcast of MPI 4.0. */
#include "op/collective_room.h"

static ls_status infer_start(const void *attr, int n_in, const ls_type *in, int *n_out,
                             ls_type *out) {
    return ls_collective_infer_start(LS_COLLECTIVE_BROADCAST, attr, n_in, in, n_out, out);
}

static ls_status infer_wait(const void *attr, int n_in, const ls_type *in, int *n_out,
                            ls_type *out) {
    return ls_collective_infer_wait(LS_COLLECTIVE_BROADCAST, attr, n_in, in, n_out, out);
}

static const ls_kernel broadcast_start_ref = {
    .name = "broadcast_start_ref", .device = LS_DEVICE_CPU, .launch = ls_collective_copy_start};
static const ls_kernel broadcast_wait_ref = {.name = "broadcast_wait_ref",
                                             .device = LS_DEVICE_CPU,
                                             .workspace_bytes = ls_collective_wait_workspace,
                                             .launch = ls_collective_copy_wait};
static const ls_kernel *const start_kernels[] = {&broadcast_start_ref, NULL};
static const ls_kernel *const wait_kernels[] = {&broadcast_wait_ref, NULL};

const ls_op ls_op_broadcast_start = {
    LS_COLLECTIVE_OP("broadcast_start", infer_start, start_kernels)};
const ls_op ls_op_broadcast_wait = {LS_COLLECTIVE_OP("broadcast_wait", infer_wait, wait_kernels)};
