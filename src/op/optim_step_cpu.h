/* The vector loop of the optimizer steps, for their *_cpu.c files only. Sixteen elements at a time with padded tails, so that an
 * element's result does not depend on where it stands: a parameter split over ranks keeps its bits. */
#ifndef LS_OP_OPTIM_STEP_CPU_H
#define LS_OP_OPTIM_STEP_CPU_H
#include "op/cpu_kernel.h"
#include "op/elementwise.h"
#include "op/optim_step.h"
#include "op/simd.h"

/* Sixteen f64 lanes, in registers of the level's width (the compiler splits wider vectors badly). */
typedef struct v16d {
#if defined(__AVX512F__)
    __m512d part[2];
#elif defined(__AVX2__)
    __m256d part[4];
#else
    double part[V16_LANES];
#endif
} v16d;

typedef struct step_vector {
    v16 param, grad; /* grad comes scaled */
    v16 state[LS_STEP_MAX_STATES];
} step_vector;
typedef void (*step_vector_fn)(const void *user, step_vector *x);

/* What a pass writes. */
typedef enum step_writes { STEP_PARAM = 1, STEP_STATES = 2, STEP_ALL = 3 } step_writes;

/* The last, cut vector of a block: its operands in whole vectors of their own, padded with zeros. */
typedef struct step_tail {
    float operands[2 + LS_STEP_MAX_STATES][V16_LANES];
    ls_step_block block;
} step_tail;

V16_INLINE void step_tail_load(step_tail *tail, const ls_step_block *b, int64_t at, int n_states) {
    const size_t bytes = sizeof(float) * (size_t)(b->count - at);
    memset(tail->operands, 0, sizeof tail->operands);
    memcpy(tail->operands[0], b->old_param + at, bytes);
    memcpy(tail->operands[1], b->grad + at, bytes);
    tail->block.old_param = tail->block.param = tail->operands[0];
    tail->block.stream = 0;
    tail->block.grad = tail->operands[1];
    for (int s = 0; s < n_states; s++) {
        memcpy(tail->operands[2 + s], b->old_state[s] + at, bytes);
        tail->block.old_state[s] = tail->block.state[s] = tail->operands[2 + s];
    }
}

V16_INLINE void step_tail_store(const step_tail *tail, const ls_step_block *b, int64_t at,
                                int n_states, step_writes writes) {
    const size_t bytes = sizeof(float) * (size_t)(b->count - at);
    if (writes & STEP_PARAM) memcpy(b->param + at, tail->operands[0], bytes);
    for (int s = 0; (writes & STEP_STATES) && s < n_states; s++)
        memcpy(b->state[s] + at, tail->operands[2 + s], bytes);
}

V16_INLINE void put_vector(float *to, v16 x, int stream) {
    if (stream)
        v16_stream_f32(to, x);
    else
        v16_store_f32(to, x);
}

/* count: a multiple of V16_LANES. */
V16_INLINE void step_vectors(const void *user, const ls_step_block *b, int64_t count, int n_states,
                             float scale, step_writes writes, step_vector_fn update) {
    for (int64_t at = 0; at < count; at += V16_LANES) {
        step_vector x = {.param = v16_load_f32(b->old_param + at)};
        x.grad = v16_load_f32(b->grad + at) * scale;
        for (int s = 0; s < n_states; s++) x.state[s] = v16_load_f32(b->old_state[s] + at);
        update(user, &x);
        if (writes & STEP_PARAM) put_vector(b->param + at, x.param, b->stream);
        for (int s = 0; (writes & STEP_STATES) && s < n_states; s++)
            put_vector(b->state[s] + at, x.state[s], b->stream);
    }
}

/* A pass. To be called with constant n_states, writes and update: all are unrolled and inlined. Whole vectors and the tail run through the
 * same instructions. */
V16_INLINE void step_pass(const void *user, const ls_step_block *b, int n_states, float scale,
                          step_writes writes, step_vector_fn update) {
    const int64_t whole = b->count / V16_LANES * V16_LANES;
    step_tail tail;
    for (int is_tail = 0; is_tail <= (whole < b->count); is_tail++) {
        if (is_tail) step_tail_load(&tail, b, whole, n_states);
        step_vectors(user, is_tail ? &tail.block : b, is_tail ? V16_LANES : whole, n_states, scale,
                     writes, update);
        if (is_tail) step_tail_store(&tail, b, whole, n_states, writes);
    }
}

/* The only pass of a step. */
V16_INLINE void step_block(const void *user, const ls_step_block *b, int n_states, float scale,
                           step_vector_fn update) {
    step_pass(user, b, n_states, scale, STEP_ALL, update);
}

/* sum + x * x in f64. The square of an f32 is exact there, so a fused addition rounds like a plain one and all levels agree. */
V16_INLINE v16d v16d_add_square(v16d sum, v16 x) {
#if defined(__AVX512F__)
    const __m512d low = _mm512_cvtps_pd((__m256)v16_low(x));
    const __m512d high = _mm512_cvtps_pd((__m256)v16_high(x));
    sum.part[0] = _mm512_fmadd_pd(low, low, sum.part[0]);
    sum.part[1] = _mm512_fmadd_pd(high, high, sum.part[1]);
#elif defined(__AVX2__)
    const __m256 halves[2] = {(__m256)v16_low(x), (__m256)v16_high(x)};
    for (int i = 0; i < 4; i++) {
        const __m256d wide = _mm256_cvtps_pd(i % 2 ? _mm256_extractf128_ps(halves[i / 2], 1)
                                                   : _mm256_castps256_ps128(halves[i / 2]));
        sum.part[i] = _mm256_fmadd_pd(wide, wide, sum.part[i]);
    }
#else
    for (int i = 0; i < V16_LANES; i++) sum.part[i] += (double)x[i] * x[i];
#endif
    return sum;
}
V16_INLINE double v16d_sum(v16d x) {
    double y[V16_LANES];
    memcpy(y, &x, sizeof y);
    for (int width = V16_LANES / 2; width; width /= 2)
        for (int i = 0; i < width; i++) y[i] += y[i + width];
    return y[0];
}

#endif
