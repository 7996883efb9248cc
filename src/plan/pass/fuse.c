/* Elementwise fusion: what would be written to memory only to be read back by the next node stays in the first-level cache.
 *
 * First norms take in their neighbours (fuse_rows.c): sums behind and before gradients of norms, ReLU and the residual behind a
 * batch norm. Then chains and small DAGs of elementwise nodes become nodes `fused`, column sums of their results with them. Every value that a group keeps to itself is
 * rounded as it would have been in memory, so a fused graph has the unfused graph's bits.
 *
 * A group stands where its last member stood (a batch norm where it was), with that member's unit and scope. So whatever reads or makes its
 * values is looked at once, in ls_fuse_is_legal. */
#include "plan/pass/fuse.h"

#include <string.h>

#include "plan/pass/replace.h"

int32_t ls_fuse_index(const fuse_pass *p, const ls_node *node) {
    return (int32_t)(node - p->from->nodes);
}

static int n_readers(const fuse_pass *p, ls_value v) {
    return p->first_reader[v + 1] - p->first_reader[v];
}

const ls_node *ls_fuse_only_reader(const fuse_pass *p, ls_value v) {
    if (n_readers(p, v) != 1 || p->leaves[v]) return NULL;
    const int32_t n = p->readers[p->first_reader[v]];
    return p->group_of[n] ? NULL : &p->from->nodes[n];
}

const ls_node *ls_fuse_maker(const fuse_pass *p, ls_value v, const ls_op *op) {
    const int32_t n = p->from->values[v].node;
    if (n < 0 || p->group_of[n] || p->from->nodes[n].op != op) return NULL;
    return &p->from->nodes[n];
}

static int is_member(const fuse_group *group, int32_t node) {
    for (int i = 0; i < group->n_members; i++)
        if (group->members[i] == node) return 1;
    return 0;
}

static int is_result(const fuse_group *group, ls_value v) {
    for (int i = 0; i < group->n_out; i++)
        if (group->out[i] == v) return 1;
    return 0;
}

/* Where a node will stand. */
static int32_t place_of(const fuse_pass *p, int32_t node) {
    return p->group_of[node] ? p->group_of[node]->at : node;
}

static int inputs_are_there(const fuse_pass *p, const fuse_group *group) {
    for (int i = 0; i < group->n_in; i++) {
        const int32_t made = p->from->values[group->in[i]].node;
        /* a rewrite makes leaves in the order of values */
        if (made < 0 && group->in[i] > p->from->nodes[group->at].out[0]) return 0;
        if (made >= 0 && (is_member(group, made) || place_of(p, made) >= group->at)) return 0;
    }
    return 1;
}

/* Readers of value v, which a member makes, come after the group; and v leaves it if there are any. */
static int readers_wait(const fuse_pass *p, const fuse_group *group, ls_value v) {
    const int leaves = is_result(group, v);
    if (p->leaves[v] && !leaves) return 0;
    if (p->first_sum[v] != LS_VALUE_NONE && p->first_sum[v] < p->from->nodes[group->at].out[0])
        return 0;
    for (int32_t i = p->first_reader[v]; i < p->first_reader[v + 1]; i++) {
        const int32_t reader = p->readers[i];
        if (is_member(group, reader)) continue;
        if (!leaves || place_of(p, reader) <= group->at) return 0;
    }
    return 1;
}

int ls_fuse_is_legal(const fuse_pass *p, const fuse_group *group) {
    const ls_node *at = &p->from->nodes[group->at];
    for (int i = 0; i < group->n_members; i++) {
        const ls_node *node = &p->from->nodes[group->members[i]];
        if (node->phase != at->phase) return 0;
        if (!p->options->one_stage && node->unit != at->unit) return 0;
        for (int k = 0; k < node->n_out; k++)
            if (!readers_wait(p, group, node->out[k])) return 0;
    }
    return inputs_are_there(p, group);
}

ls_status ls_fuse_take(fuse_pass *p, const fuse_group *group) {
    fuse_group *copy = ls_arena_alloc(p->arena, sizeof *copy);
    if (!copy) return LS_ERR_NO_MEMORY;
    *copy = *group;
    for (int i = 0; i < copy->n_members; i++) p->group_of[copy->members[i]] = copy;
    return LS_OK;
}

/* --- chains ---------------------------------------------------------------------------------------------------------- */

static int is_lane_phase(ls_phase phase) {
    return phase == LS_PHASE_FORWARD || phase == LS_PHASE_BACKWARD;
}

/* PREPARE and UPDATE run once a step and are cut among ranks: they stay as they are. */
static int is_candidate(const fuse_pass *p, const ls_node *node) {
    if (!is_lane_phase(node->phase) || node->n_in > LS_FUSED_STEP_IN) return 0;
    ls_type in[LS_FUSED_STEP_IN], out[LS_MAX_OUT];
    ls_sig sig;
    ls_node_sig(p->from, node, in, out, &sig);
    return ls_type_count(&out[0]) > 0 && in[0].shape.n_dims > 0 && ls_fused_accepts(&sig);
}

static int find_value(const ls_value *values, int n, ls_value v) {
    for (int i = 0; i < n; i++)
        if (values[i] == v) return i;
    return -1;
}

static int is_read_outside(const fuse_pass *p, const fuse_group *group, ls_value v) {
    if (p->leaves[v]) return 1;
    for (int32_t i = p->first_reader[v]; i < p->first_reader[v + 1]; i++)
        if (!is_member(group, p->readers[i])) return 1;
    return 0;
}

/* Operands and results of the members; 0 when there are too many. */
static int list_operands(const fuse_pass *p, fuse_group *group) {
    group->n_in = group->n_out = 0;
    group->at = group->members[group->n_members - 1];
    for (int i = 0; i < group->n_members; i++) {
        const ls_node *node = &p->from->nodes[group->members[i]];
        for (int k = 0; k < node->n_in; k++) {
            const int32_t made = p->from->values[node->in[k]].node;
            if (made >= 0 && is_member(group, made)) continue;
            if (find_value(group->in, group->n_in, node->in[k]) >= 0) continue;
            if (group->n_in == FUSE_IN) return 0;
            group->in[group->n_in++] = node->in[k];
        }
        for (int k = 0; k < node->n_out; k++) {
            if (!is_read_outside(p, group, node->out[k])) continue;
            if (group->n_out == FUSE_OUT) return 0;
            group->out[group->n_out++] = node->out[k];
        }
    }
    return group->n_out > 0;
}

/* The group with the members of both, ascending. */
static int join(const fuse_pass *p, const fuse_group *a, const fuse_group *b, fuse_group *out) {
    if (a->n_members + b->n_members > FUSE_MEMBERS) return 0;
    *out = (fuse_group){.op = &ls_op_fused};
    for (int i = 0, k = 0; i < a->n_members || k < b->n_members;) {
        const int from_a = k == b->n_members || (i < a->n_members && a->members[i] < b->members[k]);
        out->members[out->n_members++] = from_a ? a->members[i++] : b->members[k++];
    }
    return list_operands(p, out);
}

static int same_shape(const fuse_pass *p, ls_value a, ls_value b) {
    return ls_shape_equal(&p->from->values[a].type.shape, &p->from->values[b].type.shape);
}

/* Under zero bubble a group has one exit: then all of it is waited for by the stage before, or none. */
static int may_join(const fuse_pass *p, const fuse_group *group) {
    const int backward = p->from->nodes[group->at].phase == LS_PHASE_BACKWARD;
    if (p->options->zero_bubble && backward && group->n_out > 1) return 0;
    return ls_fuse_is_legal(p, group);
}

/* Node n joins the groups (of one node at first) that make its operands. */
static ls_status grow_chain(fuse_pass *p, fuse_group **chain_of, int32_t n) {
    const ls_node *node = &p->from->nodes[n];
    fuse_group alone = {.op = &ls_op_fused, .n_members = 1, .members = {n}, .at = n};
    fuse_group *mine = ls_arena_alloc(p->arena, sizeof *mine);
    if (!mine) return LS_ERR_NO_MEMORY;
    *mine = alone;
    chain_of[n] = mine;
    for (int i = 0; i < node->n_in; i++) {
        const int32_t made = p->from->values[node->in[i]].node;
        fuse_group joined;
        if (made < 0 || !chain_of[made] || chain_of[made] == mine) continue;
        if (!same_shape(p, node->in[i], node->out[0])) continue;
        if (!join(p, chain_of[made], mine, &joined) || !may_join(p, &joined)) continue;
        *mine = joined;
        for (int k = 0; k < mine->n_members; k++) chain_of[mine->members[k]] = mine;
        for (int k = 0; k < mine->n_members; k++) p->group_of[mine->members[k]] = mine;
    }
    return LS_OK;
}

static ls_status fuse_chains(fuse_pass *p) {
    fuse_group **chain_of =
        ls_arena_alloc(p->arena, sizeof(fuse_group *) * (size_t)(p->from->n_nodes + 1));
    if (!chain_of) return LS_ERR_NO_MEMORY;
    for (int32_t n = 0; n < p->from->n_nodes; n++)
        if (!p->group_of[n] && is_candidate(p, &p->from->nodes[n]))
            LS_TRY(grow_chain(p, chain_of, n));
    return LS_OK;
}

enum { MIN_SUMMED = 128 }; /* columns: a row is the least that is run at once */

/* A reduce_rows of what the group lets out anyway, and that is in memory when the group is done. */
static int take_sum(const fuse_pass *p, const fuse_group *group, const ls_node *sum,
                    fuse_group *out) {
    const ls_shape *x = &p->from->values[sum->in[0]].type.shape;
    const int k = find_value(group->out, group->n_out, sum->in[0]);
    const int is_kept = n_readers(p, sum->in[0]) > 1 || p->leaves[sum->in[0]];
    if (k < 0 || !is_kept || group->has_sum || x->dims[x->n_dims - 1] < MIN_SUMMED) return 0;
    if (p->from->values[sum->out[0]].type.dtype != LS_DTYPE_F32) return 0;
    *out = *group;
    out->has_sum = 1;
    out->members[out->n_members++] = ls_fuse_index(p, sum);
    out->out[out->n_out++] = sum->out[0];
    return ls_fuse_is_legal(p, out);
}

/* Gradients of biases: column sums of what a chain, or an elementwise node alone, makes. Under zero bubble they wait for the other half
 * of the backward pass. */
static ls_status fuse_sums(fuse_pass *p) {
    for (int32_t n = 0; n < p->from->n_nodes && !p->options->zero_bubble; n++) {
        const ls_node *sum = &p->from->nodes[n];
        const int32_t made = sum->op == &ls_op_reduce_rows ? p->from->values[sum->in[0]].node : -1;
        if (made < 0 || p->group_of[n]) continue;
        fuse_group group = {.op = &ls_op_fused, .n_members = 1, .members = {made}, .at = made},
                   more;
        if (p->group_of[made]) {
            group = *p->group_of[made];
            if (group.op != &ls_op_fused) continue;
        } else if (!is_candidate(p, &p->from->nodes[made]) || !list_operands(p, &group)) {
            continue;
        }
        if (take_sum(p, &group, sum, &more)) LS_TRY(ls_fuse_take(p, &more));
    }
    return LS_OK;
}

/* Number of value v in the chain: an input, or the result of a member. */
static int number_of(const fuse_pass *p, const fuse_group *group, ls_value v) {
    const int input = find_value(group->in, group->n_in, v);
    if (input >= 0) return input;
    int number = group->n_in;
    for (int i = 0; i < group->n_members - group->has_sum; i++) {
        const ls_node *node = &p->from->nodes[group->members[i]];
        const int k = find_value(node->out, node->n_out, v);
        if (k >= 0) return number + k;
        number += node->n_out;
    }
    return -1;
}

/* The chain as attributes of op fused. */
static ls_status describe_chain(const fuse_pass *p, fuse_group *group) {
    ls_fused_attr *a = ls_arena_alloc(p->arena, sizeof *a);
    if (!a) return LS_ERR_NO_MEMORY;
    a->n_in = group->n_in;
    a->n_steps = group->n_members - group->has_sum;
    a->n_out = group->n_out - group->has_sum;
    for (int i = 0; i < a->n_out; i++) a->out[i] = number_of(p, group, group->out[i]);
    if (group->has_sum) {
        const ls_node *sum = &p->from->nodes[group->members[a->n_steps]];
        a->sum = (ls_fused_sum){number_of(p, group, sum->in[0]), LS_DTYPE_F32};
    }
    for (int i = 0; i < a->n_steps; i++) {
        const ls_node *node = &p->from->nodes[group->members[i]];
        ls_fused_step *step = &a->steps[i];
        step->op = node->op;
        step->n_in = node->n_in;
        step->n_out = node->n_out;
        if (node->op->attr_bytes) memcpy(step->attr, node->attr, node->op->attr_bytes);
        for (int k = 0; k < node->n_in; k++) step->in[k] = number_of(p, group, node->in[k]);
    }
    group->attr = a;
    return LS_OK;
}

/* --- the pass -------------------------------------------------------------------------------------------------------- */

static ls_status emit_group(void *user, const ls_graph *from, const ls_node *node, ls_graph *to,
                            ls_value *map, int *handled) {
    fuse_pass *p = user;
    const int32_t n = (int32_t)(node - from->nodes);
    fuse_group *group = p->group_of[n];
    *handled = group != NULL;
    if (!group || group->at != n) return LS_OK;
    ls_value in[FUSE_IN], made[LS_MAX_OUT];
    for (int i = 0; i < group->n_in; i++) in[i] = map[group->in[i]];
    ls_graph_node(to, group->op, group->attr, in, group->n_in, made);
    LS_TRY(ls_graph_status(to));
    for (int i = 0; i < group->n_out; i++) map[group->out[i]] = made[i];
    return LS_OK;
}

static double bytes_moved(const ls_sig *sig) {
    ls_cost cost = {0};
    (sig->op->cost ? sig->op->cost : ls_cost_default)(sig, &cost);
    return cost.bytes_read + cost.bytes_written;
}

/* "layernorm_grad + add in h.1.mlp: 6291456 bytes less" */
static ls_status report_group(const fuse_pass *p, const fuse_group *group, ls_fuse_report *report,
                              ls_text *text) {
    ls_type in[FUSE_IN], out[LS_MAX_OUT];
    double bytes = 0;
    for (int i = 0; i < group->n_members; i++) {
        const ls_node *node = &p->from->nodes[group->members[i]];
        ls_type *types = ls_alloc(sizeof *types * (size_t)(node->n_in + 1));
        ls_sig sig;
        if (!types) return LS_ERR_NO_MEMORY;
        ls_node_sig(p->from, node, types, out, &sig);
        bytes += bytes_moved(&sig);
        ls_free(types);
        ls_text_append(text, "%s%s", i ? " + " : "    ", node->op->name);
    }
    for (int i = 0; i < group->n_in; i++) in[i] = p->from->values[group->in[i]].type;
    for (int i = 0; i < group->n_out; i++) out[i] = p->from->values[group->out[i]].type;
    const ls_sig sig = {group->op, group->attr, group->n_in, group->n_out, in, out};
    bytes -= bytes_moved(&sig);
    const char *scope = p->from->nodes[group->at].scope;
    ls_text_append(text, "%s%s: %.0f bytes less\n", *scope ? " in " : "", scope, bytes);
    report->n_taken += group->n_members;
    report->n_made++;
    report->bytes_saved += bytes;
    return text->status;
}

static ls_status describe_groups(fuse_pass *p, ls_fuse_report *report, ls_text *text) {
    for (int32_t n = 0; n < p->from->n_nodes; n++) {
        fuse_group *group = p->group_of[n];
        if (!group || group->at != n) continue;
        if (group->op == &ls_op_fused) LS_TRY(describe_chain(p, group));
        LS_TRY(report_group(p, group, report, text));
    }
    return LS_OK;
}

static ls_status find_readers(fuse_pass *p) {
    const ls_graph *g = p->from;
    int64_t n_operands = 0;
    for (int64_t n = 0; n < g->n_nodes; n++) n_operands += g->nodes[n].n_in;
    const size_t n_values = (size_t)g->n_values + 2;
    p->first_reader = ls_arena_alloc(p->arena, sizeof *p->first_reader * n_values);
    p->readers = ls_arena_alloc(p->arena, sizeof *p->readers * (size_t)(n_operands + 1));
    p->leaves = ls_arena_alloc(p->arena, n_values);
    p->first_sum = ls_arena_alloc(p->arena, sizeof *p->first_sum * n_values);
    p->group_of = ls_arena_alloc(p->arena, sizeof(fuse_group *) * (size_t)(g->n_nodes + 1));
    if (!p->first_reader || !p->readers || !p->leaves || !p->first_sum || !p->group_of)
        return LS_ERR_NO_MEMORY;
    for (int64_t n = 0; n < g->n_nodes; n++)
        for (int i = 0; i < g->nodes[n].n_in; i++) p->first_reader[g->nodes[n].in[i] + 2]++;
    for (int64_t v = 0; v < g->n_values; v++) p->first_reader[v + 1] += p->first_reader[v];
    for (int64_t n = 0; n < g->n_nodes; n++)
        for (int i = 0; i < g->nodes[n].n_in; i++)
            p->readers[p->first_reader[g->nodes[n].in[i] + 1]++] = (int32_t)n;
    for (int64_t v = 0; v < g->n_values; v++) p->first_sum[v] = LS_VALUE_NONE;
    for (int64_t v = g->n_values - 1; v >= 0; v--) {
        if (g->values[v].kind != LS_VALUE_ACCUM) continue;
        p->first_sum[g->values[v].source] = (ls_value)v;
        p->leaves[g->values[v].source] = 1;
    }
    for (int64_t i = 0; i < g->n_outputs; i++) p->leaves[g->outputs[i].value] = 1;
    return LS_OK;
}

ls_status ls_pass_fuse(ls_graph **graph, const ls_fuse_options *options, ls_fuse_report *report) {
    fuse_pass p = {.from = *graph, .options = options};
    ls_text text = {0};
    LS_TRY(ls_arena_create(&p.arena));
    ls_status status = find_readers(&p);
    if (status == LS_OK) status = ls_fuse_rows(&p);
    if (status == LS_OK) status = fuse_chains(&p);
    if (status == LS_OK) status = fuse_sums(&p);
    if (status == LS_OK) status = describe_groups(&p, report, &text);
    if (status == LS_OK && report->n_made) {
        report->text = ls_arena_strdup(options->arena, text.data);
        status = report->text ? ls_graph_replace(graph, emit_group, &p) : LS_ERR_NO_MEMORY;
    }
    ls_text_deinit(&text);
    ls_arena_destroy(p.arena);
    return status;
}
