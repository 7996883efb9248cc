#include "train/roofs.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "lockstep/plan.h"
#include "op/add/add.h"
#include "train/recorder.h"

static const int64_t most_bytes = 192 << 20, least_memory_bytes = 48 << 20;
static const double run_seconds = 0.01;
enum { LEAST_RUNS = 4 };

/* --- a short measurement --------------------------------------------------------------------------------------------- */

/* Bytes per second of c = a + b, f32, that touches about `bytes`: the best of a few runs. */
static ls_status measure_add(ls_pool *pool, double bytes, double *out) {
    const int64_t n = (int64_t)(bytes / 12) / 64 * 64;
    const size_t room = (size_t)n * sizeof(float);
    const ls_type type = {LS_DTYPE_F32, {.n_dims = 1, .dims = {n}}};
    const ls_type in[2] = {type, type};
    const ls_sig sig = {&ls_op_add, NULL, 2, 1, in, &type};
    const ls_kernel *kernel;
    char *memory = ls_alloc_pages(3 * room);
    if (!memory) return LS_ERR_NO_MEMORY;
    ls_tensor t[3];
    for (int i = 0; i < 3; i++)
        t[i] = (ls_tensor){LS_DTYPE_F32, type.shape, memory + (size_t)i * room};
    /* Read pages must be pages of their own, not the one of zeros. */
    memset(memory, 0, 3 * room);
    const ls_launch launch = {.sig = &sig, .in = t, .out = t + 2, .pool = pool};
    ls_status status = ls_kernel_choose(&sig, LS_DEVICE_CPU, ls_cpu_isa(), &kernel);
    double best = INFINITY;
    const double end = ls_clock_seconds() + run_seconds;
    for (int i = 0; status == LS_OK && (i < LEAST_RUNS || ls_clock_seconds() < end); i++) {
        const double begun = ls_clock_seconds();
        status = kernel->launch(&launch);
        best = fmin(best, ls_clock_seconds() - begun);
    }
    ls_free_pages(memory, 3 * room);
    LS_TRY(status);
    *out = 3 * (double)room / fmax(best, 1e-9);
    return LS_OK;
}

static void add_memory(ls_machine *m, ls_level level, double bytes, double rate) {
    m->memory[m->n_memory++] = (ls_machine_memory){.stream = LS_STREAM_TRIAD,
                                                   .level = level,
                                                   .threads = m->threads,
                                                   .bytes = bytes,
                                                   .rate = {rate, rate, rate, 1}};
}

/* The second-level caches each by their own core, the others by all threads. */
static ls_status measure_memory(ls_pool *pool, ls_machine *m) {
    const double l2 = m->cache_bytes[LS_LEVEL_L2], l3 = m->cache_bytes[LS_LEVEL_L3];
    const double memory = fmin(fmax(4 * l3, (double)least_memory_bytes), (double)most_bytes);
    double rate;
    if (l2 > 0) {
        LS_TRY(measure_add(NULL, l2 / 2, &rate));
        add_memory(m, LS_LEVEL_L2, l2 / 2, rate * m->threads);
    }
    if (l3 > 2 * l2 * m->threads) {
        LS_TRY(measure_add(pool, l3 / 4, &rate));
        add_memory(m, LS_LEVEL_L3, l3 / 4, rate);
    }
    LS_TRY(measure_add(pool, memory, &rate));
    add_memory(m, LS_LEVEL_DRAM, memory, rate);
    return LS_OK;
}

static ls_status measure_products(ls_pool *pool, int precision, ls_machine *m) {
    static const char *const names[] = {"f32", "bf16"};
    const int last = precision == LS_PRECISION_BF16 ? LS_PRECISION_BF16 : LS_PRECISION_F32;
    for (int i = LS_PRECISION_F32; i <= last; i++) {
        ls_machine_gemm *g = &m->gemm[m->n_gemm++];
        double rate;
        LS_TRY(ls_peak_measure(pool, i, &rate));
        *g = (ls_machine_gemm){
            .from = LS_LEVEL_REGISTERS, .threads = m->threads, .rate = {rate, rate, rate, 1}};
        snprintf(g->dtype, sizeof g->dtype, "%s", names[i]);
    }
    return LS_OK;
}

static ls_status measure(ls_pool *pool, int precision, ls_roofs *r) {
    r->machine = (ls_machine){0};
    ls_machine_describe(&r->machine);
    r->machine.threads = ls_pool_threads(pool);
    r->neighbours = 1; /* they measure at the same time */
    snprintf(r->source, sizeof r->source,
             "measured after the profiled steps by Lockstep's own matrix product (768 x 768 x 768) "
             "and addition; `lockstep bench` finds the machine's");
    LS_TRY(measure_products(pool, precision, &r->machine));
    return measure_memory(pool, &r->machine);
}

/* --- the rows -------------------------------------------------------------------------------------------------------- */

static int find_row(const ls_roofs *r, const char *name) {
    for (int i = 0; i < r->n_rows; i++)
        if (strcmp(r->rows[i].name, name) == 0) return i;
    return -1;
}

static void add_row(ls_roofs *r, const char *name, int is_bandwidth, double per_second) {
    if (per_second > 0 && r->n_rows < LS_PROFILE_MAX_ROOFS)
        r->rows[r->n_rows++] = (ls_profile_roof){name, is_bandwidth, per_second};
}

static const char *const level_words[] = {"", "the L2 cache", "the L3 cache", "memory"};

/* Ranks of one host have a core's caches for themselves and share what is further away. */
static double share_of(const ls_roofs *r, double bytes) {
    const double own = ls_machine_bandwidth(&r->machine, bytes, r->threads);
    if (r->neighbours <= 1 || ls_machine_level_of(&r->machine, bytes, r->threads) == LS_LEVEL_L2)
        return own;
    return fmin(own, ls_machine_bandwidth(&r->machine, bytes, r->machine.threads) / r->neighbours);
}

static void make_rows(int precision, ls_roofs *r) {
    const ls_machine *m = &r->machine;
    const double wide = ls_machine_flops(m, LS_DTYPE_F32, r->threads);
    const double l2 = m->cache_bytes[LS_LEVEL_L2], l3 = m->cache_bytes[LS_LEVEL_L3];
    if (precision == LS_PRECISION_BF16 && ls_machine_flops(m, LS_DTYPE_BF16, r->threads) > wide)
        add_row(r, "bf16 arithmetic", 0, ls_machine_flops(m, LS_DTYPE_BF16, r->threads));
    add_row(r, "f32 arithmetic", 0, wide);
    const double at[] = {[LS_LEVEL_L2] = l2 / 4, [LS_LEVEL_L3] = l3 / 2, [LS_LEVEL_DRAM] = 1e12};
    for (int level = LS_LEVEL_L2; level < LS_LEVEL_COUNT; level++)
        if (at[level] > 0 && (int)ls_machine_level_of(m, at[level], r->threads) == level)
            add_row(r, level_words[level], 1, share_of(r, at[level]));
}

ls_status ls_roofs_find(ls_pool *pool, int precision, int neighbours, ls_roofs *out) {
    *out = (ls_roofs){.threads = ls_pool_threads(pool), .neighbours = neighbours};
    if (ls_machine_load(&out->machine) == LS_OK) {
        snprintf(out->source, sizeof out->source, "of `lockstep bench` on this machine, %s%s",
                 out->machine.measured, out->machine.quick ? " (quick)" : "");
    } else {
        ls_log(LS_LOG_DEBUG, "%s", ls_error_message());
        ls_error_clear();
        LS_TRY(measure(pool, precision, out));
    }
    make_rows(precision, out);
    return LS_OK;
}

double ls_roofs_flops(const ls_roofs *r, ls_dtype dtype, int *row_out) {
    const int bf16 = dtype == LS_DTYPE_BF16 ? find_row(r, "bf16 arithmetic") : -1;
    *row_out = bf16 >= 0 ? bf16 : find_row(r, "f32 arithmetic");
    return *row_out >= 0 ? r->rows[*row_out].per_second : 0;
}

double ls_roofs_bandwidth(const ls_roofs *r, double bytes, int *row_out) {
    int level = (int)ls_machine_level_of(&r->machine, bytes, r->threads);
    *row_out = -1;
    for (; level < LS_LEVEL_COUNT && *row_out < 0; level++)
        *row_out = find_row(r, level_words[level]);
    return *row_out >= 0 ? r->rows[*row_out].per_second : 0;
}

int ls_roofs_add_link(ls_roofs *r, double bytes_per_second) {
    r->link_per_second = bytes_per_second;
    add_row(r, "the link", 1, bytes_per_second);
    return find_row(r, "the link");
}
