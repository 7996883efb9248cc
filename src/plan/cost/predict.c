/* Seconds of a step from a plan and a machine's profile: overhead + roof / efficiency for every node, latency + bytes / bandwidth
 * for every collective, memory's bandwidth for lane sums. docs/bench.md has the model. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "op/collective_room.h"
#include "op/op.h"
#include "plan/cost/cost.h"

/* Where no reference model has nodes of a kind. */
static const double assumed_efficiency = 0.5;
/* A usual network between hosts, as plan.c takes it for its buckets. */
static const double far_latency_us = 50, far_gbps = 10;
/* A sum over ranges reads two and writes one; rounding reads and writes one. */
enum { ADD_PASSES = 3, ROUND_PASSES = 2 };

typedef struct predictor {
    const ls_plan *plan;
    const ls_machine *machine;
    int threads;         /* of one rank */
    int ranks_of_a_host; /* that share its memory */
    ls_predict_row *rows;
    int n_rows;
    int64_t capacity;
} predictor;

/* A host's ranks all work at once: one rank's share of what their threads reach together. */
static double share_of_flops(const predictor *p, ls_dtype dtype) {
    const int all = p->threads * p->ranks_of_a_host;
    return ls_machine_flops(p->machine, dtype, all) / p->ranks_of_a_host;
}

static double share_of_bandwidth(const predictor *p, double bytes) {
    const int all = p->threads * p->ranks_of_a_host;
    return ls_machine_bandwidth(p->machine, bytes * p->ranks_of_a_host, all) / p->ranks_of_a_host;
}

static ls_status find_row(predictor *p, const char *kind, ls_predict_row **out) {
    for (int i = 0; i < p->n_rows; i++)
        if (strcmp(p->rows[i].kind, kind) == 0) {
            *out = &p->rows[i];
            return LS_OK;
        }
    LS_TRY(ls_array_reserve((void **)&p->rows, &p->capacity, p->n_rows + 1, sizeof *p->rows));
    ls_predict_row *row = *out = &p->rows[p->n_rows++];
    *row = (ls_predict_row){.efficiency = ls_machine_efficiency(p->machine, kind)};
    snprintf(row->kind, sizeof row->kind, "%s", kind);
    row->is_assumed = row->efficiency == 0;
    if (row->is_assumed) row->efficiency = assumed_efficiency;
    return LS_OK;
}

/* A matmul's efficiency was measured with the packing of its right operand; one that finds it packed is spared that. */
static double spared_seconds(const predictor *p, const ls_sig *sig, double most) {
    char kind[LS_MACHINE_CLASS_BYTES];
    if (sig->op != &ls_op_matmul_packed || most <= 0) return 0;
    const ls_sig pack = {.op = &ls_op_pack, .n_in = 1, .in = &sig->in[1]};
    const double bytes = 2 * (double)ls_type_bytes(&sig->in[1]); /* read and written */
    ls_cost_kind(&pack, kind);
    double efficiency = ls_machine_efficiency(p->machine, kind);
    if (efficiency == 0) efficiency = assumed_efficiency;
    const double seconds = bytes / share_of_bandwidth(p, bytes) / efficiency;
    return seconds < most ? seconds : most;
}

static ls_status add_node(predictor *p, const ls_sig *sig, int64_t times) {
    char kind[LS_MACHINE_CLASS_BYTES];
    ls_predict_row *row;
    const ls_cost cost = ls_cost_of(sig);
    const double bytes = cost.bytes_read + cost.bytes_written;
    if (cost.flops == 0 && bytes == 0) return LS_OK; /* a view */
    ls_cost_kind(sig, kind);
    LS_TRY(find_row(p, kind, &row));
    const double compute = cost.flops / share_of_flops(p, ls_cost_dtype(sig));
    const double move = bytes / share_of_bandwidth(p, bytes);
    const double roof = compute > move ? compute : move;
    const double overhead = ls_cost_overhead(p->machine, &cost, p->threads);
    row->times += times;
    row->flops += cost.flops * (double)times;
    row->bytes += bytes * (double)times;
    row->roof_seconds += roof * (double)times;
    if (compute > move) row->compute_seconds += compute * (double)times;
    const double seconds = overhead + roof / row->efficiency;
    row->seconds += (seconds - spared_seconds(p, sig, seconds - roof)) * (double)times;
    return LS_OK;
}

static int64_t times_of(const predictor *p, ls_segment_kind kind) {
    const int per_lane =
        kind == LS_SEGMENT_FORWARD || kind == LS_SEGMENT_BACKWARD || kind == LS_SEGMENT_WEIGHT;
    const int training = p->plan->options.mode == LS_PLAN_TRAIN;
    if (!per_lane) return 1;
    return p->plan->options.lanes / (training ? p->plan->n_members : 1);
}

/* Collectives are counted by what they exchange, not as nodes. */
static ls_status add_segment(predictor *p, const ls_segment *segment) {
    const int64_t times = times_of(p, segment->kind);
    for (int64_t i = 0; i < segment->n_nodes; i++) {
        const ls_node *node = &p->plan->graph->nodes[segment->nodes[i]];
        if (ls_collective_of(node->op)) continue;
        ls_type *in = ls_alloc(sizeof *in * (size_t)(node->n_in + 1));
        if (!in) return LS_ERR_NO_MEMORY;
        ls_type out[LS_MAX_OUT];
        ls_sig sig;
        ls_node_sig(p->plan->graph, node, in, out, &sig);
        const ls_status status = add_node(p, &sig, times);
        ls_free(in);
        LS_TRY(status);
    }
    return LS_OK;
}

static ls_status add_folds(predictor *p, const ls_rank_plan *rank) {
    for (int64_t i = 0; i < rank->n_commands; i++) {
        const ls_command *c = &rank->commands[i];
        if (c->kind != LS_COMMAND_ADD && c->kind != LS_COMMAND_ROUND) continue;
        const int passes = c->kind == LS_COMMAND_ADD ? ADD_PASSES : ROUND_PASSES;
        const double bytes = passes * (double)rank->folds[c->fold].bytes;
        if (bytes == 0) continue;
        ls_predict_row *row;
        LS_TRY(find_row(p, "sums of lanes", &row));
        const double seconds = bytes / share_of_bandwidth(p, bytes);
        row->is_assumed = 0;
        row->efficiency = 1;
        row->times++;
        row->bytes += bytes;
        row->roof_seconds += seconds;
        row->seconds += seconds;
    }
    return LS_OK;
}

/* Between hosts: by the link that the plan was made for. */
static double exchange_seconds(const predictor *p, const ls_exchange_row *e) {
    const ls_plan_options *o = &p->plan->options;
    if (o->hosts <= 1) {
        const double seconds =
            ls_machine_exchange_seconds(p->machine, e->op, p->plan->n_members, e->bytes);
        return seconds > 0 ? seconds : e->bytes / share_of_bandwidth(p, e->bytes);
    }
    const double latency_us = o->link_latency_us > 0 ? o->link_latency_us : far_latency_us;
    const double gbps = o->link_gbps > 0 ? o->link_gbps : far_gbps;
    return latency_us * 1e-6 + e->bytes * 8 / (gbps * 1e9);
}

static ls_status add_exchanges(predictor *p, const ls_rank_plan *rank, ls_arena *arena) {
    ls_exchange_row *rows;
    int n;
    LS_TRY(ls_plan_exchanges(p->plan, rank, arena, &rows, &n));
    for (int i = 0; i < n; i++) {
        ls_predict_row *row;
        LS_TRY(find_row(p, rows[i].op, &row));
        row->is_exchange = 1;
        row->is_assumed = 0;
        row->efficiency = 1;
        row->times += rows[i].times;
        row->bytes += rows[i].bytes * rows[i].times;
        row->seconds += exchange_seconds(p, &rows[i]) * rows[i].times;
        row->roof_seconds = row->seconds;
    }
    return LS_OK;
}

static int compare_rows(const void *a, const void *b) {
    const ls_predict_row *x = a, *y = b;
    if (x->seconds != y->seconds) return x->seconds < y->seconds ? 1 : -1;
    return strcmp(x->kind, y->kind);
}

static ls_status predict_rank(predictor *p, const ls_rank_plan *rank, ls_arena *arena,
                              ls_prediction *out) {
    static const ls_dtype dtypes[] = {LS_DTYPE_F32, LS_DTYPE_BF16, LS_DTYPE_F16};
    p->n_rows = 0;
    for (int s = 0; s < rank->n_segments; s++) LS_TRY(add_segment(p, &rank->segments[s]));
    LS_TRY(add_folds(p, rank));
    LS_TRY(add_exchanges(p, rank, arena));
    ls_prediction r = {.n_rows = p->n_rows,
                       .threads = p->threads,
                       .flops_roof = share_of_flops(p, dtypes[p->plan->options.precision])};
    for (int i = 0; i < p->n_rows; i++) {
        const ls_predict_row *row = &p->rows[i];
        double *part = row->is_exchange                          ? &r.exchange_seconds
                       : strcmp(row->kind, "sums of lanes") == 0 ? &r.fold_seconds
                                                                 : &r.compute_seconds;
        *part += row->seconds;
        r.seconds += row->seconds;
        r.flops += row->flops;
    }
    if (r.seconds <= out->seconds) return LS_OK;
    r.rows = ls_arena_alloc(arena, sizeof *r.rows * (size_t)(p->n_rows + 1));
    if (!r.rows) return LS_ERR_NO_MEMORY;
    memcpy(r.rows, p->rows, sizeof *r.rows * (size_t)p->n_rows);
    qsort(r.rows, (size_t)p->n_rows, sizeof *r.rows, compare_rows);
    *out = r;
    return LS_OK;
}

static ls_status check_machine(const ls_machine *m) {
    const char *missing = NULL;
    if (!(ls_machine_bandwidth(m, 1e18, 1) > 0)) missing = "streams through memory";
    if (!(ls_machine_flops(m, LS_DTYPE_F32, 1) > 0)) missing = "multiply-adds of f32";
    if (!missing) return LS_OK;
    return LS_FAIL(LS_ERR_UNSUPPORTED,
                   "the machine profile has no figure for %s, so no time can be predicted from it; "
                   "`lockstep bench` measures all",
                   missing);
}

ls_status ls_plan_predict(const ls_plan *plan, const ls_machine *machine, ls_arena *arena,
                          ls_prediction *out) {
    const int hosts = plan->options.hosts > 1 ? plan->options.hosts : 1;
    const int ranks = ls_plan_ranks(plan);
    predictor p = {.plan = plan,
                   .machine = machine,
                   .threads = plan->options.threads,
                   .ranks_of_a_host = ranks > hosts ? ranks / hosts : 1};
    LS_TRY(check_machine(machine));
    ls_prediction result = {.seconds = -1};
    ls_status status = LS_OK;
    for (int r = 0; status == LS_OK && r < plan->n_ranks; r++)
        status = predict_rank(&p, &plan->ranks[r], arena, &result);
    ls_free(p.rows);
    if (status == LS_OK) *out = result;
    return status;
}
