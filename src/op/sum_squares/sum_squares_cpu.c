#include "op/optim_step_cpu.h"
#include "op/sum_squares/sum_squares.h"

typedef struct square_work {
    const float *x;
    int64_t count, chunk;
    int64_t n_blocks; /* of a chunk */
    double *sums;     /* one per block */
} square_work;

static double square_sum(const float *x, int64_t count) {
    v16d sum;
    memset(&sum, 0, sizeof sum);
    int64_t i = 0;
    for (; i + V16_LANES <= count; i += V16_LANES) sum = v16d_add_square(sum, v16_load_f32(x + i));
    if (i < count) sum = v16d_add_square(sum, v16_load_f32_n(x + i, count - i, 0));
    return v16d_sum(sum);
}

static ls_status sum_block(void *user, int64_t task, int worker) {
    (void)worker;
    const square_work *w = user;
    const int64_t in_chunk = task % w->n_blocks * LS_STEP_BLOCK;
    const int64_t begin = task / w->n_blocks * w->chunk + in_chunk;
    int64_t n = w->chunk - in_chunk;
    if (n > LS_STEP_BLOCK) n = LS_STEP_BLOCK;
    if (n > w->count - begin) n = w->count - begin;
    w->sums[task] = n > 0 ? square_sum(w->x + begin, n) : 0;
    return LS_OK;
}

static ls_status launch(const ls_launch *l) {
    const ls_sum_squares_attr *a = l->sig->attr;
    const int64_t n_chunks = a->lanes / a->size;
    square_work work = {.x = l->in[0].data, .sums = l->workspace};
    work.count = ls_shape_count(&l->in[0].shape);
    work.chunk = ls_shard_chunk(a->count, a->lanes);
    work.n_blocks = ls_step_block_count(work.chunk);
    LS_TRY(ls_pool_run(l->pool, n_chunks * work.n_blocks, sum_block, &work));
    double *out = l->out[0].data;
    for (int64_t c = 0; c < n_chunks; c++)
        out[c] = ls_tree_sum(work.sums + c * work.n_blocks, work.n_blocks);
    return LS_OK;
}

static const char *refuses(const ls_sig *sig) {
    return sig->in[0].dtype == LS_DTYPE_F32 ? NULL : "not f32";
}

static size_t workspace_bytes(const ls_sig *sig, int n_threads) {
    const ls_sum_squares_attr *a = sig->attr;
    const int64_t n_blocks = ls_step_block_count(ls_shard_chunk(a->count, a->lanes));
    (void)n_threads;
    return sizeof(double) * (size_t)(n_blocks * (a->lanes / a->size) + 1);
}

LS_CPU_KERNEL(sum_squares) = {LS_CPU_KERNEL_HEAD("sum_squares"), .refuses = refuses,
                              .workspace_bytes = workspace_bytes, .launch = launch};
