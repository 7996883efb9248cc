#include <string.h>

#include "graph/node.h"

typedef struct copier {
    const ls_graph *from;
    ls_graph *to;
    ls_value *map;
    ls_arena *arena; /* scratch of one rewrite */
} copier;

/* Maps leaf v, which must come next in value order; lane sums wait for their source. */
static ls_status copy_leaf(copier *c, ls_value v) {
    const ls_value_info *info = &c->from->values[v];
    const ls_shape shape = info->type.shape;
    const ls_dtype dtype = info->type.dtype;
    switch (info->kind) {
    case LS_VALUE_INPUT:
        c->map[v] = ls_graph_input(c->to, info->name, dtype, shape);
        break;
    case LS_VALUE_STEP_INPUT:
        c->map[v] = ls_graph_step_input(c->to, info->name, dtype, shape);
        break;
    case LS_VALUE_PARAM:
        c->map[v] = ls_graph_param(c->to, info->name, dtype, shape, info->init);
        break;
    case LS_VALUE_STATE:
        c->map[v] = ls_graph_state(c->to, info->name, dtype, shape, info->init, info->role);
        break;
    case LS_VALUE_ACCUM:
        c->map[v] = ls_graph_accumulate(c->to, info->name, c->map[info->source]);
        break;
    case LS_VALUE_RESULT:
        break;
    }
    if (info->piece) ls_graph_set_piece(c->to, c->map[v], info->piece, info->whole);
    return ls_graph_status(c->to);
}

/* Leaves that stand before value `limit` and are not mapped yet. */
static ls_status copy_leaves(copier *c, ls_value limit, ls_value *next) {
    for (; *next < limit; (*next)++)
        if (c->from->values[*next].kind != LS_VALUE_RESULT && c->map[*next] == LS_VALUE_NONE)
            LS_TRY(copy_leaf(c, *next));
    return LS_OK;
}

static ls_status copy_node(copier *c, const ls_node *node) {
    ls_value *in = ls_arena_alloc(c->arena, sizeof *in * (size_t)(node->n_in + 1));
    if (!in) return LS_ERR_NO_MEMORY;
    for (int i = 0; i < node->n_in; i++) in[i] = c->map[node->in[i]];
    ls_value out[LS_MAX_OUT];
    ls_graph_node(c->to, node->op, node->attr, in, node->n_in, out);
    LS_TRY(ls_graph_status(c->to));
    c->to->nodes[c->to->n_nodes - 1].bucket = node->bucket;
    for (int i = 0; i < node->n_out; i++) c->map[node->out[i]] = out[i];
    return LS_OK;
}

static ls_status copy_nodes(copier *c, ls_rewrite_fn rewrite, void *user) {
    ls_value next = 0;
    for (int64_t n = 0; n < c->from->n_nodes; n++) {
        const ls_node *node = &c->from->nodes[n];
        LS_TRY(copy_leaves(c, node->out[0], &next));
        ls_graph_set_unit(c->to, node->unit);
        ls_graph_set_phase(c->to, node->phase);
        ls_graph_set_scope(c->to, node->scope);
        int handled = 0;
        if (rewrite) {
            handled = 1;
            LS_TRY(rewrite(user, c->from, node, c->to, c->map, &handled));
        }
        if (!handled) LS_TRY(copy_node(c, node));
    }
    LS_TRY(copy_leaves(c, (ls_value)c->from->n_values, &next));
    for (int64_t i = 0; i < c->from->n_outputs; i++)
        LS_TRY(ls_graph_output(c->to, c->from->outputs[i].name, c->map[c->from->outputs[i].value]));
    return LS_OK;
}

ls_status ls_graph_rewrite(const ls_graph *from, ls_graph *to, ls_rewrite_fn rewrite, void *user) {
    LS_TRY(ls_graph_status(from));
    copier c = {.from = from, .to = to};
    LS_TRY(ls_arena_create(&c.arena));
    ls_status status = LS_ERR_NO_MEMORY;
    c.map = ls_arena_alloc(c.arena, sizeof *c.map * (size_t)(from->n_values + 1));
    if (c.map) {
        for (int64_t v = 0; v < from->n_values; v++) c.map[v] = LS_VALUE_NONE;
        status = copy_nodes(&c, rewrite, user);
    }
    ls_graph_set_unit(to, from->unit);
    ls_graph_set_phase(to, from->phase);
    ls_arena_destroy(c.arena);
    return status;
}
