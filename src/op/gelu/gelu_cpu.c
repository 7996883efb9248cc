/* The tanh form's gradient by 1/2 (1 + tanh u) = sigmoid(2u): one exponential. Inside it x is held to |x| <= 30, where the function
 * is x or 0 to the last bit, so that x^3 cannot overflow. */
#include "op/activation.h"
#include "op/gelu/gelu.h"
#include "op/tile.h"

#define SQRT_2_OVER_PI 0.797884561f
#define SQRT_HALF      0.707106781f

V16_INLINE v16 tanh_gate(v16 x) {
    return v16_sigmoid(x * (2 * SQRT_2_OVER_PI) * (1.0f + 0.044715f * x * x));
}

static void tanh_tile(const tile *t) {
    for (int64_t i = 0; i < t->n; i += V16_LANES) {
        v16_store_f32(t->out[0] + i, v16_gelu_tanh(v16_load_f32(t->in[0] + i)));
    }
}

static void erf_tile(const tile *t) {
    for (int64_t i = 0; i < t->n; i += V16_LANES) {
        v16_store_f32(t->out[0] + i, v16_gelu_erf(v16_load_f32(t->in[0] + i)));
    }
}

static void tanh_grad_tile(const tile *t) {
    for (int64_t i = 0; i < t->n; i += V16_LANES) {
        const v16 x = v16_clamp(v16_load_f32(t->in[0] + i), -30, 30);
        const v16 dy = v16_load_f32(t->in[1] + i);
        const v16 gate = tanh_gate(x);
        const v16 du = (2 * SQRT_2_OVER_PI) * (1.0f + (3 * 0.044715f) * x * x);
        v16_store_f32(t->out[0] + i, dy * (gate + x * gate * (1.0f - gate) * du));
    }
}

static void erf_grad_tile(const tile *t) {
    for (int64_t i = 0; i < t->n; i += V16_LANES) {
        const v16 x = v16_clamp(v16_load_f32(t->in[0] + i), -30, 30);
        const v16 dy = v16_load_f32(t->in[1] + i);
        const v16 density = (0.5f * SQRT_2_OVER_PI) * v16_exp(-0.5f * x * x);
        v16_store_f32(t->out[0] + i, dy * (0.5f * (1.0f + v16_erf(x * SQRT_HALF)) + x * density));
    }
}

static int is_tanh(const ls_sig *sig) {
    return ((const ls_gelu_attr *)sig->attr)->tanh_form;
}

static ls_tile_fn fwd_tile_of(const ls_sig *sig, int *n_tiled_out) {
    *n_tiled_out = 1;
    return is_tanh(sig) ? tanh_tile : erf_tile;
}

static ls_tile_fn bwd_tile_of(const ls_sig *sig, int *n_tiled_out) {
    *n_tiled_out = 2;
    return is_tanh(sig) ? tanh_grad_tile : erf_grad_tile;
}

static ls_status launch_fwd(const ls_launch *launch) {
    return launch_tiles(launch, fwd_tile_of);
}

static ls_status launch_bwd(const ls_launch *launch) {
    return launch_tiles(launch, bwd_tile_of);
}

LS_CPU_KERNEL(gelu_fwd) = {LS_CPU_KERNEL_HEAD("gelu_fwd"), .refuses = ls_refuses_wide,
                           .launch = launch_fwd, .tile = fwd_tile_of};
LS_CPU_KERNEL(gelu_bwd) = {LS_CPU_KERNEL_HEAD("gelu_bwd"), .refuses = ls_refuses_wide,
                           .launch = launch_bwd, .tile = bwd_tile_of};
