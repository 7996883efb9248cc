#include "op/roof.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/cpu.h"
#include "base/thread.h"
#include <math.h>
#include <string.h>
#ifdef __SSE2__
#include <immintrin.h>
#endif

enum { MOST_BYTES = 192 << 20, TASK_FLOATS = 16384, LEAST_RUNS = 3, STEP = 64 };
/* Not at the same place within a huge page: three arrays in one set of a cache would tell of the cache. */
enum { SKEW = 4096 + 64, ARRAY_BYTES = MOST_BYTES + 4 * SKEW };

const char *const roof_kind_names[] = {"read", "copy", "update"};

typedef enum stream {
    SUM,
    COPY,
    TRIAD,
    UPDATE,
    COPY_PAST,  /* the caches */
    TRIAD_PAST, /* the caches */
    MEMCPY,
    N_STREAMS
} stream;

/* Arrays moved, and arrays there are. */
static const int n_moved[N_STREAMS] = {1, 2, 3, 3, 2, 3, 2};
static const int streams_of[3][N_STREAMS] = {
    [ROOF_READ] = {[SUM] = 1},
    [ROOF_COPY] = {[COPY] = 1, [TRIAD] = 1, [COPY_PAST] = 1, [TRIAD_PAST] = 1, [MEMCPY] = 1},
    [ROOF_UPDATE] = {
        [COPY] = 1, [TRIAD] = 1, [UPDATE] = 1, [COPY_PAST] = 1, [TRIAD_PAST] = 1, [MEMCPY] = 1}};

struct roof {
    ls_pool *pool;
    int threads;
    double seconds;
    char *memory;
    float *x, *y, *z;
    double *sums; /* one per task, so that sums are needed */
    /* the loop at hand */
    stream stream;
    int64_t n, per_task;
};

typedef float wide __attribute__((vector_size(64)));

#define INLINE static inline __attribute__((always_inline))

/* n is a multiple of STEP. */
INLINE void stream_plain(stream s, float *z, float *x, const float *y, int64_t n, double *sum_out) {
    const wide scale = (wide){0} + 0.37f;
    wide sum[4] = {{0}};
    for (int64_t i = 0; i < n; i += STEP)
#pragma GCC unroll 4
        for (int u = 0; u < 4; u++) {
            wide *const to = (wide *)(z + i + 16 * u), *const in = (wide *)(x + i + 16 * u);
            if (s == SUM) sum[u] += *in;
            if (s == COPY) *to = *in;
            if (s == TRIAD) *to = *in + scale * *(const wide *)(y + i + 16 * u);
            if (s == UPDATE) *in = *in + scale * *(const wide *)(y + i + 16 * u);
        }
    const wide all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    for (int k = 0; k < 16; k++) *sum_out += (double)all[k];
}

INLINE void run_plain(stream s, float *z, float *x, const float *y, int64_t n, double *sum_out) {
    if (s == SUM) stream_plain(SUM, z, x, y, n, sum_out);
    if (s == COPY) stream_plain(COPY, z, x, y, n, sum_out);
    if (s == TRIAD) stream_plain(TRIAD, z, x, y, n, sum_out);
    if (s == UPDATE) stream_plain(UPDATE, z, x, y, n, sum_out);
}

#ifdef LS_X86
#define AVX2   __attribute__((target("avx2,fma")))
#define AVX512 __attribute__((target("avx512f")))

AVX2 static void run_avx2(stream s, float *z, float *x, const float *y, int64_t n, double *sum) {
    run_plain(s, z, x, y, n, sum);
}
AVX512 static void run_avx512(stream s, float *z, float *x, const float *y, int64_t n,
                              double *sum) {
    run_plain(s, z, x, y, n, sum);
}
AVX512 static void past_avx512(stream s, float *z, const float *x, const float *y, int64_t n) {
    const __m512 scale = _mm512_set1_ps(0.37f);
    for (int64_t i = 0; i < n; i += 16) {
        const __m512 in = _mm512_load_ps(x + i);
        _mm512_stream_ps(z + i,
                         s == COPY_PAST ? in : _mm512_fmadd_ps(scale, _mm512_load_ps(y + i), in));
    }
    _mm_sfence();
}
static void past_base(stream s, float *z, const float *x, const float *y, int64_t n) {
    const __m128 scale = _mm_set1_ps(0.37f);
    for (int64_t i = 0; i < n; i += 4) {
        const __m128 in = _mm_load_ps(x + i);
        _mm_stream_ps(z + i,
                      s == COPY_PAST ? in : _mm_add_ps(in, _mm_mul_ps(scale, _mm_load_ps(y + i))));
    }
    _mm_sfence();
}
#endif

static void run_stream(const roof *r, int64_t at, int64_t n, double *sum_out) {
    float *z = r->z + at, *x = r->x + at;
    const float *y = r->y + at;
    if (r->stream == MEMCPY) {
        memcpy(z, x, (size_t)n * sizeof *z);
        return;
    }
#ifdef LS_X86
    const int is_past = r->stream == COPY_PAST || r->stream == TRIAD_PAST;
    const ls_isa isa = ls_cpu_isa();
    if (is_past && isa >= LS_ISA_AVX512)
        past_avx512(r->stream, z, x, y, n);
    else if (is_past)
        past_base(r->stream, z, x, y, n);
    else if (isa >= LS_ISA_AVX512)
        run_avx512(r->stream, z, x, y, n, sum_out);
    else if (isa >= LS_ISA_AVX2)
        run_avx2(r->stream, z, x, y, n, sum_out);
    else
#endif
        run_plain(r->stream, z, x, y, n, sum_out);
}

static ls_status stream_task(void *user, int64_t task, int worker) {
    const roof *r = user;
    const int64_t begin = task * r->per_task, left = r->n - begin;
    (void)worker;
    run_stream(r, begin, left < r->per_task ? left : r->per_task, &r->sums[task]);
    return LS_OK;
}

static ls_status fill_task(void *user, int64_t task, int worker) {
    const roof *r = user;
    (void)worker;
    for (int64_t i = task * TASK_FLOATS; i < (task + 1) * TASK_FLOATS; i++) {
        r->x[i] = 1e-3f * (float)(i % 1009);
        r->y[i] = 1e-3f * (float)(i % 2003) - 1;
        r->z[i] = 0;
    }
    return LS_OK;
}

static ls_status best_gbps(roof *r, stream s, double bytes, double seconds, double *out) {
    const int64_t share = (int64_t)(bytes / 4) / n_moved[s];
    double best = INFINITY, spent = 0;
    r->stream = s;
    r->n = (share + STEP - 1) / STEP * STEP;
    r->per_task = (r->n / r->threads + STEP - 1) / STEP * STEP;
    if (r->per_task > TASK_FLOATS) r->per_task = TASK_FLOATS;
    const int64_t n_tasks = (r->n + r->per_task - 1) / r->per_task;
    for (int runs = 0; runs <= LEAST_RUNS || spent < seconds; runs++) {
        const double begin = ls_clock_seconds();
        LS_TRY(ls_pool_run(r->pool, n_tasks, stream_task, r));
        const double took = ls_clock_seconds() - begin;
        if (runs > 0 && took < best) best = took; /* the first brings the arrays near */
        spent += took;
    }
    *out = 4.0 * (double)r->n * n_moved[s] / best * 1e-9;
    return LS_OK;
}

ls_status roof_measure(roof *r, roof_kind kind, double bytes, double *gbps_out) {
    double best = 0;
    int n = 0;
    for (int s = 0; s < N_STREAMS; s++) n += streams_of[kind][s];
    if (bytes > MOST_BYTES) bytes = MOST_BYTES;
    if (bytes < 4.0 * STEP * r->threads) bytes = 4.0 * STEP * r->threads;
    for (int s = 0; s < N_STREAMS; s++) {
        double gbps = 0;
#ifndef LS_X86
        if (s == COPY_PAST || s == TRIAD_PAST) continue;
#endif
        if (!streams_of[kind][s]) continue;
        LS_TRY(best_gbps(r, (stream)s, bytes, r->seconds / n, &gbps));
        best = gbps > best ? gbps : best;
    }
    *gbps_out = best;
    return LS_OK;
}

ls_status roof_measure_memory(roof *r, roof_kind kind, double *gbps_out) {
    return roof_measure(r, kind, MOST_BYTES, gbps_out);
}

ls_status roof_create(int threads, double seconds, roof **out) {
    roof *r = ls_alloc(sizeof *r);
    if (!r) return LS_ERR_NO_MEMORY;
    *r = (roof){.threads = threads, .seconds = seconds};
    r->sums = ls_alloc(sizeof *r->sums * (MOST_BYTES / 4 / TASK_FLOATS + (size_t)threads + 1));
    r->memory = ls_alloc_pages(3 * (size_t)ARRAY_BYTES);
    ls_status status =
        r->memory && r->sums ? ls_pool_create(threads, 0, &r->pool) : LS_ERR_NO_MEMORY;
    if (status == LS_OK) {
        r->x = (float *)r->memory;
        r->y = (float *)(r->memory + ARRAY_BYTES);
        r->z = (float *)(r->memory + 2 * (size_t)ARRAY_BYTES);
        status = ls_pool_run(r->pool, MOST_BYTES / 4 / TASK_FLOATS, fill_task, r);
    }
    if (status == LS_OK)
        *out = r;
    else
        roof_destroy(r);
    return status;
}

void roof_destroy(roof *r) {
    if (!r) return;
    ls_pool_destroy(r->pool);
    ls_free(r->sums);
    ls_free_pages(r->memory, 3 * (size_t)ARRAY_BYTES);
    ls_free(r);
}
