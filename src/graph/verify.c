#include <string.h>

#include "graph/node.h"

/* "node 12 (matmul in h.0.attn)" */
#define NODE_FMT "graph verify: node %lld (%s%s%s): "
#define NODE_ARGS(i, node) \
    (long long)(i), (node)->op->name, *(node)->scope ? " in " : "", (node)->scope

static const char *const phase_names[] = {"PREPARE", "FORWARD", "BACKWARD", "UPDATE"};

static ls_status check_types(const ls_graph *graph, int64_t index, ls_arena *arena) {
    const ls_node *node = &graph->nodes[index];
    ls_type *in = ls_arena_alloc(arena, sizeof(ls_type) * (size_t)(node->n_in + 1));
    if (!in) return LS_ERR_NO_MEMORY;
    ls_type out[LS_MAX_OUT], fresh[LS_MAX_OUT];
    ls_sig sig;
    int n_out = 0;
    ls_node_sig(graph, node, in, out, &sig);
    const ls_status status = node->op->infer(node->attr, node->n_in, in, &n_out, fresh);
    if (status != LS_OK)
        return ls_error_prefix(status, "graph verify: node %lld", (long long)index);
    int same = n_out == node->n_out;
    for (int i = 0; same && i < n_out; i++)
        same = out[i].dtype == fresh[i].dtype && ls_shape_equal(&out[i].shape, &fresh[i].shape);
    if (same) return LS_OK;
    return LS_FAIL(LS_ERR_INTERNAL, NODE_FMT "stored result types differ from those inferred",
                   NODE_ARGS(index, node));
}

/* May a node of `phase` read this value? */
static int may_read(const ls_graph *graph, ls_phase phase, const ls_value_info *info) {
    switch (info->kind) {
    case LS_VALUE_INPUT:
        return phase == LS_PHASE_FORWARD || phase == LS_PHASE_BACKWARD;
    case LS_VALUE_ACCUM:
        return phase == LS_PHASE_UPDATE;
    case LS_VALUE_RESULT: {
        const ls_phase made = graph->nodes[info->node].phase;
        if (made == LS_PHASE_PREPARE) return 1;
        if (phase == LS_PHASE_UPDATE || made == LS_PHASE_UPDATE) return made == phase;
        return made <= phase;
    }
    default:
        return 1;
    }
}

static ls_status check_inputs(const ls_graph *graph, int64_t index) {
    const ls_node *node = &graph->nodes[index];
    for (int i = 0; i < node->n_in; i++) {
        const ls_value v = node->in[i];
        if (v < 0 || v >= graph->n_values)
            return LS_FAIL(LS_ERR_INTERNAL, NODE_FMT "input %d does not exist",
                           NODE_ARGS(index, node), i);
        const ls_value_info *info = &graph->values[v];
        if (info->kind == LS_VALUE_RESULT && info->node >= index)
            return LS_FAIL(LS_ERR_INTERNAL, NODE_FMT "input %d is made later, by node %d",
                           NODE_ARGS(index, node), i, info->node);
        if (!may_read(graph, node->phase, info))
            return LS_FAIL(LS_ERR_INTERNAL, NODE_FMT "a %s node may not read input %d (%s)",
                           NODE_ARGS(index, node), phase_names[node->phase], i,
                           ls_graph_name(graph, v));
    }
    return LS_OK;
}

/* A write to persistent memory: phase UPDATE, once, and nobody reads the old value later. */
static ls_status check_writes(const ls_graph *graph, int64_t index, char *written) {
    const ls_node *node = &graph->nodes[index];
    for (int i = 0; i < node->n_in; i++)
        if (written[node->in[i]])
            return LS_FAIL(LS_ERR_INTERNAL, NODE_FMT "reads '%s' after it was updated in place",
                           NODE_ARGS(index, node), ls_graph_name(graph, node->in[i]));
    if (!(node->op->flags & LS_OP_UPDATE) || !node->op->alias) return LS_OK;
    const ls_sig sig = {node->op, node->attr, node->n_in, node->n_out, NULL, NULL};
    for (int i = 0; i < node->n_out; i++) {
        const int a = node->op->alias(&sig, i);
        if (a < 0) continue;
        if (node->phase != LS_PHASE_UPDATE)
            return LS_FAIL(LS_ERR_INTERNAL, NODE_FMT "updates '%s' in phase %s; only UPDATE may",
                           NODE_ARGS(index, node), ls_graph_name(graph, node->in[a]),
                           phase_names[node->phase]);
        written[node->in[a]] = 1;
    }
    return LS_OK;
}

static ls_status check_accums(const ls_graph *graph) {
    for (int64_t v = 0; v < graph->n_values; v++) {
        const ls_value_info *info = &graph->values[v];
        if (info->kind != LS_VALUE_ACCUM) continue;
        const ls_value_info *source = &graph->values[info->source];
        const int lane = source->kind == LS_VALUE_RESULT &&
                         (graph->nodes[source->node].phase == LS_PHASE_FORWARD ||
                          graph->nodes[source->node].phase == LS_PHASE_BACKWARD);
        if (!lane || !ls_shape_equal(&info->type.shape, &source->type.shape))
            return LS_FAIL(LS_ERR_INTERNAL,
                           "graph verify: lane sum '%s' must have a FORWARD or BACKWARD result of "
                           "its own shape as source",
                           info->name);
    }
    return LS_OK;
}

ls_status ls_graph_verify(const ls_graph *graph) {
    LS_TRY(ls_graph_status(graph));
    ls_arena *arena;
    LS_TRY(ls_arena_create(&arena));
    ls_status status = LS_OK;
    char *written = ls_arena_alloc(arena, (size_t)graph->n_values + 1);
    if (!written) status = LS_ERR_NO_MEMORY;
    for (int64_t i = 0; status == LS_OK && i < graph->n_nodes; i++) {
        status = check_inputs(graph, i);
        if (status == LS_OK) status = check_types(graph, i, arena);
        if (status == LS_OK) status = check_writes(graph, i, written);
    }
    if (status == LS_OK) status = check_accums(graph);
    ls_arena_destroy(arena);
    return status;
}
