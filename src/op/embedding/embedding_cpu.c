/* A task owns a range of vocabulary rows: it clears them (or has the sum there already, or copies it), then walks all positions and
 * adds the rows of dy that fall into the range. The order of additions to one row is that of the positions, however many tasks there are. */
#include "op/embedding/embedding.h"
#include "op/tile.h"

enum { EMBEDDING_RANGES = 32 };

typedef struct embedding_job {
    const ls_launch *launch;
    int64_t n, v, d, rows_per_task;
} embedding_job;

static void add_row(float *to, const ls_tensor *dy, int64_t at, int64_t d) {
    int64_t j = 0;
    for (; j + V16_LANES <= d; j += V16_LANES)
        v16_store_f32(to + j, v16_load_f32(to + j) + v16_load(dy->data, dy->dtype, at + j));
    if (j < d)
        v16_store_f32_n(to + j,
                        v16_load_f32_n(to + j, d - j, 0) +
                            v16_load_n(dy->data, dy->dtype, at + j, d - j, 0),
                        d - j);
}

/* What rows [begin, end) are before the first addition. */
static void begin_range(const embedding_job *job, int64_t begin, int64_t end) {
    float *rows = (float *)job->launch->out[0].data + begin * job->d;
    const size_t bytes = (size_t)((end - begin) * job->d) * sizeof *rows;
    if (job->launch->sig->n_in < 3) {
        memset(rows, 0, bytes);
        return;
    }
    const float *sum = (const float *)job->launch->in[2].data + begin * job->d;
    if (sum != rows) memcpy(rows, sum, bytes);
}

static ls_status run_range(void *user, int64_t task, int worker) {
    const embedding_job *job = user;
    const int32_t *ids = job->launch->in[0].data;
    float *table = job->launch->out[0].data;
    const int64_t begin = task * job->rows_per_task;
    const int64_t end = begin + job->rows_per_task < job->v ? begin + job->rows_per_task : job->v;
    (void)worker;
    if (begin >= end) return LS_OK;
    begin_range(job, begin, end);
    for (int64_t i = 0; i < job->n; i++)
        if (ids[i] >= begin && ids[i] < end)
            add_row(table + ids[i] * job->d, &job->launch->in[1], i * job->d, job->d);
    return LS_OK;
}

static ls_status launch(const ls_launch *launch) {
    embedding_job job = {.launch = launch, .n = ls_type_count(&launch->sig->in[0])};
    job.v = launch->out[0].shape.dims[0];
    job.d = launch->out[0].shape.dims[1];
    job.rows_per_task = (job.v + EMBEDDING_RANGES - 1) / EMBEDDING_RANGES;
    LS_TRY(ls_check_ids("embedding_grad", launch->in[0].data, job.n, job.v));
    return ls_pool_run(launch->pool, EMBEDDING_RANGES, run_range, &job);
}

static const char *refuses(const ls_sig *sig) {
    if (!v16_accepts(sig->in[1].dtype)) return "dy is not f32, bf16 or f16";
    return sig->out[0].dtype == LS_DTYPE_F32 ? NULL : "the result is not f32";
}

LS_CPU_KERNEL(embedding_bwd) = {LS_CPU_KERNEL_HEAD("embedding_bwd"), .refuses = refuses,
                                .launch = launch};
