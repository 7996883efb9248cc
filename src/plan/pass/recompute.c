#include <string.h>

#include "op/gelu/gelu.h"
#include "op/matmul/matmul.h"
#include "op/op.h"
#include "op/silu/silu.h"
#include "plan/pass/pass.h"
#include "plan/pass/replace.h"
#include "plan/plan.h"

/* With `auto`. A norm, a GELU, a SwiGLU is made again in about 0.5 ns an element on Zen 4, on one core, in which products do some 100 operations
 * in bf16: 8,000 operations of a lane for each such element let it take a hundredth of the time. Of a transformer that is a width of 650 or
 * more. And it spares a byte a parameter at least, where AdamW in f32 keeps sixteen: below that memory hardly shrinks. */
enum { LEAST_WORK = 8000, LEAST_BYTES = 1 };

typedef struct recompute {
    const ls_graph *from;
    int n_units;
    char *unit_chosen; /* per unit: make its forward again */
    char *unit_done;   /* per unit: already emitted */
    char *wanted;      /* per node: scratch of one unit */
    ls_recompute kind;
    ls_recompute_report *report;
} recompute;

/* Result 0 of a product with one of these activations can be made again from result 1, which the activation's gradient reads: not
 * ReLU, whose gradient reads result 0. */
static ls_activation activation_of(const ls_node *node) {
    if (node->op != &ls_op_matmul) return LS_ACT_NONE;
    const ls_matmul_attr *attr = node->attr;
    const int plain = !attr->has_residual && attr->activation != LS_ACT_RELU;
    return plain ? attr->activation : LS_ACT_NONE;
}

/* Their gradients read their arguments, so the arguments are kept and nothing but the results is saved. */
static int is_cheap(const ls_node *node) {
    const ls_op *op = node->op;
    return op == &ls_op_layernorm || op == &ls_op_rmsnorm || op == &ls_op_gelu ||
           op == &ls_op_silu || op == &ls_op_swiglu || activation_of(node) != LS_ACT_NONE;
}

static int is_candidate(const recompute *r, const ls_node *node, int unit) {
    if (node->phase != LS_PHASE_FORWARD || node->unit != unit) return 0;
    if (r->kind == LS_RECOMPUTE_ATTENTION) return node->op == &ls_op_attention;
    return r->kind != LS_RECOMPUTE_CHEAP || is_cheap(node);
}

/* The result that a product with an activation keeps: its argument. */
static ls_value kept_result(const ls_node *node) {
    return activation_of(node) == LS_ACT_NONE ? LS_VALUE_NONE : node->out[1];
}

/* wanted[n]: the unit's backward reads a result of forward node n, directly or through another candidate. */
static void mark_wanted(const recompute *r, int unit) {
    const ls_graph *g = r->from;
    memset(r->wanted, 0, (size_t)g->n_nodes);
    for (int64_t n = g->n_nodes - 1; n >= 0; n--) {
        const ls_node *node = &g->nodes[n];
        const int reads = (node->phase == LS_PHASE_BACKWARD && node->unit == unit) || r->wanted[n];
        for (int i = 0; reads && i < node->n_in; i++) {
            const int32_t made = g->values[node->in[i]].node;
            if (made < 0 || !is_candidate(r, &g->nodes[made], unit)) continue;
            if (r->kind == LS_RECOMPUTE_CHEAP && node->in[i] == kept_result(&g->nodes[made]))
                continue;
            r->wanted[made] = 1;
        }
    }
}

static ls_status emit_activation(const ls_node *node, ls_graph *to, ls_value *map) {
    const ls_activation kind = activation_of(node);
    const ls_value pre = map[node->out[1]];
    map[node->out[0]] =
        kind == LS_ACT_SILU ? ls_silu(to, pre) : ls_gelu(to, pre, kind == LS_ACT_GELU_TANH);
    return ls_graph_status(to);
}

static ls_status emit_again(recompute *r, int unit, ls_graph *to, ls_value *map) {
    mark_wanted(r, unit);
    for (int64_t n = 0; n < r->from->n_nodes; n++) {
        if (!r->wanted[n]) continue;
        r->report->n_nodes++;
        r->report->elements += ls_type_count(&r->from->values[r->from->nodes[n].out[0]].type);
        ls_graph_set_scope(to, r->from->nodes[n].scope);
        if (r->kind == LS_RECOMPUTE_CHEAP && activation_of(&r->from->nodes[n]) != LS_ACT_NONE)
            LS_TRY(emit_activation(&r->from->nodes[n], to, map));
        else
            LS_TRY(ls_node_emit(&r->from->nodes[n], to, map, NULL));
    }
    r->unit_done[unit] = 1;
    return LS_OK;
}

static ls_status rewrite_node(void *user, const ls_graph *from, const ls_node *node, ls_graph *to,
                              ls_value *map, int *handled) {
    recompute *r = user;
    (void)from;
    *handled = 0;
    if (node->phase != LS_PHASE_BACKWARD || node->unit < 0 || node->unit >= r->n_units)
        return LS_OK;
    if (!r->unit_chosen[node->unit] || r->unit_done[node->unit]) return LS_OK;
    LS_TRY(emit_again(r, node->unit, to, map));
    ls_graph_set_scope(to, node->scope);
    return LS_OK;
}

/* Bytes that forward nodes leave for the backward pass of one lane. */
static ls_status count_kept(const ls_graph *graph, size_t *out) {
    size_t bytes = 0;
    char *seen = ls_alloc((size_t)graph->n_values + 1);
    if (!seen) return LS_ERR_NO_MEMORY;
    for (int64_t n = 0; n < graph->n_nodes; n++) {
        const ls_node *node = &graph->nodes[n];
        for (int i = 0; node->phase == LS_PHASE_BACKWARD && i < node->n_in; i++) {
            const ls_value_info *info = &graph->values[node->in[i]];
            const int forward =
                info->kind == LS_VALUE_RESULT && graph->nodes[info->node].phase == LS_PHASE_FORWARD;
            if (!forward || seen[node->in[i]]) continue;
            seen[node->in[i]] = 1;
            bytes += ls_align_up(ls_type_bytes(&info->type), LS_PLACE_ALIGN);
        }
    }
    ls_free(seen);
    *out = bytes;
    return LS_OK;
}

static int count_units(const ls_graph *graph) {
    int n_units = 0;
    for (int64_t n = 0; n < graph->n_nodes; n++)
        if (graph->nodes[n].unit + 1 > n_units) n_units = graph->nodes[n].unit + 1;
    return n_units;
}

/* Rewrites with the first n_chosen layers recomputed (all when negative). */
static ls_status recompute_layers(const ls_graph *from, int n_chosen, ls_recompute_report *report,
                                  ls_graph **out) {
    const int n_units = count_units(from);
    recompute r = {.from = from, .n_units = n_units, .kind = report->kind, .report = report};
    ls_arena *arena;
    report->n_nodes = report->elements = 0;
    LS_TRY(ls_arena_create(&arena));
    ls_status status = LS_ERR_NO_MEMORY;
    r.unit_chosen = ls_arena_alloc(arena, (size_t)n_units + 1);
    r.unit_done = ls_arena_alloc(arena, (size_t)n_units + 1);
    r.wanted = ls_arena_alloc(arena, (size_t)from->n_nodes + 1);
    *out = NULL;
    if (r.unit_chosen && r.unit_done && r.wanted) {
        for (int u = 1; u < n_units - 1; u++) r.unit_chosen[u] = n_chosen < 0 || u <= n_chosen;
        status = ls_graph_create(out);
    }
    if (status == LS_OK) status = ls_graph_rewrite(from, *out, rewrite_node, &r);
    if (status != LS_OK) ls_graph_destroy(*out);
    ls_arena_destroy(arena);
    return status;
}

/* As few layers as bring a lane's kept bytes under the budget. */
static ls_status recompute_to_budget(const ls_graph *from, int64_t budget,
                                     ls_recompute_report *report, ls_graph **out) {
    const int n_layers = count_units(from) - 2;
    for (int n = 0; n <= n_layers; n++) {
        ls_graph *graph;
        size_t bytes = 0;
        LS_TRY(recompute_layers(from, n, report, &graph));
        const ls_status status = count_kept(graph, &bytes);
        if (status == LS_OK && bytes <= (size_t)budget) {
            *out = graph;
            return LS_OK;
        }
        ls_graph_destroy(graph);
        LS_TRY(status);
        if (n == n_layers)
            return LS_FAIL(LS_ERR_CONFIG,
                           "recompute_bytes = %lld asks for less than one lane needs with every "
                           "layer recomputed (%zu bytes); "
                           "raise it, or use more lanes so that each is smaller",
                           (long long)budget, bytes);
    }
    return LS_FAIL(LS_ERR_UNSUPPORTED,
                   "recompute: the model has no layers between its first and last unit");
}

static ls_status measure(const ls_graph *before, const ls_graph *after,
                         ls_recompute_report *report) {
    size_t kept, left;
    LS_TRY(count_kept(before, &kept));
    LS_TRY(count_kept(after, &left));
    report->bytes = (int64_t)kept - (int64_t)left;
    for (int64_t n = 0; n < before->n_nodes; n++) {
        const ls_phase phase = before->nodes[n].phase;
        if (phase == LS_PHASE_FORWARD || phase == LS_PHASE_BACKWARD)
            LS_TRY(ls_plan_add_flops(before, &before->nodes[n], &report->flops));
    }
    for (int64_t v = 0; v < before->n_values; v++)
        if (before->values[v].kind == LS_VALUE_PARAM)
            report->n_parameters += ls_type_count(&before->values[v].type);
    return LS_OK;
}

/* With `auto`: few FLOPs beside those of the lane, many bytes beside those that the rank keeps from step to step. */
static int is_worth_it(const ls_recompute_report *r) {
    return r->n_nodes > 0 && r->flops >= LEAST_WORK * (double)r->elements &&
           r->bytes >= LEAST_BYTES * r->n_parameters;
}

static ls_status rewrite(ls_graph **graph, const ls_plan_options *options,
                         ls_recompute_report *report) {
    ls_graph *fresh = NULL;
    if (report->kind == LS_RECOMPUTE_BYTES)
        LS_TRY(recompute_to_budget(*graph, options->recompute_bytes, report, &fresh));
    else
        LS_TRY(recompute_layers(*graph, -1, report, &fresh));
    const ls_status status = measure(*graph, fresh, report);
    const int declined = options->recompute == LS_RECOMPUTE_AUTO && !is_worth_it(report);
    if (declined) report->kind = LS_RECOMPUTE_NONE;
    if (status != LS_OK || declined) {
        ls_graph_destroy(fresh);
        return status;
    }
    ls_graph_destroy(*graph);
    *graph = fresh;
    return LS_OK;
}

ls_status ls_pass_recompute(ls_graph **graph, const ls_plan_options *options,
                            ls_recompute_report *report) {
    *report = (ls_recompute_report){.kind = options->recompute};
    if (report->kind == LS_RECOMPUTE_NONE) return LS_OK;
    if (report->kind == LS_RECOMPUTE_AUTO) report->kind = LS_RECOMPUTE_CHEAP;
    return rewrite(graph, options, report);
}
