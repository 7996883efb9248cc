/* The machine's measured peak: the best of a few large matrix products by the very kernel that training uses. */
#include "base/clock.h"
#include "base/rng.h"
#include "op/matmul/matmul.h"
#include "op/op.h"
#include "train/recorder.h"

enum { SIZE = 768, RUNS = 4 };

static void fill_random(ls_tensor *tensor) {
    const ls_rng_key key = {1, 0, 0};
    for (int64_t i = 0; i < (int64_t)SIZE * SIZE; i++)
        ls_tensor_set(tensor, i, (double)(ls_rng_u32(key, (uint64_t)i) >> 8) * 0x1p-23 - 1.0);
}

typedef struct product {
    ls_type in[2], out;
    ls_tensor operands[3];
    ls_sig sig;
    const ls_kernel *kernel;
    void *workspace;
} product;

static ls_status make_product(product *p, ls_pool *pool, ls_dtype dtype, const ls_matmul_attr *attr,
                              ls_arena *arena) {
    const ls_shape shape = {2, {SIZE, SIZE}};
    p->in[0] = p->in[1] = p->out = (ls_type){dtype, shape};
    for (int i = 0; i < 3; i++) {
        p->operands[i] =
            (ls_tensor){dtype, shape, ls_arena_alloc(arena, ls_type_bytes(&p->out) + 64)};
        if (!p->operands[i].data) return LS_ERR_NO_MEMORY;
    }
    fill_random(&p->operands[0]);
    fill_random(&p->operands[1]);
    p->sig = (ls_sig){&ls_op_matmul, attr, 2, 1, p->in, &p->out};
    LS_TRY(ls_kernel_choose(&p->sig, LS_DEVICE_CPU, ls_cpu_isa(), &p->kernel));
    const size_t bytes =
        p->kernel->workspace_bytes ? p->kernel->workspace_bytes(&p->sig, ls_pool_threads(pool)) : 0;
    char *raw = ls_arena_alloc(arena, bytes + 64);
    if (!raw) return LS_ERR_NO_MEMORY;
    p->workspace = (void *)(((uintptr_t)raw + 63) & ~(uintptr_t)63);
    return LS_OK;
}

static ls_status time_product(product *p, ls_pool *pool, double *best_out) {
    const ls_launch launch = {.sig = &p->sig,
                              .in = p->operands,
                              .out = p->operands + 2,
                              .workspace = p->workspace,
                              .pool = pool};
    double best = 1e30;
    for (int i = 0; i < RUNS; i++) {
        const double start = ls_clock_seconds();
        LS_TRY(p->kernel->launch(&launch));
        const double seconds = ls_clock_seconds() - start;
        if (seconds < best) best = seconds;
    }
    *best_out = 2.0 * SIZE * SIZE * SIZE / best;
    return LS_OK;
}

ls_status ls_peak_measure(ls_pool *pool, int precision, double *flops_per_second_out) {
    static const ls_dtype dtypes[] = {LS_DTYPE_F32, LS_DTYPE_BF16, LS_DTYPE_F16};
    const ls_matmul_attr attr = {.out_dtype = -1, .alpha = 1};
    ls_arena *arena;
    product p = {0};
    LS_TRY(ls_arena_create(&arena));
    ls_status status = make_product(&p, pool, dtypes[precision], &attr, arena);
    if (status == LS_OK) status = time_product(&p, pool, flops_per_second_out);
    ls_arena_destroy(arena);
    return status;
}

ls_status ls_peak_of_ranks(ls_session *session, double *flops_per_second_out,
                           double *aside_seconds) {
    const double begun = ls_clock_seconds();
    LS_TRY(ls_peak_measure(session->pool, session->config.precision, flops_per_second_out));
    *flops_per_second_out *= ls_comm_size(session->comm);
    *aside_seconds += ls_clock_seconds() - begun;
    return LS_OK;
}
