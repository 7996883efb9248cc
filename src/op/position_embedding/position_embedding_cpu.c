/* A task is one position: its row of the table stays in cache over the batch. */
#include "op/cpu_kernel.h"
#include "op/elementwise.h"
#include "op/position_embedding/position_embedding.h"
#include "op/simd.h"

static v16 load(const ls_tensor *t, int64_t at, int64_t n) {
    if (n >= V16_LANES) return v16_load(t->data, t->dtype, at);
    return v16_load_n(t->data, t->dtype, at, n, 0);
}

static void store(const ls_tensor *t, int64_t at, v16 x, int64_t n) {
    if (n >= V16_LANES)
        v16_store(t->data, t->dtype, at, x);
    else
        v16_store_n(t->data, t->dtype, at, x, n);
}

static ls_status add_position(void *user, int64_t t, int worker) {
    const ls_launch *l = user;
    const int64_t *dims = l->in[0].shape.dims;
    (void)worker;
    for (int64_t b = 0; b < dims[0]; b++) {
        const int64_t row = (b * dims[1] + t) * dims[2];
        for (int64_t d = 0; d < dims[2]; d += V16_LANES) {
            const int64_t n = dims[2] - d;
            store(&l->out[0], row + d,
                  load(&l->in[0], row + d, n) + load(&l->in[1], t * dims[2] + d, n), n);
        }
    }
    return LS_OK;
}

static ls_status sum_position(void *user, int64_t t, int worker) {
    const ls_launch *l = user;
    const int64_t *dims = l->in[0].shape.dims;
    (void)worker;
    for (int64_t d = 0; d < dims[2]; d += V16_LANES) {
        const int64_t n = dims[2] - d;
        v16 sum = v16_set(0);
        for (int64_t b = 0; t < dims[1] && b < dims[0]; b++)
            sum += load(&l->in[0], (b * dims[1] + t) * dims[2] + d, n);
        store(&l->out[0], t * dims[2] + d, sum, n);
    }
    return LS_OK;
}

static ls_status launch_fwd(const ls_launch *launch) {
    ls_launch job = *launch;
    return ls_pool_run(launch->pool, launch->in[0].shape.dims[1], add_position, &job);
}

static ls_status launch_bwd(const ls_launch *launch) {
    ls_launch job = *launch;
    return ls_pool_run(launch->pool, launch->out[0].shape.dims[0], sum_position, &job);
}

LS_CPU_KERNEL(position_embedding_fwd) = {LS_CPU_KERNEL_HEAD("position_embedding_fwd"),
                                         .refuses = ls_refuses_wide, .launch = launch_fwd};
LS_CPU_KERNEL(position_embedding_bwd) = {LS_CPU_KERNEL_HEAD("position_embedding_bwd"),
                                         .refuses = ls_refuses_wide, .launch = launch_bwd};
