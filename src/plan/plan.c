/* The one page that says what is applied, in which order, and why. */
#include "plan/plan.h"

#include <string.h>

#include "plan/pass/pass.h"
#include "plan/pass/replace.h"

/* Among ranks: what is cut, and what travels together. */
static ls_status run_rank_passes(ls_plan *plan) {
    const ls_plan_options *o = &plan->options;
    const ls_dp_options dp = {.size = plan->n_members,
                              .lanes = o->shard_lanes ? o->shard_lanes : o->lanes,
                              .zero = o->zero,
                              .fast = o->fast,
                              .staged = o->hosts > 1,
                              .training = o->mode == LS_PLAN_TRAIN,
                              .wire = o->wire,
                              .bucket_bytes = plan->bucket_bytes};
    if (plan->n_members == 1) return LS_OK;
    LS_TRY(ls_pass_data_parallel(&plan->graph, &dp));
    return ls_graph_verify(plan->graph);
}

static ls_status fuse_nodes(ls_plan *plan) {
    const ls_plan_options *o = &plan->options;
    const ls_fuse_options options = {.one_stage = plan->mesh.pp == 1,
                                     .zero_bubble = o->mode == LS_PLAN_TRAIN &&
                                                    o->schedule == LS_PIPELINE_ZERO_BUBBLE,
                                     .arena = plan->arena};
    return o->fuse == LS_FUSE_ON ? ls_pass_fuse(&plan->graph, &options, &plan->fused) : LS_OK;
}

/* A pack that lies in memory is written and read back, one that a product makes for itself stays in the cache. On Zen 4 a product of 64 to
 * 256 rows is spared a quarter (bf16) to a third (f32) of what packing apart takes: four reads bring next to nothing for the memory,
 * eight some percent of the products' time. */
enum { LEAST_READS_OF_PACK = 8 };

static ls_status lay_out_weights(ls_plan *plan) {
    const ls_plan_options *o = &plan->options;
    const int members = o->mode == LS_PLAN_TRAIN ? plan->n_members : 1;
    const int repeats = o->mode == LS_PLAN_FORWARD && o->repeats > 1 ? o->repeats : 1;
    const ls_layout_options options = {.lanes = o->lanes / members * repeats,
                                       .least_reads =
                                           o->pack == LS_PACKING_ALL ? 2 : LEAST_READS_OF_PACK,
                                       .arena = plan->arena};
    if (o->pack == LS_PACKING_OFF || o->reference_kernels) return LS_OK;
    LS_TRY(ls_pass_layout(&plan->graph, &options, &plan->layout));
    return ls_graph_verify(plan->graph);
}

/* Casts take memory's bandwidth: made once a step they pay for several lanes, made where they are read they need no memory between and
 * one lane casts twice. With `auto` that has to be about a hundredth of its time: 6,000 operations a weight are a thousand tokens of a
 * language model (on Zen 4 the cast takes 0.15 ns a weight, the arithmetic 14 ns). Forward plans run again and again with what is
 * prepared. */
enum { LEAST_WORK_OF_CAST = 6000 };

static int casts_at_use(const ls_plan *plan) {
    const ls_plan_options *o = &plan->options;
    if (o->cast_weights != LS_CASTING_AUTO) return o->cast_weights == LS_CASTING_USE;
    return o->mode == LS_PLAN_TRAIN && o->lanes == plan->n_members;
}

/* Of several lanes a rank keeps the activations of one at a time. */
static ls_status make_again(ls_plan *plan) {
    ls_plan_options options = plan->options;
    const int is_auto = options.recompute == LS_RECOMPUTE_AUTO;
    if (is_auto && options.lanes != plan->n_members) options.recompute = LS_RECOMPUTE_NONE;
    if (options.mode != LS_PLAN_TRAIN) return LS_OK;
    return ls_pass_recompute(&plan->graph, &options, &plan->again);
}

static ls_status place_copies(ls_plan *plan) {
    const int is_auto = plan->options.cast_weights == LS_CASTING_AUTO;
    if (!casts_at_use(plan)) return LS_OK;
    LS_TRY(ls_pass_copies(&plan->graph, is_auto ? LEAST_WORK_OF_CAST : 0, &plan->copies));
    return ls_graph_verify(plan->graph);
}

/* Passes over the graph; the verifier runs after each. */
static ls_status run_passes(ls_plan *plan) {
    ls_graph **graph = &plan->graph;
    const ls_plan_options *o = &plan->options;
    const int training = o->mode == LS_PLAN_TRAIN;
    /* Before the gradient, so that it is taken of what will run and weight gradients come out in f32. */
    LS_TRY(ls_pass_precision(graph, o->precision));
    LS_TRY(ls_graph_verify(*graph));
    ls_grad_parts parts = {0};
    if (training) LS_TRY(ls_pass_backward(*graph, &parts));
    /* Before anything sums or exchanges gradients. */
    if (training) LS_TRY(ls_pass_join_tied(*graph, &parts));
    LS_TRY(ls_pass_lane_sums(*graph));
    /* The optimizer step is part of the graph: ZeRO and friends are passes like any other. */
    if (training)
        LS_TRY(ls_optim_append(*graph, &parts, o->optim, ls_graph_find(*graph, "sum/count"),
                               o->static_count, o->lanes));
    LS_TRY(ls_graph_verify(*graph));
    /* Dead results (means nobody reads, logits in training) cost no memory. */
    LS_TRY(ls_pass_prune(graph));
    /* Of logits that nobody else reads any more. */
    LS_TRY(ls_pass_head(graph, o->logits_bytes));
    /* Weight copies once a step, not once a lane. */
    LS_TRY(ls_pass_hoist(*graph));
    LS_TRY(ls_graph_verify(*graph));
    /* Of what is fused later each node is still for itself. */
    LS_TRY(make_again(plan));
    LS_TRY(ls_graph_verify(*graph));
    /* After what chooses nodes by their op (precision, recompute: what is made again is fused on its own), before what only places them:
     * collectives go between the nodes that there are, deposit sees what really makes a lane sum. */
    LS_TRY(fuse_nodes(plan));
    LS_TRY(ls_graph_verify(*graph));
    /* After all that looks at whole parameters. */
    LS_TRY(run_rank_passes(plan));
    /* Where weights are final: after the gathers. Reference kernels pack nothing. */
    LS_TRY(lay_out_weights(plan));
    /* What is still copied once a step and read as it is. */
    LS_TRY(place_copies(plan));
    /* Last: gives each lane sum a place to land. */
    LS_TRY(ls_pass_deposit(*graph, training, training && o->schedule == LS_PIPELINE_ZERO_BUBBLE));
    return ls_graph_verify(*graph);
}

static int is_power_of_two(int n) {
    return n > 0 && (n & (n - 1)) == 0;
}

static ls_status check_mesh(const ls_mesh *mesh, const ls_plan_options *o) {
    const int dp = ls_mesh_axis(mesh, LS_AXIS_DP);
    if (mesh->tp > 1 || mesh->cp > 1 || mesh->ep > 1)
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "mesh tp=%d cp=%d ep=%d: this version plans the axes dp and pp; set the "
                       "others to 1",
                       mesh->tp, mesh->cp, mesh->ep);
    if (dp > 1 && mesh->pp > 1)
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "mesh dp=%d pp=%d: data-parallel pipelines are not planned yet; set one of "
                       "the two to 1",
                       dp, mesh->pp);
    if (!is_power_of_two(dp))
        return LS_FAIL(LS_ERR_CONFIG,
                       "%d data-parallel ranks: the lane tree is shared out by a power of two "
                       "(1, 2, 4, 8, ...)",
                       dp);
    if (o->mode == LS_PLAN_TRAIN && dp > o->lanes)
        return LS_FAIL(LS_ERR_CONFIG,
                       "%d data-parallel ranks, but lanes = %d: every rank computes at least one "
                       "lane; use lanes >= %d (which changes the result) or fewer ranks",
                       dp, o->lanes, dp);
    return LS_OK;
}

/* Two buffers are for the process that dies: its memory must be readable from outside. */
static ls_status check_kept(const ls_plan_options *o) {
    if (!o->kept) return LS_OK;
    if (o->mode != LS_PLAN_TRAIN)
        return LS_FAIL(LS_ERR_INVALID,
                       "plan: kept = 1 of a plan that updates nothing; only training has two "
                       "buffers of its state (evaluation reads the one that is current)");
    if (o->device && strcmp(o->device, "cuda") == 0)
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "recover.copies > 0 on device cuda: state is kept twice in host memory "
                       "only; set recover.copies = 0 (a crash then goes on from the last "
                       "checkpoint) or device = cpu");
    return LS_OK;
}

static ls_status check_data_parallel(const ls_plan_options *o) {
    if (o->zero < 0 || o->zero > 3)
        return LS_FAIL(LS_ERR_CONFIG, "zero = %d: stages are 0 (nothing is cut) to 3", o->zero);
    if (o->mode == LS_PLAN_TRAIN && o->zero > 0 && o->optim && o->optim->kind == LS_OPTIM_LAMB)
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "zero = %d with optim.kind = lamb: its trust ratio needs whole tensors on "
                       "one rank; use zero = 0 or another optimizer",
                       o->zero);
    if (o->fast && o->zero > 0)
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "mode = fast with zero = %d: the transport's own sums serve zero = 0 only",
                       o->zero);
    if (o->fast && o->wire != LS_WIRE_F32)
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "mode = fast with wire = %s: the transport's own sums are in f32; set wire "
                       "= f32",
                       ls_wire_names[o->wire]);
    return LS_OK;
}

static ls_status check_options(const ls_mesh *mesh, const ls_plan_options *o) {
    if (!is_power_of_two(o->lanes))
        return LS_FAIL(LS_ERR_CONFIG,
                       "lanes = %d: the lane tree needs a power of two (1, 2, 4, 8, ...)",
                       o->lanes);
    if (o->threads < 1)
        return LS_FAIL(LS_ERR_CONFIG, "threads = %d: at least one compute thread is needed",
                       o->threads);
    if (mesh->pp < 0 || mesh->pp > 64)
        return LS_FAIL(LS_ERR_CONFIG, "mesh pp = %d: pipeline stages must be 1 to 64", mesh->pp);
    LS_TRY(check_mesh(mesh, o));
    if (o->mode == LS_PLAN_TRAIN && !o->optim)
        return LS_FAIL(LS_ERR_INVALID, "plan: training needs optimizer options, got none");
    LS_TRY(check_kept(o));
    return check_data_parallel(o);
}

/* The smallest bucket of which the link's latency is at most a twentieth. */
static int64_t choose_bucket(const ls_plan_options *o) {
    enum { MIN_BYTES = 256 << 10, MAX_BYTES = 256 << 20 };
    const int far = o->hosts > 1;
    const double latency_us = o->link_latency_us > 0 ? o->link_latency_us : far ? 50 : 5;
    const double gbps = o->link_gbps > 0 ? o->link_gbps : far ? 10 : 64;
    int64_t bytes = MIN_BYTES;
    if (o->bucket_bytes > 0) return o->bucket_bytes;
    while (bytes < MAX_BYTES && (double)bytes * 8 / (gbps * 1e3) < 19 * latency_us) bytes *= 2;
    return bytes;
}

/* All buckets may be under way at once: their tickets are counted. */
static int64_t widen_bucket(const ls_graph *model, int64_t bytes) {
    enum { MAX_BUCKETS = 64 };
    int64_t all = 0;
    for (int64_t v = 0; v < model->n_values; v++)
        if (model->values[v].kind == LS_VALUE_PARAM)
            all += 4 * ls_type_count(&model->values[v].type);
    return bytes * MAX_BUCKETS < all ? all / MAX_BUCKETS : bytes;
}

/* Training and evaluation fetch the loss; logits and the like may be overwritten. */
static void drop_outputs(ls_graph *graph) {
    const int64_t n = graph->n_outputs;
    graph->n_outputs = 0;
    for (int64_t i = 0; i < n; i++) {
        const ls_output *o = &graph->outputs[i];
        if (strcmp(o->name, "loss") == 0 || strcmp(o->name, "count") == 0 ||
            strcmp(o->name, "correct") == 0)
            graph->outputs[graph->n_outputs++] = *o;
    }
}

static ls_status make_plan(ls_plan *plan, const ls_graph *model) {
    LS_TRY(ls_graph_create(&plan->graph));
    LS_TRY(ls_graph_rewrite(model, plan->graph, NULL, NULL));
    if (plan->options.mode == LS_PLAN_TRAIN || plan->options.logits_bytes > 0)
        drop_outputs(plan->graph);
    LS_TRY(run_passes(plan));
    LS_TRY(ls_plan_find_buckets(plan));
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
    plan->mesh.pp = ls_mesh_axis(mesh, LS_AXIS_PP);
    plan->n_members = ls_mesh_axis(mesh, LS_AXIS_DP);
    plan->bucket_bytes = widen_bucket(model, choose_bucket(options));
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
    return ls_mesh_size(&plan->mesh);
}

int ls_plan_stage_of_rank(const ls_plan *plan, int rank) {
    return ls_mesh_index(&plan->mesh, LS_AXIS_PP, rank);
}

/* Up to zero 1 a rank sums its own neighbouring lanes; from zero 2 on every round's lanes are summed over the ranks first. Both
 * are cuts of one tree. */
int ls_plan_lane(const ls_plan *plan, int member, int local) {
    const int n = plan->n_members;
    if (plan->options.mode != LS_PLAN_TRAIN || n == 1) return local;
    return plan->options.zero >= 2 ? local * n + member
                                   : member * (plan->options.lanes / n) + local;
}

const ls_graph *ls_plan_graph(const ls_plan *plan) {
    return plan->graph;
}

int64_t ls_plan_bytes(const ls_plan *plan, int rank) {
    const ls_rank_plan *r = &plan->ranks[ls_plan_stage_of_rank(plan, rank)];
    int64_t total = 0;
    for (int i = 0; i < LS_REGION_COUNT; i++) total += (int64_t)r->bytes[i];
    return total - (int64_t)r->overlaid_bytes;
}

size_t ls_align_up(size_t bytes, size_t to) {
    return (bytes + to - 1) / to * to;
}
