/* Data parallelism and ZeRO as one rewrite: every member of mesh axis dp runs the same graph, with collectives as nodes.
 *
 * zero 0: lane sums are reduced to pieces and gathered again in place; every member updates everything.
 * zero 1: masters of the weights and optimizer state are pieces; weights are gathered once a step, in the compute precision.
 * zero 2: a lane's gradients are reduced to pieces as soon as its backward pass has made them; lane sums are pieces.
 * zero 3: weights are gathered for one unit at a time, ahead of use, in the forward and again in the backward pass.
 * Sums over members are made in the order of the lane tree, so no bit depends on `size` or `zero`. */
#include <string.h>

#include "op/own_piece/own_piece.h"
#include "plan/pass/data_parallel.h"
#include "plan/pass/replace.h"

dp_bucket *ls_dp_bucket_open(dp_pass *p) {
    dp_bucket *b = ls_arena_alloc(p->arena, sizeof *b);
    if (!b) return NULL;
    b->attr = (ls_collective_attr){.size = p->o->size,
                                   .lanes = p->o->lanes,
                                   .wire = LS_WIRE_F32,
                                   .staged = p->o->staged,
                                   .from = -1,
                                   .to = -1,
                                   .ticket = p->n_tickets++ % (LS_COMM_MAX_TICKETS - 16)};
    b->first_unit = p->to->unit;
    return b;
}

int ls_dp_bucket_is_full(const dp_pass *p, const dp_bucket *b, int64_t more_bytes) {
    return b->attr.n > 0 &&
           (b->attr.n == LS_COMM_MAX_PARTS || b->bytes + more_bytes > p->o->bucket_bytes);
}

ls_status ls_dp_bucket_add(dp_pass *p, dp_bucket *b, ls_value from, ls_value x, int64_t count) {
    const int i = b->attr.n++;
    b->from[i] = from;
    b->x[i] = x;
    b->attr.counts[i] = count;
    b->bytes += count * (int64_t)ls_dtype_bytes(p->to->values[x].type.dtype);
    return ls_graph_status(p->to);
}

ls_status ls_dp_start(dp_pass *p, dp_bucket *b, const ls_op *start_op) {
    return ls_collective_start(p->to, start_op, &b->attr, b->x, b->pending);
}

ls_status ls_dp_wait(dp_pass *p, dp_bucket *b, const ls_op *wait_op) {
    return ls_collective_wait(p->to, wait_op, &b->attr, b->x, b->pending, b->y);
}

int ls_dp_is_gradient(const ls_value_info *info) {
    return info->kind == LS_VALUE_ACCUM && strncmp(info->name, "grad/", 5) == 0;
}

/* Parameters, and optimizer state of a parameter's shape, are kept as pieces from zero 1 on. */
static void mark_sharded(dp_pass *p) {
    const ls_graph *g = p->from;
    for (int64_t v = 0; v < g->n_values; v++)
        if (g->values[v].kind == LS_VALUE_PARAM) p->sharded[v] = 1;
    for (int64_t n = 0; n < g->n_nodes; n++) {
        const ls_node *node = &g->nodes[n];
        if (!(node->op->flags & LS_OP_UPDATE) || g->values[node->in[0]].kind != LS_VALUE_PARAM)
            continue;
        for (int i = 1; i < node->n_in; i++) {
            const ls_value_info *info = &g->values[node->in[i]];
            if (info->kind == LS_VALUE_STATE && info->role == LS_ROLE_OPTIMIZER &&
                ls_shape_equal(&info->type.shape, &g->values[node->in[0]].type.shape))
                p->sharded[node->in[i]] = 1;
        }
    }
}

ls_value ls_dp_piece(dp_pass *p, ls_value x, int64_t count) {
    const ls_own_piece_attr attr = {count, p->o->lanes, p->o->size};
    return ls_own_piece(p->to, x, &attr);
}

/* Zero 1 and 2: a parameter that lanes read as it is, and not a copy made of it, is its own gathered copy. */
static void mark_in_place(dp_pass *p) {
    const ls_graph *g = p->from;
    if (p->o->zero > 2) return;
    for (int64_t n = 0; n < g->n_nodes; n++) {
        const ls_node *node = &g->nodes[n];
        if (node->phase != LS_PHASE_FORWARD && node->phase != LS_PHASE_BACKWARD) continue;
        for (int i = 0; i < node->n_in; i++)
            if (g->values[node->in[i]].kind == LS_VALUE_PARAM) p->in_place[node->in[i]] = 1;
    }
}

/* A persistent leaf of which this rank keeps a piece. */
static ls_status shard_leaf(dp_pass *p, ls_value v) {
    const ls_value_info *info = &p->from->values[v];
    const int64_t piece = ls_shard_piece(ls_type_count(&info->type), p->o->lanes, p->o->size);
    const ls_shape shape =
        p->in_place[v] ? info->type.shape : (ls_shape){.n_dims = 1, .dims = {piece}};
    p->map[v] =
        info->kind == LS_VALUE_PARAM
            ? ls_graph_param(p->to, info->name, info->type.dtype, shape, info->init)
            : ls_graph_state(p->to, info->name, info->type.dtype, shape, info->init, info->role);
    ls_graph_set_piece(p->to, p->map[v], piece, info->type.shape);
    return ls_graph_status(p->to);
}

/* A lane sum. Until it is summed over members, a number that every rank needs goes by another name. */
static ls_status map_sum(dp_pass *p, ls_value v) {
    const ls_value_info *info = &p->from->values[v];
    if (p->o->training && p->o->zero >= 2) {
        p->map[v] = ls_graph_accumulate(p->to, info->name, p->reduced[info->source]);
        return ls_graph_status(p->to);
    }
    const char *name = ls_dp_is_gradient(info) || !p->o->training
                           ? info->name
                           : ls_arena_format(p->to->arena, "local/%s", info->name);
    if (!name) return LS_ERR_NO_MEMORY;
    p->map[v] = ls_graph_accumulate(p->to, name, p->map[info->source]);
    return ls_graph_status(p->to);
}

static ls_status map_sums(dp_pass *p) {
    if (p->o->training && p->o->zero >= 2) LS_TRY(ls_dp_end_lanes(p));
    for (int64_t v = 0; v < p->from->n_values; v++)
        if (p->from->values[v].kind == LS_VALUE_ACCUM) LS_TRY(map_sum(p, (ls_value)v));
    return LS_OK;
}

/* Persistent values and inputs, in their order: programs that share weights find them at the same places. */
static ls_status map_leaves(dp_pass *p) {
    for (int64_t v = 0; v < p->from->n_values; v++) {
        const ls_value_info *info = &p->from->values[v];
        const ls_dtype dtype = info->type.dtype;
        const ls_shape shape = info->type.shape;
        if (p->sharded[v])
            LS_TRY(shard_leaf(p, (ls_value)v));
        else if (info->kind == LS_VALUE_PARAM)
            p->map[v] = ls_graph_param(p->to, info->name, dtype, shape, info->init);
        else if (info->kind == LS_VALUE_STATE)
            p->map[v] = ls_graph_state(p->to, info->name, dtype, shape, info->init, info->role);
        else if (info->kind == LS_VALUE_INPUT)
            p->map[v] = ls_graph_input(p->to, info->name, dtype, shape);
        else if (info->kind == LS_VALUE_STEP_INPUT)
            p->map[v] = ls_graph_step_input(p->to, info->name, dtype, shape);
    }
    return ls_graph_status(p->to);
}

static ls_status emit_node(dp_pass *p, const ls_node *node) {
    int handled = 0;
    ls_graph_set_phase(p->to, node->phase);
    ls_graph_set_unit(p->to, node->unit);
    ls_graph_set_scope(p->to, node->scope);
    switch (node->phase) {
    case LS_PHASE_PREPARE:
        return ls_dp_prepare_node(p, node);
    case LS_PHASE_UPDATE:
        LS_TRY(ls_dp_before_update_node(p, node));
        LS_TRY(ls_dp_sum_squares(p, node, &handled));
        return handled ? LS_OK : ls_node_emit(node, p->to, p->map, NULL);
    default:
        LS_TRY(ls_dp_before_lane_node(p, node, node - p->from->nodes));
        LS_TRY(ls_dp_emit_with_whole(p, node));
        return ls_dp_after_lane_node(p, node);
    }
}

/* Nodes of phases first to last, in their order. A model may have built an update (running statistics) among its layers. */
static ls_status emit_phases(dp_pass *p, ls_phase first, ls_phase last) {
    for (int64_t n = 0; n < p->from->n_nodes; n++) {
        const ls_node *node = &p->from->nodes[n];
        if (node->phase >= first && node->phase <= last) LS_TRY(emit_node(p, node));
    }
    return LS_OK;
}

static ls_status rewrite(dp_pass *p) {
    LS_TRY(map_leaves(p));
    LS_TRY(emit_phases(p, LS_PHASE_PREPARE, LS_PHASE_PREPARE));
    LS_TRY(emit_phases(p, LS_PHASE_FORWARD, LS_PHASE_BACKWARD));
    LS_TRY(map_sums(p));
    if (p->o->training) LS_TRY(ls_dp_begin_update(p));
    LS_TRY(emit_phases(p, LS_PHASE_UPDATE, LS_PHASE_UPDATE));
    for (int64_t i = 0; i < p->from->n_outputs; i++)
        LS_TRY(ls_graph_output(p->to, p->from->outputs[i].name, p->map[p->from->outputs[i].value]));
    return ls_graph_status(p->to);
}

static ls_status make_pass(dp_pass *p) {
    const size_t n = (size_t)p->from->n_values + 1;
    p->sharded = ls_arena_alloc(p->arena, n);
    p->whole = ls_arena_alloc(p->arena, n * sizeof *p->whole);
    p->whole_run = ls_arena_alloc(p->arena, n * sizeof *p->whole_run);
    p->in_place = ls_arena_alloc(p->arena, n);
    p->map = ls_arena_alloc(p->arena, n * sizeof *p->map);
    p->grad_source = ls_arena_alloc(p->arena, n);
    p->reduced = ls_arena_alloc(p->arena, n * sizeof *p->reduced);
    if (!p->map || !p->in_place || !p->sharded || !p->whole || !p->whole_run || !p->grad_source ||
        !p->reduced)
        return LS_ERR_NO_MEMORY;
    p->run = -1;
    for (int64_t v = 0; v < p->from->n_values; v++) {
        const ls_value_info *info = &p->from->values[v];
        p->map[v] = p->whole[v] = p->reduced[v] = LS_VALUE_NONE;
        p->whole_run[v] = -1;
        if (ls_dp_is_gradient(info)) p->grad_source[info->source] = 1;
    }
    if (p->o->zero >= 1) {
        mark_sharded(p);
        mark_in_place(p);
    }
    return ls_dp_find_runs(p);
}

ls_status ls_pass_data_parallel(ls_graph **graph, const ls_dp_options *options) {
    dp_pass p = {.o = options, .from = *graph};
    LS_TRY(ls_arena_create(&p.arena));
    ls_status status = make_pass(&p);
    if (status == LS_OK) status = ls_graph_create(&p.to);
    if (status == LS_OK) status = rewrite(&p);
    ls_arena_destroy(p.arena);
    if (status != LS_OK) {
        ls_graph_destroy(p.to);
        return status;
    }
    ls_graph_destroy(*graph);
    *graph = p.to;
    return LS_OK;
}
