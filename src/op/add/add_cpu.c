#include "op/tile.h"

static void add_tile(const tile *t) {
    for (int64_t i = 0; i < t->n; i += V16_LANES)
        v16_store_f32(t->out[0] + i, v16_load_f32(t->in[0] + i) + v16_load_f32(t->in[1] + i));
}

static ls_tile_fn tile_of(const ls_sig *sig, int *n_tiled_out) {
    (void)sig;
    *n_tiled_out = 2;
    return add_tile;
}

static ls_status launch(const ls_launch *launch) {
    return launch_tiles(launch, tile_of);
}

LS_CPU_KERNEL(add_fwd) = {LS_CPU_KERNEL_HEAD("add_fwd"), .refuses = ls_refuses_wide,
                          .launch = launch, .tile = tile_of};
