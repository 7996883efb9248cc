/* The mesh: one array of ranks, [pp][dp][ep][cp][tp], and the groups along its axes. */
#include "lockstep/plan.h"

const char *const ls_axis_names[] = {"pp", "dp", "ep", "cp", "tp", NULL};

int ls_mesh_axis(const ls_mesh *mesh, ls_axis axis) {
    const int sizes[LS_AXIS_COUNT] = {mesh->pp, mesh->dp, mesh->ep, mesh->cp, mesh->tp};
    return sizes[axis] > 1 ? sizes[axis] : 1;
}

/* Ranks between neighbours along the axis. */
static int stride_of(const ls_mesh *mesh, ls_axis axis) {
    int stride = 1;
    for (int a = LS_AXIS_COUNT - 1; a > (int)axis; a--) stride *= ls_mesh_axis(mesh, (ls_axis)a);
    return stride;
}

int ls_mesh_size(const ls_mesh *mesh) {
    return stride_of(mesh, LS_AXIS_PP) * ls_mesh_axis(mesh, LS_AXIS_PP);
}

int ls_mesh_index(const ls_mesh *mesh, ls_axis axis, int rank) {
    return rank / stride_of(mesh, axis) % ls_mesh_axis(mesh, axis);
}

void ls_mesh_group(const ls_mesh *mesh, ls_axis axis, int rank, int *ranks_out) {
    const int stride = stride_of(mesh, axis), n = ls_mesh_axis(mesh, axis);
    const int first = rank - ls_mesh_index(mesh, axis, rank) * stride;
    for (int i = 0; i < n; i++) ranks_out[i] = first + i * stride;
}
