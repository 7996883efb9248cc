/* The one page that says what is applied, in which order, and why. */
#include "plan/plan.h"

#include <string.h>

#include "plan/pass/pass.h"
#include "plan/pass/replace.h"

/* Passes over the graph; the verifier runs after each. */
static ls_status run_passes(ls_graph **graph, const ls_plan_options *o) {
    const int training = o->mode == LS_PLAN_TRAIN;
    /* Before the gradient, so that it is taken of what will run and weight gradients come out in f32. */
    LS_TRY(ls_pass_precision(graph, o->precision));
    LS_TRY(ls_graph_verify(*graph));
    ls_grad_parts parts = {0};
    if (training) LS_TRY(ls_pass_backward(*graph, &parts));
    LS_TRY(ls_pass_lane_sums(*graph));
    /* The optimizer step is part of the graph: ZeRO and friends are passes like any other. */
    if (training)
        LS_TRY(ls_optim_append(*graph, &parts, o->optim, ls_graph_find(*graph, "sum/count"),
                               o->static_count, o->lanes));
    LS_TRY(ls_graph_verify(*graph));
    /* Dead results (means nobody reads, logits in training) cost no memory. */
    LS_TRY(ls_pass_prune(graph));
    /* Weight copies once a step, not once a lane. */
    LS_TRY(ls_pass_hoist(*graph));
    LS_TRY(ls_graph_verify(*graph));
    if (training) LS_TRY(ls_pass_recompute(graph, o));
    LS_TRY(ls_graph_verify(*graph));
    /* Last: gives each lane sum a place to land. */
    LS_TRY(ls_pass_deposit(*graph, training, training && o->schedule == LS_PIPELINE_ZERO_BUBBLE));
    return ls_graph_verify(*graph);
}

static int is_power_of_two(int n) {
    return n > 0 && (n & (n - 1)) == 0;
}

static ls_status check_options(const ls_mesh *mesh, const ls_plan_options *o) {
    if (!is_power_of_two(o->lanes))
        return LS_FAIL(LS_ERR_CONFIG,
                       "lanes = %d: the lane tree needs a power of two (1, 2, 4, 8, ...)",
                       o->lanes);
    if (o->threads < 1)
        return LS_FAIL(LS_ERR_CONFIG, "threads = %d: at least one compute thread is needed",
                       o->threads);
    if (mesh->pp < 1 || mesh->pp > 64)
        return LS_FAIL(LS_ERR_CONFIG, "mesh pp = %d: pipeline stages must be 1 to 64", mesh->pp);
    if (mesh->dp != 1 || mesh->tp != 1 || mesh->cp != 1 || mesh->ep != 1)
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "mesh dp=%d tp=%d cp=%d ep=%d: this version plans the pp axis only; set the "
                       "others to 1",
                       mesh->dp, mesh->tp, mesh->cp, mesh->ep);
    if (o->mode == LS_PLAN_TRAIN && !o->optim)
        return LS_FAIL(LS_ERR_INVALID, "plan: training needs optimizer options, got none");
    return LS_OK;
}

static ls_status make_plan(ls_plan *plan, const ls_graph *model) {
    LS_TRY(ls_graph_create(&plan->graph));
    LS_TRY(ls_graph_rewrite(model, plan->graph, NULL, NULL));
    if (plan->options.mode == LS_PLAN_TRAIN) plan->graph->n_outputs = 0;
    for (int64_t i = 0; plan->options.mode == LS_PLAN_TRAIN && i < model->n_outputs; i++) {
        /* Training fetches the loss; logits and the like may be overwritten. */
        const ls_output *o = &plan->graph->outputs[i];
        if (strcmp(o->name, "loss") == 0 || strcmp(o->name, "count") == 0 ||
            strcmp(o->name, "correct") == 0)
            plan->graph->outputs[plan->graph->n_outputs++] = *o;
    }
    LS_TRY(run_passes(&plan->graph, &plan->options));
    LS_TRY(ls_plan_cut(plan));
    LS_TRY(ls_plan_segment(plan));
    LS_TRY(ls_plan_schedule(plan));
    LS_TRY(ls_plan_choose_kernels(plan));
    LS_TRY(ls_plan_place(plan));
    return ls_plan_count(plan);
}

ls_status ls_plan_make(const ls_graph *model, const ls_mesh *mesh, const ls_plan_options *options,
                       ls_plan **out) {
    LS_TRY(check_options(mesh, options));
    ls_plan *plan = ls_alloc(sizeof *plan);
    if (!plan) return LS_ERR_NO_MEMORY;
    plan->mesh = *mesh;
    plan->options = *options;
    ls_status status = ls_arena_create(&plan->arena);
    if (status == LS_OK) status = make_plan(plan, model);
    if (status != LS_OK) {
        ls_plan_destroy(plan);
        return status;
    }
    *out = plan;
    return LS_OK;
}

void ls_plan_destroy(ls_plan *plan) {
    if (!plan) return;
    for (int r = 0; plan->ranks && r < plan->n_ranks; r++) ls_free(plan->ranks[r].commands);
    ls_free(plan->channels);
    ls_graph_destroy(plan->graph);
    ls_arena_destroy(plan->arena);
    ls_free(plan);
}

int ls_plan_ranks(const ls_plan *plan) {
    return plan->n_ranks;
}

const ls_graph *ls_plan_graph(const ls_plan *plan) {
    return plan->graph;
}

int64_t ls_plan_bytes(const ls_plan *plan, int rank) {
    int64_t total = 0;
    for (int i = 0; i < LS_REGION_COUNT; i++) total += (int64_t)plan->ranks[rank].bytes[i];
    return total;
}

size_t ls_align_up(size_t bytes, size_t to) {
    return (bytes + to - 1) / to * to;
}
