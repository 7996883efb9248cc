/* Units to stages; which value's memory a value is; which backward nodes the previous stage waits for. */
#include "plan/plan.h"

int ls_plan_stage_of(const ls_plan *plan, const ls_node *node) {
    const int unit = node->unit < plan->n_units ? node->unit : plan->n_units - 1;
    return plan->unit_stage[unit + 1];
}

/* First and last unit stay with the first and last layers; layers are spread evenly. */
static ls_status assign_units(ls_plan *plan) {
    const ls_graph *g = plan->graph;
    for (int64_t n = 0; n < g->n_nodes; n++)
        if (g->nodes[n].unit + 1 > plan->n_units) plan->n_units = g->nodes[n].unit + 1;
    plan->n_stages = plan->mesh.pp;
    plan->unit_stage = ls_arena_alloc(plan->arena, sizeof(int) * (size_t)(plan->n_units + 1));
    if (!plan->unit_stage) return LS_ERR_NO_MEMORY;
    const int n_layers = plan->n_units - 2;
    if (plan->n_stages > 1 && n_layers < plan->n_stages)
        return LS_FAIL(LS_ERR_CONFIG,
                       "mesh pp = %d: the model has %d layers; use at most that many stages",
                       plan->n_stages, n_layers < 0 ? 0 : n_layers);
    for (int u = 1; u < plan->n_units; u++) {
        const int layer = u - 1 < n_layers ? u - 1 : n_layers - 1;
        plan->unit_stage[u + 1] = plan->n_stages == 1 ? 0 : layer * plan->n_stages / n_layers;
    }
    return LS_OK;
}

static ls_status find_roots(ls_plan *plan) {
    const ls_graph *g = plan->graph;
    plan->roots = ls_arena_alloc(plan->arena, sizeof(ls_value) * (size_t)(g->n_values + 1));
    if (!plan->roots) return LS_ERR_NO_MEMORY;
    plan->member_stride = ls_arena_alloc(plan->arena, sizeof(size_t) * (size_t)(g->n_values + 1));
    plan->room = ls_arena_alloc(plan->arena, sizeof(size_t) * (size_t)(g->n_values + 1));
    ls_type *in = ls_arena_alloc(plan->arena, sizeof *in * (size_t)(g->n_values + 1));
    if (!plan->member_stride || !plan->room || !in) return LS_ERR_NO_MEMORY;
    for (int64_t v = 0; v < g->n_values; v++) {
        plan->roots[v] = (ls_value)v;
        plan->room[v] = (size_t)(g->values[v].piece * plan->n_members) *
                        ls_dtype_bytes(g->values[v].type.dtype);
        if (!ls_shape_equal(&g->values[v].type.shape, &g->values[v].whole)) plan->room[v] = 0;
    }
    for (int64_t n = 0; n < g->n_nodes; n++) {
        const ls_node *node = &g->nodes[n];
        if (!node->op->alias) continue;
        ls_type out[LS_MAX_OUT];
        ls_sig sig;
        ls_node_sig(g, node, in, out, &sig);
        for (int i = 0; i < node->n_out; i++) {
            const int a = node->op->alias(&sig, i);
            if (a < 0) continue;
            const ls_value v = node->out[i], root = plan->roots[node->in[a]];
            const size_t own = node->op->alias_stride ? node->op->alias_stride(&sig, i) : 0;
            plan->roots[v] = root;
            plan->member_stride[v] = plan->member_stride[node->in[a]] + own;
            if (own * (size_t)plan->n_members > plan->room[root])
                plan->room[root] = own * (size_t)plan->n_members;
        }
    }
    return LS_OK;
}

/* Under zero bubble: half 1 for backward nodes that no other stage and no half-0 node waits for. */
static ls_status split_halves(ls_plan *plan) {
    ls_graph *g = plan->graph;
    char *urgent = ls_arena_alloc(plan->arena, (size_t)g->n_values + 1);
    if (!urgent) return LS_ERR_NO_MEMORY;
    for (int64_t n = g->n_nodes - 1; n >= 0; n--) {
        ls_node *node = &g->nodes[n];
        if (node->phase != LS_PHASE_BACKWARD) continue;
        int any = 0;
        for (int i = 0; i < node->n_out; i++) any |= urgent[node->out[i]];
        node->half = !any;
        for (int i = 0; i < node->n_in; i++) {
            const int32_t made = g->values[node->in[i]].node;
            if (made < 0) continue;
            const int crosses =
                ls_plan_stage_of(plan, &g->nodes[made]) != ls_plan_stage_of(plan, node);
            if (any || crosses) urgent[node->in[i]] = 1;
        }
    }
    return LS_OK;
}

ls_status ls_plan_cut(ls_plan *plan) {
    LS_TRY(assign_units(plan));
    LS_TRY(find_roots(plan));
    return plan->options.schedule == LS_PIPELINE_ZERO_BUBBLE && plan->options.mode == LS_PLAN_TRAIN
               ? split_halves(plan)
               : LS_OK;
}
