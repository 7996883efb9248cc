#include "op/tile.h"

static void mul_tile(const tile *t) {
    for (int64_t i = 0; i < t->n; i += V16_LANES)
        v16_store_f32(t->out[0] + i, v16_load_f32(t->in[0] + i) * v16_load_f32(t->in[1] + i));
}

static void mul_scalar_tile(const tile *t) {
    const v16 b = v16_set(read_scalar(&t->launch->in[1], 0));
    for (int64_t i = 0; i < t->n; i += V16_LANES)
        v16_store_f32(t->out[0] + i, v16_load_f32(t->in[0] + i) * b);
}

static ls_tile_fn tile_of(const ls_sig *sig, int *n_tiled_out) {
    const int scalar = sig->in[1].shape.n_dims == 0;
    *n_tiled_out = scalar ? 1 : 2;
    return scalar ? mul_scalar_tile : mul_tile;
}

static ls_status launch(const ls_launch *launch) {
    return launch_tiles(launch, tile_of);
}

LS_CPU_KERNEL(mul_fwd) = {LS_CPU_KERNEL_HEAD("mul_fwd"), .refuses = ls_refuses_wide,
                          .launch = launch, .tile = tile_of};
