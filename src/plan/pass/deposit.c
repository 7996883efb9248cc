#include "op/cast/cast.h"
#include "op/op.h"
#include "plan/pass/pass.h"

/* A lane sum's source is written straight into the gradient buffer when it can be: f32, read by nobody else, and made in the lane's last
 * segment by an op that does not alias. Everything else is copied there. */
static int needs_copy(const ls_graph *graph, ls_value source, int n_readers, int training) {
    const ls_value_info *info = &graph->values[source];
    const ls_node *node = &graph->nodes[info->node];
    if (info->type.dtype != LS_DTYPE_F32 || n_readers > 1 || node->op->alias) return 1;
    return node->phase != (training ? LS_PHASE_BACKWARD : LS_PHASE_FORWARD);
}

/* Appends the f32 copy, last in its lane, and makes it the sum's source. ls_cast would hand back an f32 value itself. */
static ls_status deposit_copy(ls_graph *graph, ls_value accum, int training) {
    const ls_value source = graph->values[accum].source;
    const ls_node *made = &graph->nodes[graph->values[source].node];
    const ls_cast_attr attr = {.dtype = LS_DTYPE_F32};
    ls_graph_set_phase(graph, training ? LS_PHASE_BACKWARD : LS_PHASE_FORWARD);
    ls_graph_set_unit(graph, made->unit);
    ls_graph_set_scope(graph, made->scope);
    const ls_value copy = ls_graph_node(graph, &ls_op_cast, &attr, &source, 1, NULL);
    LS_TRY(ls_graph_status(graph));
    graph->values[accum].source = copy;
    return LS_OK;
}

static void count_readers(const ls_graph *graph, int *n_readers) {
    for (int64_t n = 0; n < graph->n_nodes; n++)
        for (int i = 0; i < graph->nodes[n].n_in; i++) n_readers[graph->nodes[n].in[i]]++;
    for (int64_t v = 0; v < graph->n_values; v++)
        if (graph->values[v].kind == LS_VALUE_ACCUM) n_readers[graph->values[v].source]++;
    for (int64_t i = 0; i < graph->n_outputs; i++) n_readers[graph->outputs[i].value] += 2;
}

ls_status ls_pass_deposit(ls_graph *graph, int training, int zero_bubble) {
    const int64_t n_values = graph->n_values;
    int *n_readers = ls_alloc(sizeof *n_readers * (size_t)(n_values + 1));
    if (!n_readers) return LS_ERR_NO_MEMORY;
    count_readers(graph, n_readers);
    ls_status status = LS_OK;
    for (int64_t v = 0; status == LS_OK && v < n_values; v++) {
        if (graph->values[v].kind != LS_VALUE_ACCUM) continue;
        const ls_value source = graph->values[v].source;
        if (zero_bubble || needs_copy(graph, source, n_readers[source], training))
            status = deposit_copy(graph, (ls_value)v, training);
    }
    ls_free(n_readers);
    return status;
}
