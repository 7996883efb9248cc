/* Times the kernels of a case. */
#include "base/clock.h"
#include "op/op_applied.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Best seconds of at least one run and at least `seconds` in all. */
static ls_status time_kernel(const ls_kernel *kernel, applied *a, const ls_tensor *in,
                             ls_pool *pool, double seconds, double *best_out) {
    const size_t bytes =
        kernel->workspace_bytes ? kernel->workspace_bytes(&a->sig, ls_pool_threads(pool)) : 0;
    void *workspace = ls_alloc(bytes);
    if (!workspace) return LS_ERR_NO_MEMORY;
    const ls_launch launch = {
        .sig = &a->sig, .in = in, .out = a->out, .workspace = workspace, .pool = pool};
    double best = INFINITY;
    ls_status status = LS_OK;
    op_applied_prepare(a);
    for (double spent = 0; status == LS_OK && (spent == 0 || spent < seconds);) {
        const double begin = ls_clock_seconds();
        status = kernel->launch(&launch);
        const double took = ls_clock_seconds() - begin;
        best = took < best ? took : best;
        spent += took;
    }
    ls_free(workspace);
    *best_out = best;
    return status;
}

typedef struct timing_run {
    const op_timing_options *options;
    ls_pool *pool;
    op_timing_fn fn;
    void *user;
} timing_run;

/* One kernel, as often as the caller wants; slow: seconds of the reference kernel, 0 where it was not timed. */
static ls_status time_one(const timing_run *run, applied *a, const ls_tensor *in, op_timing *t,
                          const ls_kernel *kernel, double slow) {
    const ls_cost cost = op_sig_cost(&a->sig);
    double best = slow;
    do {
        if (kernel != ls_kernel_reference(a->op))
            LS_TRY(time_kernel(kernel, a, in, run->pool, run->options->seconds, &best));
        t->seconds = best;
        t->bytes_read = cost.bytes_read;
        t->bytes_written = cost.bytes_written;
        t->gflops = cost.flops / best * 1e-9;
        t->gbps = (cost.bytes_read + cost.bytes_written) / best * 1e-9;
        t->ratio = slow / best;
    } while (run->fn(run->user, t));
    return LS_OK;
}

/* Every kernel, with inputs at `in`; `suffix` behind the kernels' names. */
static ls_status time_kernels(const timing_run *run, applied *a, const ls_tensor *in,
                              const char *suffix) {
    const ls_kernel *reference = ls_kernel_reference(a->op);
    const ls_cost cost = op_sig_cost(&a->sig);
    const int is_first_only = run->options->is_first_only;
    double slow = 0;
    if (!is_first_only && cost.flops < 4e9 && cost.bytes_read < 1e8)
        LS_TRY(time_kernel(reference, a, in, NULL, 0, &slow));
    for (const ls_kernel *const *k = a->op->kernels; *k; k++) {
        if (!op_kernel_runs_here(*k, &a->sig) || (*k == reference && slow == 0)) continue;
        char name[128];
        snprintf(name, sizeof name, "%s%s", (*k)->name, suffix);
        op_timing timing = {.op = a->op->name, .case_name = a->c->name, .kernel = name};
        timing.dtype = a->dtype;
        timing.threads = ls_pool_threads(run->pool);
        LS_TRY(time_one(run, a, in, &timing, *k, slow));
        if (is_first_only) break;
    }
    return LS_OK;
}

/* Updates twice: in place, and with results in other memory (plan option `kept`). */
static ls_status time_dtype(const timing_run *run, applied *a) {
    if (!(a->op->flags & LS_OP_UPDATE)) return time_kernels(run, a, a->in, "");
    ls_tensor *in = ls_alloc(sizeof *in * (size_t)a->sig.n_in);
    if (!in) return LS_ERR_NO_MEMORY;
    memcpy(in, a->in, sizeof *in * (size_t)a->sig.n_in);
    for (int i = 0; a->op->alias && i < a->sig.n_out; i++) {
        const int of = a->op->alias(&a->sig, i);
        if (of >= 0) in[of].data = a->out[i].data;
    }
    ls_status status = time_kernels(run, a, in, "");
    if (status == LS_OK) status = time_kernels(run, a, a->in, " kept");
    ls_free(in);
    return status;
}

ls_status op_time_case(const ls_op *op, const ls_op_case *c, const op_timing_options *options,
                       op_timing_fn fn, void *user) {
    timing_run run = {.options = options, .fn = fn, .user = user};
    ls_status status = ls_pool_create(options->threads, 0, &run.pool);
    for (size_t d = 0; status == LS_OK && d < OP_TESTED_DTYPES; d++) {
        if (!op_case_has_dtype(c, op_tested_dtypes[d])) continue;
        applied a;
        status = op_applied_init(&a, op, c, op_tested_dtypes[d], 0);
        if (status == LS_OK) status = time_dtype(&run, &a);
        op_applied_deinit(&a);
    }
    ls_pool_destroy(run.pool);
    return status;
}
