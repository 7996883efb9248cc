#include "plan/pass/pass.h"

/* The value a training graph must name. */
static ls_status find_output(const ls_graph *graph, const char *name, ls_value *out) {
    *out = ls_graph_find(graph, name);
    if (*out != LS_VALUE_NONE) return LS_OK;
    return LS_FAIL(
        LS_ERR_INVALID,
        "plan: the model graph has no output '%s'; name it with ls_graph_output before planning",
        name);
}

ls_status ls_pass_backward(ls_graph *graph, ls_grad_parts *parts) {
    ls_value loss;
    LS_TRY(find_output(graph, "loss", &loss));
    ls_value *wrt = ls_alloc(sizeof *wrt * (size_t)(graph->n_values + 1));
    if (!wrt) return LS_ERR_NO_MEMORY;
    int n_wrt = 0;
    for (int64_t v = 0; v < graph->n_values; v++)
        if (graph->values[v].kind == LS_VALUE_PARAM) wrt[n_wrt++] = (ls_value)v;
    const ls_status status = ls_graph_differentiate(graph, &loss, NULL, 1, wrt, n_wrt, parts);
    ls_free(wrt);
    return status;
}

ls_status ls_pass_lane_sums(ls_graph *graph) {
    static const char *const names[][2] = {
        {"loss", "sum/loss"}, {"count", "sum/count"}, {"correct", "sum/correct"}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const ls_value value = ls_graph_find(graph, names[i][0]);
        if (value != LS_VALUE_NONE) ls_graph_accumulate(graph, names[i][1], value);
    }
    return ls_graph_status(graph);
}
