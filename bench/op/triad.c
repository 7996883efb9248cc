#include "op/triad.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/thread.h"
#include <math.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { ARRAY_BYTES = 256 << 20, TASK_FLOATS = 16384, LEAST_RUNS = 3 };

typedef struct triad_job {
    float *a, *b, *c;
    double *sums; /* one per task */
} triad_job;

typedef float four __attribute__((vector_size(16)));

static void put(float *to, four x, int past_caches) {
#ifdef __SSE2__
    if (past_caches) {
        _mm_stream_ps(to, (__m128)x);
        return;
    }
#endif
    (void)past_caches;
    *(four *)to = x;
}

static inline void add_scaled(const triad_job *job, int64_t task, int past_caches) {
    const int64_t begin = task * TASK_FLOATS;
    for (int64_t i = begin; i < begin + TASK_FLOATS; i += 4)
        put(job->a + i, *(const four *)(job->b + i) + 3.0f * *(const four *)(job->c + i),
            past_caches);
#ifdef __SSE2__
    if (past_caches) _mm_sfence();
#endif
}

static ls_status triad_task(void *user, int64_t task, int worker) {
    (void)worker;
    add_scaled(user, task, 1);
    return LS_OK;
}

static ls_status stored_task(void *user, int64_t task, int worker) {
    (void)worker;
    add_scaled(user, task, 0);
    return LS_OK;
}

static ls_status read_task(void *user, int64_t task, int worker) {
    const triad_job *job = user;
    const four *x = (const four *)(job->b + task * TASK_FLOATS);
    four sums[4] = {{0}};
    (void)worker;
    for (int i = 0; i < TASK_FLOATS / 4; i += 4)
        for (int k = 0; k < 4; k++) sums[k] += x[i + k];
    const four sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    job->sums[task] = (double)sum[0] + (double)sum[1] + (double)sum[2] + (double)sum[3];
    return LS_OK;
}

static ls_status fill_task(void *user, int64_t task, int worker) {
    const triad_job *job = user;
    (void)worker;
    for (int64_t i = task * TASK_FLOATS; i < (task + 1) * TASK_FLOATS; i++) {
        job->a[i] = 0;
        job->b[i] = 1e-3f * (float)(i % 1009);
        job->c[i] = 1e-3f * (float)(i % 2003);
    }
    return LS_OK;
}

static ls_status best_gbps(ls_pool *pool, triad_job *job, ls_task_fn fn, double bytes,
                           double seconds, double *out) {
    double best = INFINITY, spent = 0;
    for (int runs = 0; runs < LEAST_RUNS || spent < seconds; runs++) {
        const double begin = ls_clock_seconds();
        LS_TRY(ls_pool_run(pool, ARRAY_BYTES / 4 / TASK_FLOATS, fn, job));
        const double took = ls_clock_seconds() - begin;
        best = took < best ? took : best;
        spent += took;
    }
    *out = bytes / best * 1e-9;
    return LS_OK;
}

static ls_status measure(ls_pool *pool, triad_job *job, double seconds, triad_result *out) {
    const double bytes = ARRAY_BYTES;
    double unused;
    LS_TRY(best_gbps(pool, job, fill_task, bytes, 0, &unused));
    LS_TRY(best_gbps(pool, job, triad_task, 3 * bytes, seconds, &out->triad_gbps));
    LS_TRY(best_gbps(pool, job, stored_task, 3 * bytes, seconds, &out->stored_gbps));
    return best_gbps(pool, job, read_task, bytes, seconds, &out->read_gbps);
}

ls_status triad_measure(int threads, double seconds, triad_result *out) {
    ls_pool *pool = NULL;
    /* Not at the same place within a huge page: three streams in one set of a cache would tell of the cache. */
    enum { SKEW = 4096 + 64, BLOCK = ARRAY_BYTES + 4 * SKEW };
    char *memory = ls_alloc_pages(3 * (size_t)BLOCK);
    double *sums = ls_alloc(sizeof *sums * (ARRAY_BYTES / 4 / TASK_FLOATS));
    ls_status status = memory && sums ? ls_pool_create(threads, 0, &pool) : LS_ERR_NO_MEMORY;
    triad_job job = {.sums = sums};
    if (memory) {
        job.a = (float *)memory;
        job.b = (float *)(memory + BLOCK);
        job.c = (float *)(memory + 2 * (size_t)BLOCK);
    }
    *out = (triad_result){.array_bytes = ARRAY_BYTES};
    if (status == LS_OK) status = measure(pool, &job, seconds, out);
    ls_pool_destroy(pool);
    ls_free(sums);
    ls_free_pages(memory, 3 * (size_t)BLOCK);
    return status;
}
