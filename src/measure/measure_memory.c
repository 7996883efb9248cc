/* Streams through the caches and memory: read, copy, triad, triad with non-temporal stores. After STREAM (McCalpin 1995): bytes that
 * the program reads and writes are counted, not what the caches add (a store without hint first reads its line). */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cpu.h"
#include "measure/measure.h"
#if defined(LS_X86)
#include <immintrin.h>
#endif

enum { N_ARRAYS = 3, LANES = 16, UNROLL = 4, STEP = LANES * UNROLL };
enum { DEFAULT_L2 = 1 << 20, DEFAULT_L3 = 16 << 20 };
static const double most_dram_bytes = 3e9, quick_dram_bytes = 192e6, least_dram_bytes = 384e6;

typedef float wide __attribute__((vector_size(4 * LANES)));

typedef void (*stream_fn)(float *z, const float *x, const float *y, int64_t n);

/* --- loops, once for each level of vectors; n is a multiple of STEP ---------------------------------------------------- */

#define STREAM_INLINE static inline __attribute__((always_inline))

/* Leaves the sum in z[0], so that the reads are needed. */
STREAM_INLINE void read_inline(float *z, const float *x, const float *y, int64_t n) {
    wide sum[UNROLL] = {{0}};
    (void)y;
    for (int64_t i = 0; i < n; i += STEP)
#pragma GCC unroll 4
        for (int u = 0; u < UNROLL; u++) sum[u] += *(const wide *)(x + i + u * LANES);
    wide all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    z[0] = all[0] + all[5] + all[10] + all[15];
}

STREAM_INLINE void copy_inline(float *z, const float *x, const float *y, int64_t n) {
    (void)y;
    for (int64_t i = 0; i < n; i += STEP)
#pragma GCC unroll 4
        for (int u = 0; u < UNROLL; u++)
            *(wide *)(z + i + u * LANES) = *(const wide *)(x + i + u * LANES);
}

STREAM_INLINE void triad_inline(float *z, const float *x, const float *y, int64_t n) {
    const wide s = (wide){0} + 0.37f;
    for (int64_t i = 0; i < n; i += STEP)
#pragma GCC unroll 4
        for (int u = 0; u < UNROLL; u++)
            *(wide *)(z + i + u * LANES) =
                *(const wide *)(x + i + u * LANES) + s * *(const wide *)(y + i + u * LANES);
}

static void read_base(float *z, const float *x, const float *y, int64_t n) {
    read_inline(z, x, y, n);
}
static void copy_base(float *z, const float *x, const float *y, int64_t n) {
    copy_inline(z, x, y, n);
}
static void triad_base(float *z, const float *x, const float *y, int64_t n) {
    triad_inline(z, x, y, n);
}

#if defined(LS_X86)
#define AVX2   __attribute__((target("avx2,fma")))
#define AVX512 __attribute__((target("avx512f")))

AVX2 static void read_avx2(float *z, const float *x, const float *y, int64_t n) {
    read_inline(z, x, y, n);
}
AVX2 static void copy_avx2(float *z, const float *x, const float *y, int64_t n) {
    copy_inline(z, x, y, n);
}
AVX2 static void triad_avx2(float *z, const float *x, const float *y, int64_t n) {
    triad_inline(z, x, y, n);
}
AVX512 static void read_avx512(float *z, const float *x, const float *y, int64_t n) {
    read_inline(z, x, y, n);
}
AVX512 static void copy_avx512(float *z, const float *x, const float *y, int64_t n) {
    copy_inline(z, x, y, n);
}
AVX512 static void triad_avx512(float *z, const float *x, const float *y, int64_t n) {
    triad_inline(z, x, y, n);
}

/* Whole lines at a time: past the caches, in the order in which they are made. */
static void triad_nt_base(float *z, const float *x, const float *y, int64_t n) {
    const __m128 s = _mm_set1_ps(0.37f);
    for (int64_t i = 0; i < n; i += LANES)
#pragma GCC unroll 4
        for (int k = 0; k < LANES; k += 4)
            _mm_stream_ps(z + i + k, _mm_add_ps(_mm_load_ps(x + i + k),
                                                _mm_mul_ps(s, _mm_load_ps(y + i + k))));
    _mm_sfence();
}
AVX512 static void triad_nt_avx512(float *z, const float *x, const float *y, int64_t n) {
    const __m512 s = _mm512_set1_ps(0.37f);
    for (int64_t i = 0; i < n; i += LANES)
        _mm512_stream_ps(z + i, _mm512_fmadd_ps(s, _mm512_load_ps(y + i), _mm512_load_ps(x + i)));
    _mm_sfence();
}
#endif

typedef struct stream_row {
    ls_isa isa;
    stream_fn fn[LS_STREAM_COUNT]; /* NULL: not here */
} stream_row;

/* Best first. */
static const stream_row stream_rows[] = {
#if defined(LS_X86)
    {LS_ISA_AVX512, {read_avx512, copy_avx512, triad_avx512, triad_nt_avx512}},
    {LS_ISA_AVX2, {read_avx2, copy_avx2, triad_avx2, triad_nt_base}},
    {LS_ISA_BASE, {read_base, copy_base, triad_base, triad_nt_base}},
#else
    {LS_ISA_BASE, {read_base, copy_base, triad_base, NULL}},
#endif
};

static const stream_row *choose_row(void) {
    const stream_row *row = stream_rows;
    while (row->isa > ls_cpu_isa()) row++;
    return row;
}

/* --- measuring ------------------------------------------------------------------------------------------------------- */

/* Arrays of a stream: what it reads and writes. */
static const int n_arrays[LS_STREAM_COUNT] = {1, 2, 3, 3};

typedef struct memory_work {
    float *memory;    /* per thread: z, x, y */
    int64_t n, pitch; /* floats of one array that are used; of one thread's memory */
    int64_t array;    /* floats from one array to the next */
    stream_fn fn;
} memory_work;

static void work_stream(void *user, int thread, int64_t rounds) {
    const memory_work *w = user;
    float *z = w->memory + thread * w->pitch, *x = z + w->array, *y = x + w->array;
    for (int64_t i = 0; i < rounds; i++) w->fn(z, x, y, w->n);
}

/* A thread touches its own memory first. */
static void work_fill(void *user, int thread, int64_t rounds) {
    const memory_work *w = user;
    (void)rounds;
    ls_fill_random_f32(w->memory + thread * w->pitch, w->pitch, (uint32_t)thread + 1);
}

/* Bytes of all arrays of all threads together. */
static double total_bytes(const ls_meter *meter, const ls_machine *m, ls_level level, int threads) {
    const double known2 = m->cache_bytes[LS_LEVEL_L2], known3 = m->cache_bytes[LS_LEVEL_L3];
    const double l2 = known2 > 0 ? known2 : DEFAULT_L2, l3 = known3 > 0 ? known3 : DEFAULT_L3;
    if (level == LS_LEVEL_L2) return l2 / 2 * threads;
    if (level == LS_LEVEL_L3) return l3 / 2 > 2 * l2 * threads ? l3 / 2 : 2 * l2 * threads;
    double bytes = 12 * l3 > least_dram_bytes ? 12 * l3 : least_dram_bytes;
    if (meter->options.quick) bytes = 6 * l3 > quick_dram_bytes ? 6 * l3 : quick_dram_bytes;
    const double most = meter->options.quick ? 2 * quick_dram_bytes : most_dram_bytes;
    return bytes < most ? bytes : most;
}

static ls_status add_row(ls_meter *meter, ls_machine *m, memory_work *w, ls_stream stream,
                         ls_level level, int threads) {
    if (m->n_memory == LS_MACHINE_MAX_MEMORY)
        return LS_FAIL(LS_ERR_INTERNAL, "a profile has room for %d rates of memory",
                       LS_MACHINE_MAX_MEMORY);
    ls_machine_memory *row = &m->memory[m->n_memory];
    const double round_bytes = 4.0 * (double)w->n * n_arrays[stream];
    *row = (ls_machine_memory){
        .stream = stream, .level = level, .threads = threads, .bytes = round_bytes * threads};
    LS_TRY(ls_meter_rate(meter, threads, work_stream, w, round_bytes, &row->rate));
    m->n_memory++;
    return LS_OK;
}

/* The arrays that a stream uses fill the level, whatever their number. */
static ls_status measure_level(ls_meter *meter, ls_machine *m, memory_work *w, ls_level level,
                               int threads) {
    const stream_row *row = choose_row();
    char what[96];
    snprintf(what, sizeof what, "streams through %s, %d thread%s", ls_level_names[level], threads,
             threads == 1 ? "" : "s");
    ls_meter_tell(meter, what);
    const double bytes = total_bytes(meter, m, level, threads);
    for (int s = 0; s < LS_STREAM_COUNT; s++) {
        if (!row->fn[s]) continue;
        w->fn = row->fn[s];
        /* read uses the one array after the first, which it writes a word of */
        w->n = (int64_t)(bytes / threads / 4 / n_arrays[s]) / STEP * STEP;
        w->array = level == LS_LEVEL_DRAM ? w->pitch / N_ARRAYS / STEP * STEP : w->n + STEP;
        if (w->n > w->array) w->n = w->array;
        LS_TRY(add_row(meter, m, w, (ls_stream)s, level, threads));
    }
    return LS_OK;
}

static ls_status measure_threads(ls_meter *meter, ls_machine *m, int threads) {
    /* Room for memory's arrays, and for three of any size that fits the caches. */
    const double far = total_bytes(meter, m, LS_LEVEL_DRAM, threads) / threads;
    const double near = N_ARRAYS * total_bytes(meter, m, LS_LEVEL_L3, threads) / threads;
    const int64_t floats = (int64_t)((far > near ? far : near) / 4);
    memory_work w = {.pitch = (floats / STEP + 4 * N_ARRAYS) * STEP};
    const size_t total = 4 * (size_t)w.pitch * (size_t)threads;
    w.memory = ls_alloc_pages(total);
    if (!w.memory) return LS_ERR_NO_MEMORY;
    ls_status status = ls_meter_once(meter, threads, work_fill, &w);
    for (int level = LS_LEVEL_L2; status == LS_OK && level <= LS_LEVEL_DRAM; level++)
        status = measure_level(meter, m, &w, (ls_level)level, threads);
    ls_free_pages(w.memory, total);
    return status;
}

ls_status ls_measure_memory(ls_meter *meter, ls_machine *m) {
    LS_TRY(measure_threads(meter, m, 1));
    return m->threads > 1 ? measure_threads(meter, m, m->threads) : LS_OK;
}
