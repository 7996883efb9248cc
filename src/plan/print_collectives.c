/* The collective schedule of a rank, as a table: what is exchanged, where, how often, how many bytes. */
#include <string.h>

#include "base/json.h"
#include "op/collective.h"
#include "op/op.h"
#include "plan/plan.h"

static const char *const segment_names[] = {"prepare", "forward", "backward",
                                            "weight",  "reduce",  "update"};

/* Bytes that a rank takes from the others: all pieces but its own, or (all_reduce) all of every other. */
static double taken_bytes(const ls_graph *g, const ls_node *node) {
    const ls_collective_attr *a = node->attr;
    const int whole = node->op == &ls_op_all_reduce_start;
    double bytes = 0;
    for (int i = 0; i < a->n; i++) {
        const double size = (double)ls_dtype_bytes(g->values[node->in[i]].type.dtype);
        double wire = size;
        if (a->staged && a->wire == LS_WIRE_BF16) wire = 2;
        if (a->staged && a->wire == LS_WIRE_INT8) wire = 33.0 / 32;
        bytes += wire * (double)a->counts[i] * (a->size - 1) / (whole ? 1 : a->size);
    }
    return bytes;
}

static int times_of(const ls_plan *plan, ls_segment_kind kind) {
    const int per_lane = kind == LS_SEGMENT_FORWARD || kind == LS_SEGMENT_BACKWARD;
    const int training = plan->options.mode == LS_PLAN_TRAIN;
    return per_lane && training ? plan->options.lanes / plan->n_members : 1;
}

ls_status ls_plan_exchanges(const ls_plan *plan, const ls_rank_plan *rank, ls_arena *arena,
                            ls_exchange_row **rows_out, int *n_out) {
    ls_exchange_row *rows =
        ls_arena_alloc(arena, sizeof *rows * (size_t)(plan->graph->n_nodes + 1));
    if (!rows) return LS_ERR_NO_MEMORY;
    int n = 0;
    for (int s = 0; s < rank->n_segments; s++) {
        const ls_segment *segment = &rank->segments[s];
        for (int64_t i = 0; i < segment->n_nodes; i++) {
            const ls_node *node = &plan->graph->nodes[segment->nodes[i]];
            if (!ls_collective_is_start(node->op)) continue;
            char *op = ls_arena_strdup(arena, node->op->name);
            if (!op) return LS_ERR_NO_MEMORY;
            op[strlen(op) - 6] = '\0';
            rows[n++] = (ls_exchange_row){op,
                                          node->scope,
                                          segment->kind,
                                          ((const ls_collective_attr *)node->attr)->n,
                                          times_of(plan, segment->kind),
                                          taken_bytes(plan->graph, node)};
        }
    }
    *rows_out = rows;
    *n_out = n;
    return LS_OK;
}

void ls_plan_print_collectives(const ls_plan *plan, const ls_rank_plan *rank, ls_text *out) {
    ls_arena *arena = NULL;
    ls_exchange_row *rows;
    int n = 0;
    double total = 0;
    if (plan->n_members == 1) return;
    if (ls_arena_create(&arena) == LS_OK &&
        ls_plan_exchanges(plan, rank, arena, &rows, &n) == LS_OK) {
        ls_text_append(out, "  collectives of a step (bytes that one rank takes from others):\n");
        for (int i = 0; i < n; i++) {
            const ls_exchange_row *r = &rows[i];
            total += r->bytes * r->times;
            ls_text_append(out, "    %-8s %3d x %-14s %3d tensor%s %14.0f bytes%s%s\n",
                           segment_names[r->segment], r->times, r->op, r->tensors,
                           r->tensors == 1 ? " " : "s", r->bytes, *r->scope ? "  " : "", r->scope);
        }
        ls_text_append(out, "    in all %.0f bytes\n", total);
    } else {
        out->status = LS_ERR_NO_MEMORY;
    }
    ls_arena_destroy(arena);
}

json_t *ls_plan_collectives_json(const ls_plan *plan, const ls_rank_plan *rank) {
    ls_arena *arena = NULL;
    ls_exchange_row *rows;
    int n = 0;
    json_t *list = json_array();
    int failed = list == NULL || ls_arena_create(&arena) != LS_OK ||
                 ls_plan_exchanges(plan, rank, arena, &rows, &n) != LS_OK;
    for (int i = 0; !failed && i < n; i++)
        failed = json_array_append_new(
            list, json_pack("{s:s, s:s, s:s, s:i, s:i, s:f}", "op", rows[i].op, "scope",
                            rows[i].scope, "segment", segment_names[rows[i].segment], "tensors",
                            rows[i].tensors, "times", rows[i].times, "bytes", rows[i].bytes));
    ls_arena_destroy(arena);
    if (!failed) return list;
    json_decref(list);
    return NULL;
}
