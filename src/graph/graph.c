#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "graph/node.h"

ls_status ls_graph_create(ls_graph **out) {
    ls_graph *graph = ls_alloc(sizeof *graph);
    if (!graph) return LS_ERR_NO_MEMORY;
    const ls_status status = ls_arena_create(&graph->arena);
    if (status != LS_OK) {
        ls_free(graph);
        return status;
    }
    graph->unit = -1;
    graph->phase = LS_PHASE_FORWARD;
    graph->scope = "";
    *out = graph;
    return LS_OK;
}

void ls_graph_destroy(ls_graph *graph) {
    if (!graph) return;
    ls_free(graph->values);
    ls_free(graph->nodes);
    ls_free(graph->outputs);
    ls_free(graph->slots);
    ls_arena_destroy(graph->arena);
    ls_free(graph);
}

ls_status ls_graph_status(const ls_graph *graph) {
    if (graph->status == LS_OK) return LS_OK;
    return LS_FAIL(graph->status, "%s", graph->message ? graph->message : "out of memory");
}

/* Keeps the calling thread's error record as the graph's first failure. */
static ls_value keep_failure(ls_graph *graph, ls_status status) {
    if (graph->status == LS_OK) {
        graph->status = status;
        graph->message = ls_arena_strdup(graph->arena, ls_error_message());
    }
    return LS_VALUE_NONE;
}

ls_value ls_graph_fail(ls_graph *graph, ls_status status, const char *fmt, ...) {
    char message[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    return keep_failure(graph, LS_FAIL(status, "%s", message));
}

/* Room for one more value; returns its index or NONE. */
static ls_value append_value(ls_graph *graph, ls_value_info info) {
    const ls_status status = ls_array_reserve((void **)&graph->values, &graph->values_capacity,
                                              graph->n_values + 1, sizeof *graph->values);
    if (status != LS_OK) return keep_failure(graph, status);
    graph->values[graph->n_values] = info;
    return (ls_value)graph->n_values++;
}

static ls_value append_leaf(ls_graph *graph, const char *name, ls_value_info info) {
    if (graph->status != LS_OK) return LS_VALUE_NONE;
    if (!name || !*name)
        return ls_graph_fail(graph, LS_ERR_INVALID,
                             "a graph leaf needs a name; give each a unique one");
    if (ls_graph_find(graph, name) != LS_VALUE_NONE)
        return ls_graph_fail(graph, LS_ERR_INVALID,
                             "the graph has a value named '%s' already; names of leaves are unique",
                             name);
    info.name = ls_arena_strdup(graph->arena, name);
    if (!info.name) return keep_failure(graph, LS_ERR_NO_MEMORY);
    info.node = -1;
    const ls_status status = ls_graph_reserve_name(graph);
    if (status != LS_OK) return keep_failure(graph, status);
    const ls_value leaf = append_value(graph, info);
    if (leaf != LS_VALUE_NONE) ls_graph_index_name(graph, leaf);
    return leaf;
}

static ls_value_info make_leaf(ls_value_kind kind, ls_dtype dtype, ls_shape shape) {
    return (ls_value_info){.kind = kind, .type = {dtype, shape}, .source = LS_VALUE_NONE};
}

ls_value ls_graph_input(ls_graph *graph, const char *name, ls_dtype dtype, ls_shape shape) {
    return append_leaf(graph, name, make_leaf(LS_VALUE_INPUT, dtype, shape));
}

ls_value ls_graph_step_input(ls_graph *graph, const char *name, ls_dtype dtype, ls_shape shape) {
    return append_leaf(graph, name, make_leaf(LS_VALUE_STEP_INPUT, dtype, shape));
}

ls_value ls_graph_param(ls_graph *graph, const char *name, ls_dtype dtype, ls_shape shape,
                        ls_init init) {
    ls_value_info info = make_leaf(LS_VALUE_PARAM, dtype, shape);
    info.role = LS_ROLE_WEIGHT;
    info.init = init;
    return append_leaf(graph, name, info);
}

ls_value ls_graph_state(ls_graph *graph, const char *name, ls_dtype dtype, ls_shape shape,
                        ls_init init, ls_role role) {
    ls_value_info info = make_leaf(LS_VALUE_STATE, dtype, shape);
    info.role = role;
    info.init = init;
    return append_leaf(graph, name, info);
}

ls_value ls_graph_accumulate(ls_graph *graph, const char *name, ls_value source) {
    if (graph->status != LS_OK) return LS_VALUE_NONE;
    if (source < 0 || source >= graph->n_values)
        return ls_graph_fail(graph, LS_ERR_INVALID, "accumulate '%s': no such value", name);
    const ls_type type = graph->values[source].type;
    if (!ls_dtype_is_float(type.dtype))
        return ls_graph_fail(graph, LS_ERR_INVALID,
                             "accumulate '%s': only float values can be summed over lanes, got %s",
                             name, ls_dtype_name(type.dtype));
    ls_value_info info = make_leaf(LS_VALUE_ACCUM, LS_DTYPE_F32, type.shape);
    info.source = source;
    return append_leaf(graph, name, info);
}

ls_status ls_graph_output(ls_graph *graph, const char *name, ls_value value) {
    LS_TRY(ls_graph_status(graph));
    if (!name || !*name)
        return LS_FAIL(LS_ERR_INVALID, "a graph output needs a name, by which a run fetches it");
    if (value < 0 || value >= graph->n_values)
        return LS_FAIL(LS_ERR_INVALID, "output '%s': no such value in the graph", name);
    LS_TRY(ls_array_reserve((void **)&graph->outputs, &graph->outputs_capacity,
                            graph->n_outputs + 1, sizeof *graph->outputs));
    const char *copy = ls_arena_strdup(graph->arena, name);
    if (!copy) return LS_ERR_NO_MEMORY;
    graph->outputs[graph->n_outputs++] = (ls_output){copy, value};
    return LS_OK;
}

void ls_graph_set_piece(ls_graph *graph, ls_value v, int64_t piece, ls_shape whole) {
    if (v < 0 || v >= graph->n_values) return;
    graph->values[v].piece = piece;
    graph->values[v].whole = whole;
}

ls_type ls_value_whole_type(const ls_value_info *info) {
    return info->piece ? (ls_type){info->type.dtype, info->whole} : info->type;
}

void ls_graph_set_unit(ls_graph *graph, int unit) {
    graph->unit = unit;
}

void ls_graph_set_phase(ls_graph *graph, ls_phase phase) {
    graph->phase = phase;
}

void ls_graph_set_scope(ls_graph *graph, const char *scope) {
    if (graph->status != LS_OK || strcmp(graph->scope, scope) == 0) return;
    const char *copy = ls_arena_strdup(graph->arena, scope);
    if (copy)
        graph->scope = copy;
    else
        keep_failure(graph, LS_ERR_NO_MEMORY);
}

ls_dtype ls_graph_dtype(const ls_graph *graph, ls_value value) {
    return value < 0 || value >= graph->n_values ? LS_DTYPE_F32 : graph->values[value].type.dtype;
}

ls_shape ls_graph_shape(const ls_graph *graph, ls_value value) {
    return value < 0 || value >= graph->n_values ? (ls_shape){0} : graph->values[value].type.shape;
}

const char *ls_graph_name(const ls_graph *graph, ls_value value) {
    const char *name = value < 0 || value >= graph->n_values ? NULL : graph->values[value].name;
    return name ? name : "";
}

/* Checks count and existence of a node's inputs. */
static ls_status check_inputs(const ls_graph *graph, const ls_op *op, const ls_value *in,
                              int n_in) {
    if (n_in < op->min_in || (op->max_in >= 0 && n_in > op->max_in))
        return LS_FAIL(LS_ERR_INVALID, "op %s takes %d to %d inputs, got %d", op->name, op->min_in,
                       op->max_in, n_in);
    for (int i = 0; i < n_in; i++)
        if (in[i] < 0 || in[i] >= graph->n_values)
            return LS_FAIL(LS_ERR_INVALID, "op %s: input %d is not a value of this graph", op->name,
                           i);
    return LS_OK;
}

/* Fills node->in, attr and the result types, all in graph memory. */
static ls_status prepare_node(ls_graph *graph, ls_node *node, const void *attr, const ls_value *in,
                              ls_type *types) {
    node->in = ls_arena_alloc(graph->arena, sizeof(ls_value) * (size_t)(node->n_in + LS_MAX_OUT));
    ls_type *in_types = ls_arena_alloc(graph->arena, sizeof(ls_type) * (size_t)(node->n_in + 1));
    if (!node->in || !in_types) return LS_ERR_NO_MEMORY;
    node->out = node->in + node->n_in;
    for (int i = 0; i < node->n_in; i++) {
        node->in[i] = in[i];
        in_types[i] = graph->values[in[i]].type;
    }
    if (node->op->attr_bytes) {
        void *copy = ls_arena_alloc(graph->arena, node->op->attr_bytes);
        if (!copy) return LS_ERR_NO_MEMORY;
        memcpy(copy, attr, node->op->attr_bytes);
        node->attr = copy;
    }
    return node->op->infer(node->attr, node->n_in, in_types, &node->n_out, types);
}

ls_value ls_graph_node(ls_graph *graph, const ls_op *op, const void *attr, const ls_value *in,
                       int n_in, ls_value *outs) {
    if (outs) outs[0] = LS_VALUE_NONE;
    if (graph->status != LS_OK) return LS_VALUE_NONE;
    ls_status status = check_inputs(graph, op, in, n_in);
    ls_type types[LS_MAX_OUT];
    ls_node node = {.op = op, .n_in = n_in, .phase = graph->phase, .unit = graph->unit};
    node.scope = graph->scope;
    if (status == LS_OK) status = prepare_node(graph, &node, attr, in, types);
    if (status == LS_OK)
        status = ls_array_reserve((void **)&graph->nodes, &graph->nodes_capacity,
                                  graph->n_nodes + 1, sizeof *graph->nodes);
    if (status != LS_OK) {
        if (*graph->scope) ls_error_prefix(status, "%s", graph->scope);
        return keep_failure(graph, status);
    }
    for (int i = 0; i < node.n_out; i++) {
        ls_value_info info = {.kind = LS_VALUE_RESULT, .type = types[i], .out_index = i};
        info.node = (int32_t)graph->n_nodes;
        info.source = LS_VALUE_NONE;
        node.out[i] = append_value(graph, info);
        if (outs) outs[i] = node.out[i];
    }
    if (graph->status != LS_OK) return LS_VALUE_NONE;
    graph->nodes[graph->n_nodes++] = node;
    return node.out[0];
}

void ls_node_sig(const ls_graph *graph, const ls_node *node, ls_type *in, ls_type *out,
                 ls_sig *sig_out) {
    for (int i = 0; i < node->n_in; i++) in[i] = graph->values[node->in[i]].type;
    for (int i = 0; i < node->n_out; i++) out[i] = graph->values[node->out[i]].type;
    *sig_out = (ls_sig){node->op, node->attr, node->n_in, node->n_out, in, out};
}

int ls_graph_is_invariant(const ls_graph *graph, ls_value value) {
    const ls_value_info *info = &graph->values[value];
    if (info->kind == LS_VALUE_PARAM || info->kind == LS_VALUE_STATE) return 1;
    if (info->kind != LS_VALUE_RESULT) return 0;
    const ls_node *node = &graph->nodes[info->node];
    if (node->phase == LS_PHASE_PREPARE) return 1;
    if (node->phase != LS_PHASE_FORWARD || (node->op->flags & LS_OP_RANDOM) || node->n_in == 0)
        return 0;
    for (int i = 0; i < node->n_in; i++)
        if (!ls_graph_is_invariant(graph, node->in[i])) return 0;
    return 1;
}

ls_dtype ls_graph_grad_dtype(const ls_graph *graph, ls_value value) {
    const ls_dtype dtype = graph->values[value].type.dtype;
    const int low = dtype == LS_DTYPE_BF16 || dtype == LS_DTYPE_F16;
    return low && ls_graph_is_invariant(graph, value) ? LS_DTYPE_F32 : dtype;
}
