/* recv: the wait half of op send. Member `to` gets the tensors, the others zeros. MPI_Recv of MPI 4.0. */
#include "op/collective_room.h"

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    return ls_collective_infer_wait(LS_COLLECTIVE_SEND, attr, n_in, in, n_out, out);
}

static const ls_kernel recv_ref = {.name = "recv_ref",
                                   .device = LS_DEVICE_CPU,
                                   .workspace_bytes = ls_collective_wait_workspace,
                                   .launch = ls_collective_copy_wait};
static const ls_kernel *const kernels[] = {&recv_ref, NULL};

const ls_op ls_op_recv = {LS_COLLECTIVE_OP("recv", infer, kernels)};
