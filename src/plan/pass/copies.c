/* Low-precision copies of weights where they are read. `precision` and `hoist` make a copy of every matrix once a step, and it lives as
 * long as the lanes do. Here a copy is made right before the first node of a unit's forward or backward pass that reads it, and dies behind the
 * last: the same cast of the same master, so the same bits. A layer's copies then pass through the caches instead of memory.
 *
 * A table of which a lane reads fewer rows than it has is not copied for that: the rows are read as they are, and cast. */
#include <string.h>

#include "op/cast/cast.h"
#include "op/collective.h"
#include "op/embedding/embedding.h"
#include "op/op.h"
#include "plan/pass/pass.h"
#include "plan/pass/replace.h"
#include "plan/plan.h"

/* A weight's copy. */
typedef struct copy {
    ls_value here; /* of the source graph; NONE for values that are no such copy */
    const ls_node *cast;
    ls_value made; /* of the new graph, for readers of this phase and unit; NONE before the first */
    ls_phase phase;
    int unit;
} copy;

typedef struct copies_pass {
    const ls_graph *from;
    copy *copies; /* per value of the source graph */
    ls_copies_report *report;
} copies_pass;

static int is_lane_phase(ls_phase phase) {
    return phase == LS_PHASE_FORWARD || phase == LS_PHASE_BACKWARD;
}

/* A whole weight that lies in this rank's memory, made narrower once a step. */
static int is_copy(const ls_graph *g, const ls_node *node) {
    if (node->phase != LS_PHASE_PREPARE || node->op != &ls_op_cast) return 0;
    const ls_value_info *w = &g->values[node->in[0]];
    const ls_dtype low = g->values[node->out[0]].type.dtype;
    return w->kind == LS_VALUE_PARAM && !w->piece &&
           ls_dtype_bytes(low) < ls_dtype_bytes(w->type.dtype);
}

/* What other ranks take, what is packed once a step, and what is fetched stays. */
static int may_read(const ls_node *node) {
    return is_lane_phase(node->phase) && !ls_collective_is_start(node->op) && !node->op->alias;
}

static void find_copies(copies_pass *p) {
    const ls_graph *g = p->from;
    for (int64_t v = 0; v < g->n_values; v++) p->copies[v].here = LS_VALUE_NONE;
    for (int64_t n = 0; n < g->n_nodes; n++) {
        const ls_node *node = &g->nodes[n];
        if (is_copy(g, node))
            p->copies[node->out[0]] =
                (copy){.here = node->out[0], .cast = node, .made = LS_VALUE_NONE};
        for (int i = 0; i < node->n_in; i++)
            if (!may_read(node)) p->copies[node->in[i]].here = LS_VALUE_NONE;
    }
    for (int64_t v = 0; v < g->n_values; v++)
        if (g->values[v].kind == LS_VALUE_ACCUM)
            p->copies[g->values[v].source].here = LS_VALUE_NONE;
    for (int64_t i = 0; i < g->n_outputs; i++) p->copies[g->outputs[i].value].here = LS_VALUE_NONE;
}

static int64_t count_copies(copies_pass *p) {
    int64_t elements = 0;
    for (int64_t v = 0; v < p->from->n_values; v++) {
        if (p->copies[v].here == LS_VALUE_NONE) continue;
        p->report->n_weights++;
        p->report->bytes += (int64_t)ls_type_bytes(&p->from->values[v].type);
        elements += ls_type_count(&p->from->values[v].type);
    }
    return elements;
}

/* The copy for a reader of this phase and unit. */
static ls_value copy_for(copies_pass *p, copy *c, const ls_node *reader, ls_graph *to,
                         const ls_value *map) {
    if (c->made != LS_VALUE_NONE && c->phase == reader->phase && c->unit == reader->unit)
        return c->made;
    ls_cast_attr attr = *(const ls_cast_attr *)c->cast->attr;
    attr.read_next = 1;
    c->made = ls_graph_node(to, &ls_op_cast, &attr, &map[c->cast->in[0]], 1, NULL);
    c->phase = reader->phase;
    c->unit = reader->unit;
    p->report->n_casts++;
    return c->made;
}

/* Fewer rows than the table has: cast behind the look-up. */
static int reads_few_rows(const ls_graph *g, const ls_node *node) {
    return node->op == &ls_op_embedding &&
           ls_type_count(&g->values[node->in[1]].type) < g->values[node->in[0]].type.shape.dims[0];
}

static ls_status emit_lookup(const copy *c, const ls_node *node, ls_graph *to, ls_value *map) {
    const ls_cast_attr *attr = c->cast->attr;
    const ls_value in[2] = {map[c->cast->in[0]], map[node->in[1]]};
    const ls_value rows = ls_graph_node(to, node->op, node->attr, in, 2, NULL);
    map[node->out[0]] = ls_cast(to, rows, (ls_dtype)attr->dtype);
    return ls_graph_status(to);
}

static ls_status rewrite_node(void *user, const ls_graph *from, const ls_node *node, ls_graph *to,
                              ls_value *map, int *handled) {
    copies_pass *p = user;
    int reads = 0;
    *handled = p->copies[node->out[0]].here != LS_VALUE_NONE;
    if (*handled) return LS_OK;
    for (int i = 0; i < node->n_in; i++) {
        copy *c = &p->copies[node->in[i]];
        if (c->here == LS_VALUE_NONE) continue;
        *handled = reads = 1;
        if (i == 0 && reads_few_rows(from, node)) return emit_lookup(c, node, to, map);
        map[node->in[i]] = copy_for(p, c, node, to, map);
        LS_TRY(ls_graph_status(to));
    }
    return reads ? ls_node_emit(node, to, map, NULL) : LS_OK;
}

static ls_status count_lane_work(const ls_graph *g, double *flops) {
    for (int64_t n = 0; n < g->n_nodes; n++)
        if (is_lane_phase(g->nodes[n].phase)) LS_TRY(ls_plan_add_flops(g, &g->nodes[n], flops));
    return LS_OK;
}

/* A lane's second cast of a weight has to be little beside the arithmetic for that weight. */
static ls_status pass_over(copies_pass *p, ls_graph **graph, double least_work) {
    double flops = 0;
    find_copies(p);
    const int64_t elements = count_copies(p);
    if (least_work > 0) LS_TRY(count_lane_work(*graph, &flops));
    if (flops < least_work * (double)elements) *p->report = (ls_copies_report){0};
    return p->report->n_weights ? ls_graph_replace(graph, rewrite_node, p) : LS_OK;
}

ls_status ls_pass_copies(ls_graph **graph, double least_work, ls_copies_report *report) {
    copies_pass p = {.from = *graph, .report = report};
    *report = (ls_copies_report){0};
    p.copies = ls_alloc(sizeof *p.copies * (size_t)((*graph)->n_values + 1));
    if (!p.copies) return LS_ERR_NO_MEMORY;
    const ls_status status = pass_over(&p, graph, least_work);
    ls_free(p.copies);
    return status;
}
