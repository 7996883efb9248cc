#include "op/tile.h"

static void relu_tile(const tile *t) {
    for (int64_t i = 0; i < t->n; i += V16_LANES) {
        const v16 x = v16_load_f32(t->in[0] + i);
        v16_store_f32(t->out[0] + i, v16_select(v16_ge(v16_set(0), x), v16_set(0), x));
    }
}

static void relu_grad_tile(const tile *t) {
    for (int64_t i = 0; i < t->n; i += V16_LANES) {
        const v16 x = v16_load_f32(t->in[0] + i);
        const v16 dy = v16_load_f32(t->in[1] + i);
        v16_store_f32(t->out[0] + i, v16_select(v16_ge(v16_set(0), x), v16_set(0), dy));
    }
}

static ls_tile_fn fwd_tile_of(const ls_sig *sig, int *n_tiled_out) {
    (void)sig;
    *n_tiled_out = 1;
    return relu_tile;
}

static ls_status launch_fwd(const ls_launch *launch) {
    return launch_tiles(launch, fwd_tile_of);
}

static ls_tile_fn bwd_tile_of(const ls_sig *sig, int *n_tiled_out) {
    (void)sig;
    *n_tiled_out = 2;
    return relu_grad_tile;
}

static ls_status launch_bwd(const ls_launch *launch) {
    return launch_tiles(launch, bwd_tile_of);
}

LS_CPU_KERNEL(relu_fwd) = {LS_CPU_KERNEL_HEAD("relu_fwd"), .refuses = ls_refuses_wide,
                           .launch = launch_fwd, .tile = fwd_tile_of};
LS_CPU_KERNEL(relu_bwd) = {LS_CPU_KERNEL_HEAD("relu_bwd"), .refuses = ls_refuses_wide,
                           .launch = launch_bwd, .tile = bwd_tile_of};
