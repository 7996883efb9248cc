/* Runs of a set length, one thread or all at once, and what their figures come to. */
#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "measure/measure.h"
#include "measure/multiply_tile.h"

enum { MAX_RUNS = 32, MANY_RUNS = 20 };

ls_status ls_meter_init(ls_meter *meter, const ls_measure_options *options) {
    *meter = (ls_meter){.options = *options,
                        .n_runs = options->quick ? 3 : 7,
                        .run_seconds = options->quick ? 2e-3 : 10e-3};
    return ls_pool_create(ls_cpu_count(), 0, &meter->pool);
}

void ls_meter_deinit(ls_meter *meter) {
    ls_pool_destroy(meter->pool);
    meter->pool = NULL;
}

void ls_meter_tell(ls_meter *meter, const char *what) {
    const ls_measure_options *o = &meter->options;
    if (o->progress) o->progress(o->user, meter->done, meter->total, what);
    meter->done++;
}

static int compare_doubles(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double ls_quantile(const double *sorted, int n, double q) {
    const int at = (int)(q * (double)n);
    return sorted[at < n ? at : n - 1];
}

ls_measure ls_measure_of(double *values, int n) {
    qsort(values, (size_t)n, sizeof *values, compare_doubles);
    const double median = n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
    const int cut = n > MANY_RUNS ? n / MANY_RUNS : 0;
    return (ls_measure){median, values[cut], values[n - 1 - cut], n};
}

typedef struct together {
    ls_work_fn fn;
    void *user;
    int64_t rounds;
    int threads;
    atomic_int arrived;
    double *begun, *ended; /* per thread */
} together;

/* A task waits for the others to be there, so that all work at once; a machine so busy that they do not come is measured anyway. */
static ls_status work_task(void *user, int64_t task, int worker) {
    together *t = user;
    (void)worker;
    const double give_up = ls_clock_seconds() + 1;
    atomic_fetch_add(&t->arrived, 1);
    while (atomic_load(&t->arrived) < t->threads && ls_clock_seconds() < give_up)
        (void)sched_yield();
    t->begun[task] = ls_clock_seconds();
    t->fn(t->user, (int)task, t->rounds);
    t->ended[task] = ls_clock_seconds();
    return LS_OK;
}

static ls_status time_rounds(ls_pool *pool, together *t, int64_t rounds, double *seconds_out) {
    t->rounds = rounds;
    atomic_store(&t->arrived, 0);
    LS_TRY(ls_pool_run(t->threads > 1 ? pool : NULL, t->threads, work_task, t));
    double first = t->begun[0], last = t->ended[0];
    for (int i = 1; i < t->threads; i++) {
        first = fmin(first, t->begun[i]);
        last = fmax(last, t->ended[i]);
    }
    *seconds_out = fmax(last - first, 1e-9);
    return LS_OK;
}

/* Rounds that take a run's time: doubled until they take a good part of it, which also warms up. */
static ls_status choose_rounds(const ls_meter *meter, together *t, int64_t *rounds_out) {
    int64_t rounds = 1;
    double seconds = 0;
    LS_TRY(time_rounds(meter->pool, t, 1, &seconds));
    while (seconds < meter->run_seconds / 4 && rounds < INT64_MAX / 4) {
        rounds *= 2;
        LS_TRY(time_rounds(meter->pool, t, rounds, &seconds));
    }
    const double more = meter->run_seconds / seconds;
    *rounds_out = more > 1 ? (int64_t)ceil((double)rounds * more) : rounds;
    return LS_OK;
}

static ls_status measure_rate(const ls_meter *meter, together *t, double units, ls_measure *out) {
    double rates[MAX_RUNS];
    int64_t rounds = 0;
    LS_TRY(choose_rounds(meter, t, &rounds));
    for (int i = 0; i < meter->n_runs; i++) {
        double seconds;
        LS_TRY(time_rounds(meter->pool, t, rounds, &seconds));
        rates[i] = units * (double)rounds * (double)t->threads / seconds;
    }
    *out = ls_measure_of(rates, meter->n_runs);
    return LS_OK;
}

static ls_status together_init(together *t, int threads, ls_work_fn fn, void *user) {
    *t = (together){.fn = fn, .user = user, .threads = threads};
    t->begun = ls_alloc(2 * sizeof *t->begun * (size_t)threads);
    if (!t->begun) return LS_ERR_NO_MEMORY;
    t->ended = t->begun + threads;
    return LS_OK;
}

ls_status ls_meter_rate(ls_meter *meter, int threads, ls_work_fn fn, void *user,
                        double units_per_round, ls_measure *out) {
    together t;
    LS_TRY(together_init(&t, threads, fn, user));
    const ls_status status = measure_rate(meter, &t, units_per_round, out);
    ls_free(t.begun);
    return status;
}

ls_status ls_meter_once(ls_meter *meter, int threads, ls_work_fn fn, void *user) {
    together t;
    double seconds;
    LS_TRY(together_init(&t, threads, fn, user));
    const ls_status status = time_rounds(meter->pool, &t, 1, &seconds);
    ls_free(t.begun);
    return status;
}

/* Numerical Recipes' generator: plain, and fast enough for gigabytes. */
static uint32_t draw(uint32_t *state) {
    return *state = *state * 1664525u + 1013904223u;
}

void ls_fill_random_f32(float *data, int64_t n, uint32_t seed) {
    for (int64_t i = 0; i < n; i++) data[i] = (float)((int32_t)draw(&seed) >> 8) * 0x1p-23f;
}

void ls_fill_random_bf16(void *data, int64_t n, uint32_t seed) {
    uint16_t *out = data;
    for (int64_t i = 0; i < n; i++) {
        const float x = (float)((int32_t)draw(&seed) >> 8) * 0x1p-23f;
        uint32_t bits;
        memcpy(&bits, &x, sizeof bits);
        out[i] = (uint16_t)(bits >> 16);
    }
}

void ls_fill_random_bytes(void *data, int64_t n, uint32_t seed) {
    unsigned char *out = data;
    for (int64_t i = 0; i < n; i++) out[i] = (unsigned char)(draw(&seed) >> 24);
}

/* Figures that ls_measure_machine tells of. */
static int count_figures(const ls_machine *machine) {
    enum { LEVELS = 3, FORK_JOIN = 1, COLLECTIVES = 3, MODELS = 8 };
    int n_tiles = 0;
    for (int i = 0; i < ls_n_multiply_tiles; i++)
        n_tiles += ls_multiply_tile_runs(&ls_multiply_tiles[i]);
    return (n_tiles + LEVELS) * (machine->threads > 1 ? 2 : 1) + FORK_JOIN + COLLECTIVES + MODELS;
}

ls_status ls_measure_machine(ls_meter *meter, ls_machine *machine) {
    meter->total += count_figures(machine);
    LS_TRY(ls_measure_gemm(meter, machine));
    LS_TRY(ls_measure_memory(meter, machine));
    LS_TRY(ls_measure_fork_join(meter, machine));
    LS_TRY(ls_measure_exchange_threads(meter, machine));
    return ls_measure_kernels(meter, machine);
}
