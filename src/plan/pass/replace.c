#include "plan/pass/replace.h"

ls_status ls_graph_replace(ls_graph **graph, ls_rewrite_fn rewrite, void *user) {
    ls_graph *fresh = NULL;
    ls_status status = ls_graph_create(&fresh);
    if (status == LS_OK) status = ls_graph_rewrite(*graph, fresh, rewrite, user);
    if (status != LS_OK) {
        ls_graph_destroy(fresh);
        return status;
    }
    ls_graph_destroy(*graph);
    *graph = fresh;
    return LS_OK;
}

ls_status ls_node_emit(const ls_node *node, ls_graph *to, ls_value *map, ls_value *outs) {
    ls_value *in = ls_alloc(sizeof *in * (size_t)(node->n_in + 1));
    if (!in) return LS_ERR_NO_MEMORY;
    for (int i = 0; i < node->n_in; i++) in[i] = map[node->in[i]];
    ls_value made[LS_MAX_OUT];
    ls_graph_node(to, node->op, node->attr, in, node->n_in, made);
    ls_free(in);
    LS_TRY(ls_graph_status(to));
    for (int i = 0; i < node->n_out; i++) {
        if (outs)
            outs[i] = made[i];
        else
            map[node->out[i]] = made[i];
    }
    return LS_OK;
}
