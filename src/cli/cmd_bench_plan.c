/* lockstep bench --plan CONFIG: every distinct node of a run's training plan, timed alone, against its roof. */
#include <string.h>

#include "base/config.h"
#include "base/log.h"
#include "cli/cmd_bench.h"
#include "cli/progress.h"
#include "cli/run_options.h"
#include "train/session.h"

static ls_status feed(void *user, const char *name, int64_t lane, ls_tensor *tensor) {
    ls_session *s = user;
    if (lane >= 0) return ls_source_feed(s->source, 0, name, lane, tensor);
    ls_tensor_set(tensor, 0, ls_optim_lr(&s->config.optim, 0, s->config.steps));
    return LS_OK;
}

/* The profile that was named; the stored one; or, without, roofs measured now and not kept. */
static ls_status find_roofs(const ls_cmd_call *call, ls_meter *meter, ls_machine *m) {
    const ls_bench_options *o = call->options;
    const ls_status status = ls_cli_load_machine(o->machine, m);
    if (status == LS_OK || o->machine) return status;
    if (status == LS_ERR_NO_MEMORY) return status;
    ls_log(LS_LOG_INFO, "%s; the roofs are measured now", ls_error_message());
    ls_error_clear();
    ls_machine_describe(m);
    LS_TRY(ls_measure_gemm(meter, m));
    return ls_measure_memory(meter, m);
}

typedef struct node_report {
    const ls_machine *machine;
    const ls_node_table *table;
    int threads;
    double items;
    const char *what; /* items are: "tokens" */
} node_report;

static double roof_of(const node_report *r, const ls_node_row *row) {
    return ls_machine_roof_seconds(r->machine, row->dtype, row->flops, row->bytes, r->threads);
}

static const char *bound_of(const node_report *r, const ls_node_row *row) {
    const double rate = ls_machine_flops(r->machine, row->dtype, r->threads);
    return row->flops / rate >= roof_of(r, row)
               ? "compute"
               : ls_level_names[ls_machine_level_of(r->machine, row->bytes, r->threads)];
}

static void print_row(const node_report *r, const ls_node_row *row, FILE *out) {
    const double t = row->seconds.median;
    fprintf(out, "%6lld %10.4f +-%3.0f%% %10.4f %6.1f %%  %9.2f %8.2f %-9s %4.0f %%  %s  %s\n",
            (long long)row->times, t * 1e3, 50 * (row->seconds.most - row->seconds.least) / t,
            row->first * 1e3, 100 * (double)row->times * t / r->table->seconds,
            row->flops / t * 1e-9, row->bytes / t * 1e-9, bound_of(r, row),
            100 * roof_of(r, row) / t, row->kernel, row->types);
}

static ls_status print_table(const ls_cmd_call *call, const node_report *r) {
    FILE *out = call->out;
    double roofs = 0, flops = 0;
    fprintf(out, "%6s %10s %6s %10s %8s  %9s %8s %-9s %6s  %s\n", "times", "ms alone", "",
            "in step", "share", "GFLOP/s", "GB/s", "bound", "roof", "kernel");
    for (int i = 0; i < r->table->n_rows; i++) {
        const ls_node_row *row = &r->table->rows[i];
        roofs += (double)row->times * roof_of(r, row);
        flops += (double)row->times * row->flops;
        print_row(r, row, out);
    }
    const double step = r->table->step.median;
    fprintf(out,
            "%d distinct nodes; their times add up to %.4g ms (their roofs to %.4g ms); a step "
            "takes %.4g ms +-%.0f %%: %.4g %s/s, %.4g GFLOP/s\n",
            r->table->n_rows, r->table->seconds * 1e3, roofs * 1e3, step * 1e3,
            50 * (r->table->step.most - r->table->step.least) / step, r->items / step, r->what,
            flops / step * 1e-9);
    return LS_OK;
}

static json_t *row_json(const node_report *r, const ls_node_row *row) {
    const double t = row->seconds.median;
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:I,s:f,s:f,s:f,s:f,s:f,s:I,s:f,s:f,s:s,s:f}", "op",
                     row->op, "kernel", row->kernel, "types", row->types, "attributes", row->attr,
                     "kind", row->kind, "times", (json_int_t)row->times, "seconds", t, "least",
                     row->seconds.least, "most", row->seconds.most, "in_step_seconds", row->first,
                     "share", (double)row->times * t / r->table->seconds, "runs",
                     (json_int_t)row->seconds.n_runs, "flops_per_second", row->flops / t,
                     "bytes_per_second", row->bytes / t, "bound", bound_of(r, row), "of_roof",
                     roof_of(r, row) / t);
}

static ls_status print_json(const ls_cmd_call *call, const node_report *r) {
    json_t *rows = json_array();
    int failed = rows == NULL;
    for (int i = 0; !failed && i < r->table->n_rows; i++)
        failed = json_array_append_new(rows, row_json(r, &r->table->rows[i]));
    json_t *root =
        failed ? NULL
               : json_pack("{s:f,s:f,s:f,s:f,s:f,s:s,s:O}", "node_seconds", r->table->seconds,
                           "step_seconds", r->table->step.median, "step_least",
                           r->table->step.least, "step_most", r->table->step.most,
                           "items_per_second", r->items / r->table->step.median, "measured",
                           r->machine->measured, "nodes", rows);
    json_decref(rows);
    return ls_cli_print_json(call, root);
}

static ls_status time_session(const ls_cmd_call *call, ls_meter *meter, ls_session *s,
                              const ls_machine *m, ls_arena *arena) {
    const ls_run_options run = {.seed = (uint64_t)s->config.seed, .feed = feed, .user = s};
    const int reads_tokens = ls_model_reads_tokens(s->config.model.kind);
    ls_node_table table;
    meter->total = meter->done + 1;
    ls_meter_tell(meter, "nodes of the plan");
    LS_TRY(ls_program_init(s->train, (uint64_t)s->config.seed));
    LS_TRY(ls_measure_nodes(meter, s->train, &run, arena, &table));
    if (!call->quiet) ls_progress_end(meter->options.user);
    const node_report report = {m, &table, ls_pool_threads(s->pool),
                                ls_source_static_count(s->source, &s->config),
                                reads_tokens ? "tokens" : "images"};
    return call->json ? print_json(call, &report) : print_table(call, &report);
}

static ls_status time_config(const ls_cmd_call *call, ls_meter *meter,
                             const ls_train_config *config, const ls_machine *m) {
    ls_session session;
    ls_arena *arena = NULL;
    LS_TRY(ls_session_open(&session, config, NULL, LS_SESSION_TRAIN));
    ls_status status = ls_arena_create(&arena);
    if (status == LS_OK) status = time_session(call, meter, &session, m, arena);
    ls_arena_destroy(arena);
    ls_session_close(&session);
    return status;
}

ls_status ls_bench_plan(const ls_cmd_call *call, ls_meter *meter) {
    const ls_bench_options *o = call->options;
    ls_train_config config;
    ls_config *values = NULL;
    ls_machine *m = ls_alloc(sizeof *m);
    if (!m) return LS_ERR_NO_MEMORY;
    ls_status status =
        ls_train_config_load(o->plan, call->assignments, call->n_assignments, &config, &values);
    if (status == LS_OK) status = find_roofs(call, meter, m);
    if (status == LS_OK) status = time_config(call, meter, &config, m);
    ls_config_destroy(values);
    ls_free(m);
    return status;
}
