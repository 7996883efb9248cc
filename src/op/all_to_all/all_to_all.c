/* all_to_all: every member gets from each member its piece for it; what a short piece lacks is zero. MPI_Alltoallv of MPI 4.0. */
#include "op/collective_room.h"

static ls_status infer_start(const void *attr, int n_in, const ls_type *in, int *n_out,
                             ls_type *out) {
    return ls_collective_infer_start(LS_COLLECTIVE_ALL_TO_ALL, attr, n_in, in, n_out, out);
}

static ls_status infer_wait(const void *attr, int n_in, const ls_type *in, int *n_out,
                            ls_type *out) {
    return ls_collective_infer_wait(LS_COLLECTIVE_ALL_TO_ALL, attr, n_in, in, n_out, out);
}

static const ls_kernel all_to_all_start_ref = {
    .name = "all_to_all_start_ref", .device = LS_DEVICE_CPU, .launch = ls_collective_copy_start};
static const ls_kernel all_to_all_wait_ref = {.name = "all_to_all_wait_ref",
                                              .device = LS_DEVICE_CPU,
                                              .workspace_bytes = ls_collective_wait_workspace,
                                              .launch = ls_collective_copy_wait};
static const ls_kernel *const start_kernels[] = {&all_to_all_start_ref, NULL};
static const ls_kernel *const wait_kernels[] = {&all_to_all_wait_ref, NULL};

const ls_op ls_op_all_to_all_start = {
    LS_COLLECTIVE_OP("all_to_all_start", infer_start, start_kernels)};
const ls_op ls_op_all_to_all_wait = {LS_COLLECTIVE_OP("all_to_all_wait", infer_wait, wait_kernels)};
