/* Reverse-mode differentiation, graph to graph. Gradient contributions of an ordinary value are added up in the order the
 * reverse sweep meets its readers; those of a persistent value, or of a value made of persistent values only (the bf16 copy of a
 * weight), are kept apart by the unit of the reader. */
#include <string.h>

#include "base/alloc.h"
#include "graph/node.h"

extern const ls_op ls_op_add; /* the one op the graph itself needs: sums of gradients */

typedef struct part {
    int unit;
    ls_value grad;
    struct part *next; /* ascending unit */
} part;

typedef struct sweep {
    ls_graph *graph;
    ls_arena *arena;
    int64_t n_values, n_nodes; /* of the forward graph */
    char *needs;               /* per value: a wrt reaches it */
    char *seeded;              /* per value: seed of one */
    char *invariant;
    part **parts; /* per value */
} sweep;

/* Adds a contribution made by a reader in `unit`. */
static ls_status contribute(sweep *s, ls_value value, int unit, ls_value grad) {
    if (!s->invariant[value]) unit = 0;
    part **at = &s->parts[value];
    while (*at && (*at)->unit < unit) at = &(*at)->next;
    if (*at && (*at)->unit == unit) {
        const ls_value terms[2] = {(*at)->grad, grad};
        (*at)->grad = ls_graph_node(s->graph, &ls_op_add, NULL, terms, 2, NULL);
        return ls_graph_status(s->graph);
    }
    part *fresh = ls_arena_alloc(s->arena, sizeof *fresh);
    if (!fresh) return LS_ERR_NO_MEMORY;
    *fresh = (part){unit, grad, *at};
    *at = fresh;
    return LS_OK;
}

/* Runs the op's rule for one set of upstream gradients and files what flows to the inputs. */
static ls_status apply_rule(sweep *s, int64_t index, const ls_value *dout, int unit) {
    const ls_node node = s->graph->nodes[index]; /* by value: builders move the array */
    const size_t n = (size_t)node.n_in + 1;
    ls_type *types = ls_arena_alloc(s->arena, sizeof(ls_type) * (n + LS_MAX_OUT));
    int *wants = ls_arena_alloc(s->arena, sizeof(int) * n);
    ls_value *din = ls_arena_alloc(s->arena, sizeof(ls_value) * n);
    if (!types || !wants || !din) return LS_ERR_NO_MEMORY;
    ls_sig sig;
    ls_node_sig(s->graph, &node, types, types + node.n_in, &sig);
    for (int i = 0; i < node.n_in; i++) {
        wants[i] = s->needs[node.in[i]];
        din[i] = LS_VALUE_NONE;
    }
    if (!node.op->grad)
        return LS_FAIL(
            LS_ERR_UNSUPPORTED,
            "op %s (%s) has no gradient; keep it off the path from parameters to the loss",
            node.op->name, node.scope);
    ls_graph_set_unit(s->graph, unit);
    s->graph->scope = node.scope;
    ls_grad grad = {s->graph, &sig, node.in, node.out, dout, wants, din};
    LS_TRY(node.op->grad(&grad));
    LS_TRY(ls_graph_status(s->graph));
    for (int i = 0; i < node.n_in; i++)
        if (wants[i] && din[i] != LS_VALUE_NONE) LS_TRY(contribute(s, node.in[i], unit, din[i]));
    return LS_OK;
}

/* An ordinary node: one upstream gradient per result. */
static ls_status sweep_node(sweep *s, int64_t index) {
    const ls_node *node = &s->graph->nodes[index];
    ls_value dout[LS_MAX_OUT];
    int flows = 0;
    for (int i = 0; i < node->n_out; i++) {
        const part *p = s->parts[node->out[i]];
        dout[i] = p ? p->grad : LS_VALUE_NONE;
        flows |= p != NULL || s->seeded[node->out[i]];
    }
    return flows ? apply_rule(s, index, dout, node->unit) : LS_OK;
}

/* A node over persistent values (weight copies): once per unit that reads its first result. */
static ls_status sweep_invariant(sweep *s, int64_t index) {
    const part *p = s->parts[s->graph->nodes[index].out[0]];
    for (; p; p = p->next) {
        ls_value dout[LS_MAX_OUT];
        for (int i = 0; i < LS_MAX_OUT; i++) dout[i] = i == 0 ? p->grad : LS_VALUE_NONE;
        LS_TRY(apply_rule(s, index, dout, p->unit));
    }
    return LS_OK;
}

/* needs[v]: v depends on a wrt value through float values. */
static void mark_needs(sweep *s, const ls_value *wrt, int n_wrt) {
    for (int i = 0; i < n_wrt; i++) s->needs[wrt[i]] = 1;
    for (int64_t n = 0; n < s->n_nodes; n++) {
        const ls_node *node = &s->graph->nodes[n];
        int any = 0;
        for (int i = 0; i < node->n_in; i++) any |= s->needs[node->in[i]];
        for (int i = 0; any && i < node->n_out; i++)
            s->needs[node->out[i]] |=
                (char)ls_dtype_is_float(s->graph->values[node->out[i]].type.dtype);
    }
}

static ls_status begin_sweep(sweep *s, const ls_value *outputs, const ls_value *seeds,
                             int n_outputs) {
    const size_t n = (size_t)s->n_values + 1;
    s->needs = ls_arena_alloc(s->arena, n);
    s->seeded = ls_arena_alloc(s->arena, n);
    s->invariant = ls_arena_alloc(s->arena, n);
    s->parts = ls_arena_alloc(s->arena, n * sizeof *s->parts);
    if (!s->needs || !s->seeded || !s->invariant || !s->parts) return LS_ERR_NO_MEMORY;
    for (int64_t v = 0; v < s->n_values; v++)
        s->invariant[v] = (char)ls_graph_is_invariant(s->graph, (ls_value)v);
    for (int i = 0; i < n_outputs; i++) {
        if (seeds && seeds[i] != LS_VALUE_NONE)
            LS_TRY(contribute(s, outputs[i], 0, seeds[i]));
        else
            s->seeded[outputs[i]] = 1;
    }
    return LS_OK;
}

static ls_status collect_parts(sweep *s, const ls_value *wrt, int n_wrt, ls_grad_parts *out) {
    int n = 0;
    for (int i = 0; i < n_wrt; i++)
        for (const part *p = s->parts[wrt[i]]; p; p = p->next) n++;
    out->parts = ls_arena_alloc(s->graph->arena, sizeof(ls_grad_part) * (size_t)(n + 1));
    if (!out->parts) return LS_ERR_NO_MEMORY;
    out->n_parts = 0;
    for (int i = 0; i < n_wrt; i++)
        for (const part *p = s->parts[wrt[i]]; p; p = p->next)
            out->parts[out->n_parts++] = (ls_grad_part){wrt[i], p->unit, p->grad};
    return LS_OK;
}

static ls_status run_sweep(sweep *s, const ls_value *wrt, int n_wrt) {
    mark_needs(s, wrt, n_wrt);
    for (int64_t n = s->n_nodes - 1; n >= 0; n--) {
        const ls_node *node = &s->graph->nodes[n];
        int needed = 0;
        for (int i = 0; i < node->n_in; i++) needed |= s->needs[node->in[i]];
        if (!needed) continue;
        LS_TRY(s->invariant[node->out[0]] ? sweep_invariant(s, n) : sweep_node(s, n));
    }
    return LS_OK;
}

static ls_status check_request(const ls_graph *graph, const ls_value *values, int n,
                               const char *what) {
    for (int i = 0; i < n; i++)
        if (values[i] < 0 || values[i] >= graph->n_values)
            return LS_FAIL(LS_ERR_INVALID, "differentiate: %s %d is not a value of this graph",
                           what, i);
    return LS_OK;
}

/* NULL and NONE are seeds of one. */
static ls_status check_seeds(const ls_graph *graph, const ls_value *seeds, int n) {
    for (int i = 0; seeds && i < n; i++)
        if (seeds[i] != LS_VALUE_NONE && (seeds[i] < 0 || seeds[i] >= graph->n_values))
            return LS_FAIL(LS_ERR_INVALID, "differentiate: seed %d is not a value of this graph",
                           i);
    return LS_OK;
}

ls_status ls_graph_differentiate(ls_graph *graph, const ls_value *outputs, const ls_value *seeds,
                                 int n_outputs, const ls_value *wrt, int n_wrt,
                                 ls_grad_parts *out) {
    LS_TRY(ls_graph_status(graph));
    LS_TRY(check_request(graph, outputs, n_outputs, "output"));
    LS_TRY(check_request(graph, wrt, n_wrt, "wrt"));
    LS_TRY(check_seeds(graph, seeds, n_outputs));
    sweep s = {.graph = graph, .n_values = graph->n_values, .n_nodes = graph->n_nodes};
    const ls_phase phase = graph->phase;
    const int unit = graph->unit;
    const char *scope = graph->scope;
    LS_TRY(ls_arena_create(&s.arena));
    graph->phase = LS_PHASE_BACKWARD;
    ls_status status = begin_sweep(&s, outputs, seeds, n_outputs);
    if (status == LS_OK) status = run_sweep(&s, wrt, n_wrt);
    if (status == LS_OK) status = collect_parts(&s, wrt, n_wrt, out);
    graph->phase = phase;
    graph->unit = unit;
    graph->scope = scope;
    ls_arena_destroy(s.arena);
    return status;
}
