#include <string.h>

#include "graph/node.h"

static const char *const phase_names[] = {"prepare", "forward", "backward", "update"};
static const char *const kind_names[] = {"input", "step_input", "param",
                                         "state", "accum",      "result"};

static void print_type(ls_text *out, const ls_type *type) {
    char shape[128];
    ls_text_append(out, "%s%s", ls_dtype_name(type->dtype), ls_shape_print(&type->shape, shape));
}

static void print_leaf(const ls_graph *graph, int64_t v, ls_text *out) {
    const ls_value_info *info = &graph->values[v];
    if (info->kind == LS_VALUE_RESULT) return;
    ls_text_append(out, "%%%lld = %s \"%s\" ", (long long)v, kind_names[info->kind], info->name);
    print_type(out, &info->type);
    if (info->kind == LS_VALUE_ACCUM) ls_text_append(out, " of %%%d", info->source);
    ls_text_append(out, "\n");
}

static void print_node(const ls_graph *graph, const ls_node *node, ls_text *out) {
    for (int i = 0; i < node->n_out; i++)
        ls_text_append(out, "%s%%%d", i ? ", " : "", node->out[i]);
    ls_text_append(out, " = %s(", node->op->name);
    for (int i = 0; i < node->n_in; i++) ls_text_append(out, "%s%%%d", i ? ", " : "", node->in[i]);
    ls_text_append(out, ")");
    if (node->op->print && node->attr) {
        ls_text_append(out, " {");
        node->op->print(node->attr, out);
        ls_text_append(out, "}");
    }
    for (int i = 0; i < node->n_out; i++) {
        ls_text_append(out, i ? ", " : " : ");
        print_type(out, &graph->values[node->out[i]].type);
    }
    ls_text_append(out, "  # %s unit %d%s%s\n", phase_names[node->phase], node->unit,
                   *node->scope ? " " : "", node->scope);
}

ls_status ls_graph_print(const ls_graph *graph, char **text_out) {
    LS_TRY(ls_graph_status(graph));
    ls_text text = {0};
    for (int64_t v = 0; v < graph->n_values; v++) print_leaf(graph, v, &text);
    for (int64_t n = 0; n < graph->n_nodes; n++) print_node(graph, &graph->nodes[n], &text);
    for (int64_t i = 0; i < graph->n_outputs; i++)
        ls_text_append(&text, "output \"%s\" %%%d\n", graph->outputs[i].name,
                       graph->outputs[i].value);
    if (text.status != LS_OK) {
        ls_text_deinit(&text);
        return LS_ERR_NO_MEMORY;
    }
    *text_out = text.data;
    return LS_OK;
}

/* Within quotes of Graphviz's language. */
static void append_quoted(ls_text *out, const char *name) {
    for (; *name; name++) {
        if (*name == '"' || *name == '\\') ls_text_append_bytes(out, "\\", 1);
        ls_text_append_bytes(out, name, 1);
    }
}

ls_status ls_graph_print_dot(const ls_graph *graph, char **text_out) {
    LS_TRY(ls_graph_status(graph));
    ls_text text = {0};
    ls_text_append(
        &text, "digraph lockstep {\n  rankdir=TB; node [shape=box, fontname=\"sans-serif\"];\n");
    for (int64_t v = 0; v < graph->n_values; v++) {
        const ls_value_info *info = &graph->values[v];
        if (info->kind == LS_VALUE_RESULT) continue;
        ls_text_append(&text, "  v%lld [shape=ellipse, label=\"", (long long)v);
        append_quoted(&text, info->name);
        ls_text_append(&text, "\\n");
        print_type(&text, &info->type);
        ls_text_append(&text, "\"];\n");
        if (info->kind == LS_VALUE_ACCUM && graph->values[info->source].node >= 0)
            ls_text_append(&text, "  n%d -> v%lld [style=dashed, label=\"lane sum\"];\n",
                           graph->values[info->source].node, (long long)v);
    }
    for (int64_t n = 0; n < graph->n_nodes; n++) {
        const ls_node *node = &graph->nodes[n];
        ls_text_append(&text, "  n%lld [label=\"%s\\n", (long long)n, node->op->name);
        append_quoted(&text, node->scope);
        ls_text_append(&text, "\"];\n");
        for (int i = 0; i < node->n_in; i++) {
            const ls_value_info *info = &graph->values[node->in[i]];
            if (info->kind == LS_VALUE_RESULT)
                ls_text_append(&text, "  n%d -> n%lld;\n", info->node, (long long)n);
            else
                ls_text_append(&text, "  v%d -> n%lld;\n", node->in[i], (long long)n);
        }
    }
    ls_text_append(&text, "}\n");
    if (text.status != LS_OK) {
        ls_text_deinit(&text);
        return LS_ERR_NO_MEMORY;
    }
    *text_out = text.data;
    return LS_OK;
}
