#include "plan/pass/pass.h"
#include "plan/pass/replace.h"

static ls_status drop_dead(void *user, const ls_graph *from, const ls_node *node, ls_graph *to,
                           ls_value *map, int *handled) {
    const char *live = user;
    (void)to;
    (void)map;
    *handled = !live[node - from->nodes];
    return LS_OK;
}

/* live[n]: a result of node n is an output, a lane sum's source, an in-place update, or read by a live node. */
static void mark_live(const ls_graph *graph, char *live) {
    for (int64_t i = 0; i < graph->n_outputs; i++) {
        const int32_t made = graph->values[graph->outputs[i].value].node;
        if (made >= 0) live[made] = 1;
    }
    for (int64_t v = 0; v < graph->n_values; v++)
        if (graph->values[v].kind == LS_VALUE_ACCUM)
            live[graph->values[graph->values[v].source].node] = 1;
    for (int64_t n = graph->n_nodes - 1; n >= 0; n--) {
        const ls_node *node = &graph->nodes[n];
        if (node->op->flags & LS_OP_UPDATE) live[n] = 1;
        for (int i = 0; live[n] && i < node->n_in; i++)
            if (graph->values[node->in[i]].node >= 0) live[graph->values[node->in[i]].node] = 1;
    }
}

ls_status ls_pass_prune(ls_graph **graph) {
    char *live = ls_alloc((size_t)(*graph)->n_nodes + 1);
    if (!live) return LS_ERR_NO_MEMORY;
    mark_live(*graph, live);
    const ls_status status = ls_graph_replace(graph, drop_dead, live);
    ls_free(live);
    return status;
}
