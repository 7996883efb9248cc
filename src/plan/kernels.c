#include "op/op.h"
#include "plan/plan.h"

static ls_status choose_segment(ls_plan *plan, ls_segment *segment, ls_isa isa) {
    segment->kernels =
        ls_arena_alloc(plan->arena, sizeof *segment->kernels * (size_t)(segment->n_nodes + 1));
    if (!segment->kernels) return LS_ERR_NO_MEMORY;
    for (int64_t i = 0; i < segment->n_nodes; i++) {
        const ls_node *node = &plan->graph->nodes[segment->nodes[i]];
        if (plan->options.reference_kernels) {
            segment->kernels[i] = ls_kernel_reference(node->op);
            continue;
        }
        ls_type *in = ls_alloc(sizeof *in * (size_t)(node->n_in + 1));
        if (!in) return LS_ERR_NO_MEMORY;
        ls_type out[LS_MAX_OUT];
        ls_sig sig;
        ls_node_sig(plan->graph, node, in, out, &sig);
        const ls_status status =
            ls_kernel_choose(&sig, plan->kernel_device, isa, &segment->kernels[i]);
        ls_free(in);
        if (status != LS_OK) return ls_error_prefix(status, "plan: %s", node->scope);
    }
    return LS_OK;
}

ls_status ls_plan_choose_kernels(ls_plan *plan) {
    const ls_isa isa = ls_cpu_isa();
    plan->kernel_device = LS_DEVICE_CPU; /* "fake" plans for the CPU */
    for (int r = 0; r < plan->n_ranks; r++)
        for (int s = 0; s < plan->ranks[r].n_segments; s++)
            LS_TRY(choose_segment(plan, &plan->ranks[r].segments[s], isa));
    return LS_OK;
}

ls_status ls_plan_add_flops(const ls_graph *graph, const ls_node *node, double *flops) {
    ls_type *in = ls_alloc(sizeof *in * (size_t)(node->n_in + 1));
    if (!in) return LS_ERR_NO_MEMORY;
    ls_type out[LS_MAX_OUT];
    ls_sig sig;
    ls_cost cost;
    ls_node_sig(graph, node, in, out, &sig);
    if (node->op->cost)
        node->op->cost(&sig, &cost);
    else
        ls_cost_default(&sig, &cost);
    *flops += cost.flops;
    ls_free(in);
    return LS_OK;
}

ls_status ls_plan_count(ls_plan *plan) {
    for (int64_t v = 0; v < plan->graph->n_values; v++)
        if (plan->graph->values[v].kind == LS_VALUE_PARAM) {
            const ls_type whole = ls_value_whole_type(&plan->graph->values[v]);
            plan->n_parameters += ls_type_count(&whole);
        }
    for (int r = 0; r < plan->n_ranks; r++) {
        ls_rank_plan *rank = &plan->ranks[r];
        double per_lane = 0, per_step = 0;
        for (int s = 0; s < rank->n_segments; s++) {
            const ls_segment *segment = &rank->segments[s];
            const int once =
                segment->kind == LS_SEGMENT_PREPARE || segment->kind == LS_SEGMENT_UPDATE;
            for (int64_t i = 0; i < segment->n_nodes; i++)
                LS_TRY(ls_plan_add_flops(plan->graph, &plan->graph->nodes[segment->nodes[i]],
                                         once ? &per_step : &per_lane));
        }
        rank->flops_per_lane = per_lane;
        plan->flops_per_step += per_step + per_lane * plan->options.lanes;
    }
    return LS_OK;
}
