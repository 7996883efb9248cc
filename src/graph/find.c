/* Values by name: leaves through a table of hashes, outputs (a handful) one by one. */
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "graph/node.h"

enum { LEAST_SLOTS = 64 };

/* The slot that holds the leaf `name`, or the empty one where it would go. At most half of the slots are taken, so one is empty. */
static ls_value *find_slot(const ls_graph *graph, ls_value *slots, int64_t n_slots,
                           const char *name) {
    const uint64_t mask = (uint64_t)n_slots - 1;
    uint64_t at = ls_xxh3(name, strlen(name), 0) & mask;
    while (slots[at] != LS_VALUE_NONE && strcmp(graph->values[slots[at]].name, name) != 0)
        at = (at + 1) & mask;
    return &slots[at];
}

static ls_status grow(ls_graph *graph) {
    const int64_t n = graph->n_slots ? 2 * graph->n_slots : LEAST_SLOTS;
    ls_value *slots = ls_alloc((size_t)n * sizeof *slots);
    if (!slots) return LS_ERR_NO_MEMORY;
    for (int64_t i = 0; i < n; i++) slots[i] = LS_VALUE_NONE;
    for (int64_t i = 0; i < graph->n_slots; i++)
        if (graph->slots[i] != LS_VALUE_NONE)
            *find_slot(graph, slots, n, graph->values[graph->slots[i]].name) = graph->slots[i];
    ls_free(graph->slots);
    graph->slots = slots;
    graph->n_slots = n;
    return LS_OK;
}

ls_status ls_graph_reserve_name(ls_graph *graph) {
    return 2 * (graph->n_leaves + 1) > graph->n_slots ? grow(graph) : LS_OK;
}

void ls_graph_index_name(ls_graph *graph, ls_value leaf) {
    *find_slot(graph, graph->slots, graph->n_slots, graph->values[leaf].name) = leaf;
    graph->n_leaves++;
}

ls_value ls_graph_find(const ls_graph *graph, const char *name) {
    for (int64_t i = 0; i < graph->n_outputs; i++)
        if (strcmp(graph->outputs[i].name, name) == 0) return graph->outputs[i].value;
    return graph->n_slots ? *find_slot(graph, graph->slots, graph->n_slots, name) : LS_VALUE_NONE;
}
