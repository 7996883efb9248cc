/* The vector loop of the optimizer steps, for their *_cpu.c files only. Sixteen elements at a time with padded tails, so that an
 * element's result does not depend on where it stands: a parameter split over ranks keeps its bits. */
#ifndef LS_OP_OPTIM_STEP_CPU_H
#define LS_OP_OPTIM_STEP_CPU_H
#include "op/cpu_kernel.h"
#include "op/elementwise.h"
#include "op/optim_step.h"
#include "op/simd.h"

typedef double v16d __attribute__((vector_size(128)));

typedef struct step_vector {
    v16 param, grad; /* grad comes scaled */
    v16 state[LS_STEP_MAX_STATES];
} step_vector;
typedef void (*step_vector_fn)(const void *coefficients, step_vector *x);

V16_INLINE void step_load(const ls_step_block *b, int64_t at, int n_states, step_vector *x) {
    const int64_t n = b->count - at;
    const int whole = n >= V16_LANES;
    x->param = whole ? v16_load_f32(b->param + at) : v16_load_f32_n(b->param + at, n, 0);
    x->grad = whole ? v16_load_f32(b->grad + at) : v16_load_f32_n(b->grad + at, n, 0);
    for (int s = 0; s < n_states; s++)
        x->state[s] =
            whole ? v16_load_f32(b->state[s] + at) : v16_load_f32_n(b->state[s] + at, n, 0);
}

V16_INLINE void step_store(const ls_step_block *b, int64_t at, int n_states, const step_vector *x) {
    const int64_t n = b->count - at;
    const int whole = n >= V16_LANES;
    if (whole)
        v16_store_f32(b->param + at, x->param);
    else
        v16_store_f32_n(b->param + at, x->param, n);
    for (int s = 0; s < n_states; s++)
        if (whole)
            v16_store_f32(b->state[s] + at, x->state[s]);
        else
            v16_store_f32_n(b->state[s] + at, x->state[s], n);
}

/* To be called with constant n_states and update: both are unrolled and inlined. */
V16_INLINE void step_block(const void *coefficients, const ls_step_block *b, int n_states,
                           float scale, step_vector_fn update) {
    for (int64_t at = 0; at < b->count; at += V16_LANES) {
        step_vector x;
        step_load(b, at, n_states, &x);
        x.grad *= scale;
        update(coefficients, &x);
        step_store(b, at, n_states, &x);
    }
}

V16_INLINE v16d v16_square(v16 x) {
    const v16d wide = __builtin_convertvector(x, v16d);
    return wide * wide;
}
V16_INLINE double v16d_sum(v16d x) {
    double y[V16_LANES];
    memcpy(y, &x, sizeof y);
    for (int width = V16_LANES / 2; width; width /= 2)
        for (int i = 0; i < width; i++) y[i] += y[i + width];
    return y[0];
}

#endif
