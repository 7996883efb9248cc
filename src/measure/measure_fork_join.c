/* What it costs to hand all threads an empty job: right after another, and after a millisecond in which they went to sleep. */
#include <poll.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "measure/measure.h"

enum { RUNS = 20000, QUICK_RUNS = 4000, WAKES = 200, QUICK_WAKES = 40, WARM_UPS = 100 };

static ls_status do_nothing(void *user, int64_t task, int worker) {
    (void)user, (void)task, (void)worker;
    return LS_OK;
}

static ls_status time_jobs(ls_meter *meter, int n, int pause_ms, double *seconds) {
    const int threads = ls_pool_threads(meter->pool);
    for (int i = 0; i < WARM_UPS; i++) LS_TRY(ls_pool_run(meter->pool, threads, do_nothing, NULL));
    for (int i = 0; i < n; i++) {
        if (pause_ms) (void)poll(NULL, 0, pause_ms);
        const double begun = ls_clock_seconds();
        LS_TRY(ls_pool_run(meter->pool, threads, do_nothing, NULL));
        seconds[i] = ls_clock_seconds() - begun;
    }
    return LS_OK;
}

/* A tail has no spread of its own: the figure three times. */
static void summarize(double *seconds, int n, ls_measure *median_out, ls_measure *tail_out) {
    *median_out = ls_measure_of(seconds, n);
    const double tail = ls_quantile(seconds, n, 0.99);
    *tail_out = (ls_measure){tail, tail, tail, n};
}

ls_status ls_measure_fork_join(ls_meter *meter, ls_machine *m) {
    const int quick = meter->options.quick;
    const int n = quick ? QUICK_RUNS : RUNS, n_wakes = quick ? QUICK_WAKES : WAKES;
    ls_meter_tell(meter, "fork and join of the thread pool");
    double *seconds = ls_alloc(sizeof *seconds * (size_t)n);
    if (!seconds) return LS_ERR_NO_MEMORY;
    ls_status status = time_jobs(meter, n, 0, seconds);
    if (status == LS_OK) {
        summarize(seconds, n, &m->fork_join, &m->fork_join_p99);
        status = time_jobs(meter, n_wakes, 1, seconds);
    }
    if (status == LS_OK) summarize(seconds, n_wakes, &m->wake, &m->wake_p99);
    ls_free(seconds);
    return status;
}
