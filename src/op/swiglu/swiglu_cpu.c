/* Operands of bf16 go from memory to registers and back: a tile of f32 in between (op/tile.h), which a fused chain needs, costs as much as
 * the exponential. */
#include "op/simd_bf16.h"
#include "op/tile.h"

V16_INLINE v16 swiglu_of(v16 gate, v16 up) {
    return gate * v16_sigmoid(gate) * up;
}

typedef struct swiglu_grads {
    v16 gate, up;
} swiglu_grads;

V16_INLINE swiglu_grads swiglu_grads_of(v16 gate, v16 up, v16 dy) {
    const v16 s = v16_sigmoid(gate);
    return (swiglu_grads){dy * up * (s * (1.0f + gate * (1.0f - s))), dy * (gate * s)};
}

static void swiglu_tile(const tile *t) {
    for (int64_t i = 0; i < t->n; i += V16_LANES)
        v16_store_f32(t->out[0] + i,
                      swiglu_of(v16_load_f32(t->in[0] + i), v16_load_f32(t->in[1] + i)));
}

static void swiglu_grad_tile(const tile *t) {
    for (int64_t i = 0; i < t->n; i += V16_LANES) {
        const swiglu_grads d = swiglu_grads_of(
            v16_load_f32(t->in[0] + i), v16_load_f32(t->in[1] + i), v16_load_f32(t->in[2] + i));
        v16_store_f32(t->out[0] + i, d.gate);
        v16_store_f32(t->out[1] + i, d.up);
    }
}

enum { TASK_ELEMENTS = TILE_PER_TASK * TILE_ELEMENTS, AHEAD_BYTES = 1024 };

typedef struct bf16_run {
    const ls_launch *launch;
    int64_t count;
} bf16_run;

static int64_t task_end(const bf16_run *run, int64_t task) {
    const int64_t end = (task + 1) * TASK_ELEMENTS;
    return end < run->count ? end : run->count;
}

V16_INLINE v16 read_bf16(const ls_tensor *x, int64_t at, int64_t n) {
    __builtin_prefetch((const char *)x->data + 2 * at + AHEAD_BYTES);
    return v16_read_n(x->data, LS_DTYPE_BF16, at, n, 0);
}

V16_INLINE void write_bf16(const ls_tensor *y, int64_t at, v16 value, int64_t n) {
    v16_write_n(y->data, LS_DTYPE_BF16, at, value, n);
}

static ls_status run_fwd(void *user, int64_t task, int worker) {
    const bf16_run *run = user;
    const ls_tensor *in = run->launch->in, *out = run->launch->out;
    const int64_t end = task_end(run, task);
    (void)worker;
    for (int64_t i = task * TASK_ELEMENTS; i < end; i += V16_LANES) {
        const int64_t n = end - i < V16_LANES ? end - i : V16_LANES;
        write_bf16(&out[0], i, swiglu_of(read_bf16(&in[0], i, n), read_bf16(&in[1], i, n)), n);
    }
    return LS_OK;
}

static ls_status run_bwd(void *user, int64_t task, int worker) {
    const bf16_run *run = user;
    const ls_tensor *in = run->launch->in, *out = run->launch->out;
    const int64_t end = task_end(run, task);
    (void)worker;
    for (int64_t i = task * TASK_ELEMENTS; i < end; i += V16_LANES) {
        const int64_t n = end - i < V16_LANES ? end - i : V16_LANES;
        const swiglu_grads d = swiglu_grads_of(read_bf16(&in[0], i, n), read_bf16(&in[1], i, n),
                                               read_bf16(&in[2], i, n));
        write_bf16(&out[0], i, d.gate, n);
        write_bf16(&out[1], i, d.up, n);
    }
    return LS_OK;
}

static int is_bf16(const ls_sig *sig) {
    int all = 1;
    for (int i = 0; i < sig->n_in; i++) all &= sig->in[i].dtype == LS_DTYPE_BF16;
    for (int i = 0; i < sig->n_out; i++) all &= sig->out[i].dtype == LS_DTYPE_BF16;
    return all;
}

static ls_status launch_bf16(const ls_launch *launch, ls_task_fn fn) {
    bf16_run run = {launch, ls_type_count(&launch->sig->out[0])};
    return ls_pool_run(launch->pool, (run.count + TASK_ELEMENTS - 1) / TASK_ELEMENTS, fn, &run);
}

static ls_tile_fn fwd_tile_of(const ls_sig *sig, int *n_tiled_out) {
    (void)sig;
    *n_tiled_out = 2;
    return swiglu_tile;
}

static ls_status launch_fwd(const ls_launch *launch) {
    return is_bf16(launch->sig) ? launch_bf16(launch, run_fwd) : launch_tiles(launch, fwd_tile_of);
}

static ls_tile_fn bwd_tile_of(const ls_sig *sig, int *n_tiled_out) {
    (void)sig;
    *n_tiled_out = 3;
    return swiglu_grad_tile;
}

static ls_status launch_bwd(const ls_launch *launch) {
    return is_bf16(launch->sig) ? launch_bf16(launch, run_bwd) : launch_tiles(launch, bwd_tile_of);
}

LS_CPU_KERNEL(swiglu_fwd) = {LS_CPU_KERNEL_HEAD("swiglu_fwd"), .refuses = ls_refuses_wide,
                             .launch = launch_fwd, .tile = fwd_tile_of};
LS_CPU_KERNEL(swiglu_bwd) = {LS_CPU_KERNEL_HEAD("swiglu_bwd"), .refuses = ls_refuses_wide,
                             .launch = launch_bwd, .tile = bwd_tile_of};
