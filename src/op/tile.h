/* The vector loop of elementwise CPU kernels (included by *_cpu.c files only).
 *
 * The tensors are cut into tiles of TILE_ELEMENTS. A tile is handed to the op's function as f32: converted from bf16 or f16 in
 * a buffer that stays in the first-level cache, or in place when it is f32 already and whole. The last tile is padded with
 * zeros to whole vectors, so every element runs through the same instructions. Tasks are a fixed number of tiles.
 * Local. */
#ifndef LS_OP_TILE_H
#define LS_OP_TILE_H
#include "op/cpu_kernel.h"
#include "op/elementwise.h"
#include "op/simd.h"

enum { TILE_ELEMENTS = 1024, TILE_PER_TASK = 16, TILE_MAX_IN = 4, TILE_MAX_OUT = 2 };

typedef struct ls_tile {
    const float *in[TILE_MAX_IN];
    float *out
        [TILE_MAX_OUT]; /* may be the same memory as an input: read element i before writing it */
    int64_t first;      /* index of the first element */
    int64_t n; /* a multiple of V16_LANES; elements past the end are zeros and are dropped */
    const ls_launch *launch;
} tile;

typedef struct tile_job {
    const ls_launch *launch;
    ls_tile_fn fn;
    int n_in; /* inputs cut into tiles: the first n_in */
    int64_t count;
} tile_job;

static inline void run_tile(const tile_job *job, int64_t first) {
    const ls_launch *launch = job->launch;
    float in[TILE_MAX_IN][TILE_ELEMENTS] __attribute__((aligned(64)));
    float out[TILE_MAX_OUT][TILE_ELEMENTS] __attribute__((aligned(64)));
    const int n_out = launch->sig->n_out;
    const int64_t left = job->count - first;
    const int64_t n = left < TILE_ELEMENTS ? left : TILE_ELEMENTS;
    tile t = {.first = first, .n = (n + V16_LANES - 1) / V16_LANES * V16_LANES, .launch = launch};
    const int whole = t.n == n;
    for (int k = 0; k < job->n_in; k++) {
        const ls_tensor *x = &launch->in[k];
        t.in[k] = whole && x->dtype == LS_DTYPE_F32 ? (const float *)x->data + first : in[k];
        if (t.in[k] == in[k]) row_load(in[k], x->data, x->dtype, first, n, 0.0f);
    }
    for (int k = 0; k < n_out; k++) {
        const ls_tensor *y = &launch->out[k];
        t.out[k] = whole && y->dtype == LS_DTYPE_F32 ? (float *)y->data + first : out[k];
    }
    job->fn(&t);
    for (int k = 0; k < n_out; k++)
        if (t.out[k] == out[k])
            row_store(launch->out[k].data, launch->out[k].dtype, first, out[k], n);
}

static inline ls_status run_tile_task(void *user, int64_t task, int worker) {
    (void)worker;
    const tile_job *job = user;
    const int64_t begin = task * TILE_PER_TASK * TILE_ELEMENTS;
    const int64_t end = begin + TILE_PER_TASK * TILE_ELEMENTS;
    for (int64_t first = begin; first < end && first < job->count; first += TILE_ELEMENTS)
        run_tile(job, first);
    return LS_OK;
}

/* Runs fn over all elements of out[0]; the first n_in inputs are tiled, the others are fn's own business. */
static inline ls_status run_tiles(const ls_launch *launch, int n_in, ls_tile_fn fn) {
    tile_job job = {launch, fn, n_in, ls_type_count(&launch->sig->out[0])};
    const int64_t per_task = TILE_PER_TASK * TILE_ELEMENTS;
    return ls_pool_run(launch->pool, (job.count + per_task - 1) / per_task, run_tile_task, &job);
}

/* The launch of a kernel that has a `tile` entry. */
static inline __attribute__((unused)) ls_status
launch_tiles(const ls_launch *launch, ls_tile_fn (*tile_of)(const ls_sig *, int *)) {
    int n_tiled = 0;
    const ls_tile_fn fn = tile_of(launch->sig, &n_tiled);
    return run_tiles(launch, n_tiled, fn);
}

/* Element `at` of an f32, bf16 or f16 tensor. */
static inline __attribute__((unused)) float read_scalar(const ls_tensor *x, int64_t at) {
    return v16_load_n(x->data, x->dtype, at, 1, 0.0f)[0];
}

#endif
