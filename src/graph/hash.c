#include "base/hash.h"

#include "graph/node.h"

/* Everything that decides the result, in graph order; names of results are left out. */
static void describe_value(const ls_value_info *info, ls_text *out) {
    ls_text_append(out, "%d %d %d", (int)info->kind, (int)info->type.dtype,
                   info->type.shape.n_dims);
    for (int d = 0; d < info->type.shape.n_dims; d++)
        ls_text_append(out, " %lld", (long long)info->type.shape.dims[d]);
    if (info->kind != LS_VALUE_RESULT) ls_text_append(out, " '%s' %d", info->name, info->source);
    if (info->kind == LS_VALUE_PARAM || info->kind == LS_VALUE_STATE)
        ls_text_append(out, " %d %a %a", (int)info->init.kind, info->init.a, info->init.b);
    ls_text_append(out, "\n");
}

static void describe_node(const ls_node *node, ls_text *out) {
    ls_text_append(out, "%s %d %d {", node->op->name, (int)node->phase, node->unit);
    if (node->op->print && node->attr) node->op->print(node->attr, out);
    ls_text_append(out, "}");
    for (int i = 0; i < node->n_in; i++) ls_text_append(out, " %d", node->in[i]);
    ls_text_append(out, " ->");
    for (int i = 0; i < node->n_out; i++) ls_text_append(out, " %d", node->out[i]);
    ls_text_append(out, "\n");
}

ls_status ls_graph_hash(const ls_graph *graph, uint64_t *out) {
    LS_TRY(ls_graph_status(graph));
    ls_text text = {0};
    for (int64_t v = 0; v < graph->n_values; v++) describe_value(&graph->values[v], &text);
    for (int64_t n = 0; n < graph->n_nodes; n++) describe_node(&graph->nodes[n], &text);
    const ls_status status = text.status;
    if (status == LS_OK) *out = ls_xxh3(text.data, text.size, 0);
    ls_text_deinit(&text);
    return status;
}
