#include "plan/pass/pass.h"

ls_status ls_pass_hoist(ls_graph *graph) {
    for (int64_t n = 0; n < graph->n_nodes; n++) {
        ls_node *node = &graph->nodes[n];
        if (node->phase == LS_PHASE_FORWARD && ls_graph_is_invariant(graph, node->out[0]))
            node->phase = LS_PHASE_PREPARE;
    }
    return LS_OK;
}
