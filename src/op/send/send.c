/* send: the start half of moving member `from`'s tensors to member `to`; op recv is the wait half. All members take part in both, so
 * that a missing one is noticed. MPI_Isend of MPI 4.0. */
#include "op/collective_room.h"

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    return ls_collective_infer_start(LS_COLLECTIVE_SEND, attr, n_in, in, n_out, out);
}

static const ls_kernel send_ref = {
    .name = "send_ref", .device = LS_DEVICE_CPU, .launch = ls_collective_copy_start};
static const ls_kernel *const kernels[] = {&send_ref, NULL};

const ls_op ls_op_send = {LS_COLLECTIVE_OP("send", infer, kernels)};
