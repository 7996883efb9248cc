#include "op/tile.h"

static void swiglu_tile(const tile *t) {
    for (int64_t i = 0; i < t->n; i += V16_LANES) {
        const v16 gate = v16_load_f32(t->in[0] + i), up = v16_load_f32(t->in[1] + i);
        v16_store_f32(t->out[0] + i, gate * v16_sigmoid(gate) * up);
    }
}

static void swiglu_grad_tile(const tile *t) {
    for (int64_t i = 0; i < t->n; i += V16_LANES) {
        const v16 gate = v16_load_f32(t->in[0] + i), up = v16_load_f32(t->in[1] + i);
        const v16 dy = v16_load_f32(t->in[2] + i);
        const v16 s = v16_sigmoid(gate);
        v16_store_f32(t->out[0] + i, dy * up * (s * (1.0f + gate * (1.0f - s))));
        v16_store_f32(t->out[1] + i, dy * (gate * s));
    }
}

static ls_tile_fn fwd_tile_of(const ls_sig *sig, int *n_tiled_out) {
    (void)sig;
    *n_tiled_out = 2;
    return swiglu_tile;
}

static ls_status launch_fwd(const ls_launch *launch) {
    return launch_tiles(launch, fwd_tile_of);
}

static ls_tile_fn bwd_tile_of(const ls_sig *sig, int *n_tiled_out) {
    (void)sig;
    *n_tiled_out = 3;
    return swiglu_grad_tile;
}

static ls_status launch_bwd(const ls_launch *launch) {
    return launch_tiles(launch, bwd_tile_of);
}

LS_CPU_KERNEL(swiglu_fwd) = {LS_CPU_KERNEL_HEAD("swiglu_fwd"), .refuses = ls_refuses_wide,
                             .launch = launch_fwd, .tile = fwd_tile_of};
LS_CPU_KERNEL(swiglu_bwd) = {LS_CPU_KERNEL_HEAD("swiglu_bwd"), .refuses = ls_refuses_wide,
                             .launch = launch_bwd, .tile = bwd_tile_of};
