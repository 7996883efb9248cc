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

static ls_status launch(const ls_launch *launch) {
    if (launch->sig->in[1].shape.n_dims == 0) return run_tiles(launch, 1, mul_scalar_tile);
    return run_tiles(launch, 2, mul_tile);
}

LS_CPU_KERNEL(mul_fwd) = {LS_CPU_KERNEL_HEAD("mul_fwd"), .refuses = ls_refuses_wide,
                          .launch = launch};
