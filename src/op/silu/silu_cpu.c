#include "op/activation.h"
#include "op/tile.h"

static void silu_tile(const tile *t) {
    for (int64_t i = 0; i < t->n; i += V16_LANES) {
        v16_store_f32(t->out[0] + i, v16_silu(v16_load_f32(t->in[0] + i)));
    }
}

static void silu_grad_tile(const tile *t) {
    for (int64_t i = 0; i < t->n; i += V16_LANES) {
        const v16 x = v16_load_f32(t->in[0] + i);
        const v16 dy = v16_load_f32(t->in[1] + i);
        const v16 s = v16_sigmoid(x);
        v16_store_f32(t->out[0] + i, dy * (s * (1.0f + x * (1.0f - s))));
    }
}

static ls_tile_fn fwd_tile_of(const ls_sig *sig, int *n_tiled_out) {
    (void)sig;
    *n_tiled_out = 1;
    return silu_tile;
}

static ls_status launch_fwd(const ls_launch *launch) {
    return launch_tiles(launch, fwd_tile_of);
}

static ls_tile_fn bwd_tile_of(const ls_sig *sig, int *n_tiled_out) {
    (void)sig;
    *n_tiled_out = 2;
    return silu_grad_tile;
}

static ls_status launch_bwd(const ls_launch *launch) {
    return launch_tiles(launch, bwd_tile_of);
}

LS_CPU_KERNEL(silu_fwd) = {LS_CPU_KERNEL_HEAD("silu_fwd"), .refuses = ls_refuses_wide,
                           .launch = launch_fwd, .tile = fwd_tile_of};
LS_CPU_KERNEL(silu_bwd) = {LS_CPU_KERNEL_HEAD("silu_bwd"), .refuses = ls_refuses_wide,
                           .launch = launch_bwd, .tile = bwd_tile_of};
