#include <string.h>

#include "comm/transport.h"
#include "exec/program.h"
#include "op/add/add.h"
#include "op/collective.h"
#include "op/op.h"
#include "op/wire_add/wire_add.h"

/* Updates come in the order in which they run, so what they read is marked already. */
static void mark_fresh(ls_program *p, const ls_sig *sig, const ls_node *node) {
    const ls_graph *g = p->plan->graph;
    for (int i = 0; i < node->n_out; i++) {
        const int a = node->op->alias ? node->op->alias(sig, i) : -1;
        if (a < 0) continue;
        const ls_value root = p->plan->roots[node->in[a]];
        const ls_value_kind kind = g->values[root].kind;
        const int persistent = kind == LS_VALUE_PARAM || kind == LS_VALUE_STATE;
        if (!persistent) continue;
        const int update = (node->op->flags & LS_OP_UPDATE) != 0;
        p->fresh[node->out[i]] = update || p->fresh[node->in[a]];
        if (update) p->written[root] = 1;
    }
}

/* With two buffers, fresh versions lie in the one that is not current. */
static ls_place place_of(const ls_program *p, ls_value v) {
    ls_place place = p->rank->places[v];
    if (p->plan->options.kept && p->fresh[v]) {
        place.offset += ls_rank_kept_offset(p->rank, place.region);
        place.region = LS_REGION_KEPT;
    }
    return place;
}

/* From here on others may go on to overwrite what this rank gave up. Weights that are gathered are no gift of this step. */
static int gives(const ls_segment *segment, const ls_op *op) {
    if (segment->kind >= LS_SEGMENT_REDUCE) return 1;
    return segment->kind >= LS_SEGMENT_BACKWARD && ls_collective_is_start(op) &&
           op != &ls_op_all_gather_start;
}

static ls_status lower_step(ls_program *p, const ls_segment *segment, int64_t i, ls_step *step) {
    const ls_graph *g = p->plan->graph;
    const ls_node *node = &g->nodes[segment->nodes[i]];
    const int n = node->n_in + node->n_out;
    ls_type *types = ls_arena_alloc(p->arena, sizeof *types * (size_t)n);
    step->operands = ls_arena_alloc(p->arena, sizeof *step->operands * (size_t)n);
    step->places = ls_arena_alloc(p->arena, sizeof *step->places * (size_t)n);
    if (!types || !step->operands || !step->places) return LS_ERR_NO_MEMORY;
    step->kernel = segment->kernels[i];
    step->node = node;
    step->workspace_offset = segment->workspace_offset[i];
    ls_node_sig(g, node, types, types + node->n_in, &step->sig);
    step->gives = p->plan->options.mode == LS_PLAN_TRAIN && gives(segment, node->op);
    mark_fresh(p, &step->sig, node);
    for (int k = 0; k < n; k++) {
        const ls_value v = k < node->n_in ? node->in[k] : node->out[k - node->n_in];
        step->places[k] = place_of(p, v);
        step->operands[k] = (ls_tensor){types[k].dtype, types[k].shape, NULL};
        if (step->places[k].region == LS_REGION_NONE)
            return LS_FAIL(
                LS_ERR_INTERNAL,
                "lower: op %s (%s) reads or writes value %d, which has no place on rank %d",
                node->op->name, node->scope, v, p->rank->rank);
    }
    return LS_OK;
}

static ls_status lower_segments(ls_program *p) {
    const size_t n_values = (size_t)p->plan->graph->n_values + 1;
    p->segments = ls_arena_alloc(p->arena, sizeof *p->segments * (size_t)(p->rank->n_segments + 1));
    p->fresh = ls_arena_alloc(p->arena, n_values);
    p->written = ls_arena_alloc(p->arena, n_values);
    if (!p->segments || !p->fresh || !p->written) return LS_ERR_NO_MEMORY;
    for (int s = 0; s < p->rank->n_segments; s++) {
        const ls_segment *segment = &p->rank->segments[s];
        p->segments[s].n_steps = segment->n_nodes;
        p->segments[s].steps =
            ls_arena_alloc(p->arena, sizeof(ls_step) * (size_t)(segment->n_nodes + 1));
        if (!p->segments[s].steps) return LS_ERR_NO_MEMORY;
        for (int64_t i = 0; i < segment->n_nodes; i++)
            LS_TRY(lower_step(p, segment, i, &p->segments[s].steps[i]));
    }
    return LS_OK;
}

/* One op over a whole range; the first operand is written in place. */
static ls_status lower_range(ls_program *p, const ls_fold *fold, int n_in, ls_step *step) {
    const ls_op *op = fold->wire == LS_WIRE_F32 ? &ls_op_add : &ls_op_wire_add;
    ls_wire_add_attr *attr = ls_arena_alloc(p->arena, sizeof *attr);
    ls_type *types = ls_arena_alloc(p->arena, sizeof *types * 3);
    step->operands = ls_arena_alloc(p->arena, sizeof *step->operands * 3);
    if (!attr || !types || !step->operands) return LS_ERR_NO_MEMORY;
    attr->wire = (int)fold->wire;
    for (int i = 0; i <= n_in; i++) {
        types[i].dtype = LS_DTYPE_F32;
        types[i].shape = (ls_shape){.n_dims = 1, .dims = {(int64_t)(fold->bytes / sizeof(float))}};
        step->operands[i] = (ls_tensor){types[i].dtype, types[i].shape, NULL};
    }
    step->sig = (ls_sig){op, op == &ls_op_add ? NULL : attr, n_in, 1, types, types + n_in};
    if (p->plan->options.reference_kernels) {
        step->kernel = ls_kernel_reference(op);
        return LS_OK;
    }
    return ls_kernel_choose(&step->sig, p->plan->kernel_device, ls_cpu_isa(), &step->kernel);
}

static ls_status lower_folds(ls_program *p) {
    p->folds = ls_arena_alloc(p->arena, sizeof *p->folds * (size_t)(p->rank->n_folds + 1));
    if (!p->folds) return LS_ERR_NO_MEMORY;
    for (int i = 0; i < p->rank->n_folds; i++) {
        p->folds[i].fold = &p->rank->folds[i];
        if (p->folds[i].fold->bytes == 0) continue;
        LS_TRY(lower_range(p, p->folds[i].fold, 2, &p->folds[i].add));
        if (p->folds[i].fold->wire != LS_WIRE_F32)
            LS_TRY(lower_range(p, p->folds[i].fold, 1, &p->folds[i].round));
    }
    return LS_OK;
}

static int is_shared(const ls_program *p, int region) {
    return p->weights_of && (region == LS_REGION_WEIGHTS || region == LS_REGION_BUFFERS);
}

/* Every parameter and buffer must lie where the other program has it. */
static ls_status share_regions(ls_program *p) {
    const ls_program *other = p->weights_of;
    for (int64_t v = 0; v < p->plan->graph->n_values; v++) {
        const ls_place *mine = &p->rank->places[v];
        const ls_value_info *info = &p->plan->graph->values[v];
        if (info->kind == LS_VALUE_RESULT ||
            (mine->region != LS_REGION_WEIGHTS && mine->region != LS_REGION_BUFFERS))
            continue;
        const ls_value twin = ls_graph_find(other->plan->graph, info->name);
        const ls_place *theirs = twin == LS_VALUE_NONE ? NULL : &other->rank->places[twin];
        if (!theirs || theirs->region != mine->region || theirs->offset != mine->offset ||
            theirs->bytes != mine->bytes)
            return LS_FAIL(
                LS_ERR_INTERNAL,
                "lower: '%s' does not lie at the same place in the program that shares its weights",
                info->name);
    }
    ls_program_follow(p);
    return LS_OK;
}

/* In one of the two buffers of options.kept. */
static int is_kept(const ls_program *p, int region) {
    return p->plan->options.kept && region <= LS_REGION_KEPT;
}

/* In the one piece of memory of plan/overlay.c. */
static int is_overlaid(const ls_program *p, int region) {
    return p->rank->overlay_bytes > 0 &&
           (region == LS_REGION_GRADIENTS || region == LS_REGION_PREPARED ||
            region == LS_REGION_SLOTS || region == LS_REGION_SCRATCH);
}

static int is_own(const ls_program *p, int region) {
    return region != LS_REGION_CHANNELS && p->rank->bytes[region] > 0 && !is_shared(p, region) &&
           !is_kept(p, region) && !is_overlaid(p, region);
}

static int is_common(const ls_program *p, int region) {
    return is_own(p, region) && p->rank->read_by_peers[region];
}

/* The regions that peers read are one piece of the transport's memory. Ranks run the same plan, so all make it or none does. */
static ls_status allocate_common(ls_program *p) {
    size_t total = 0, kept = 0, at = 0;
    for (int i = 0; i < LS_REGION_COUNT; i++)
        if (is_common(p, i)) total += ls_align_up(p->rank->bytes[i], LS_PLACE_ALIGN);
    if (!p->kept[0] && p->rank->read_by_peers[LS_REGION_KEPT]) kept = ls_rank_kept_bytes(p->rank);
    if (total + kept == 0) return LS_OK;
    LS_TRY(ls_comm_memory_create(p->comm, 2 * kept + total, (void **)&p->memory));
    for (int i = 0; kept && i < 2; i++) {
        p->kept[i] = p->memory + at;
        at += kept;
    }
    for (int i = 0; i < LS_REGION_COUNT; i++) {
        if (!is_common(p, i)) continue;
        p->base[i] = p->memory + at;
        at += ls_align_up(p->rank->bytes[i], LS_PLACE_ALIGN);
        ls_device_count(p->device, (int64_t)p->rank->bytes[i]);
    }
    return LS_OK;
}

/* Of memory that the device does not count itself. */
static int64_t kept_counted(const ls_program *p) {
    return !p->kept_own ? 2 * (int64_t)ls_rank_kept_bytes(p->rank) : 0;
}

/* The caller's, the transport's, or the device's memory. */
static ls_status allocate_kept(ls_program *p) {
    const size_t bytes = ls_rank_kept_bytes(p->rank);
    if (!p->plan->options.kept) return LS_OK;
    if (!p->kept[0]) {
        LS_TRY(ls_device_alloc(p->device, 2 * bytes, (void **)&p->kept_own));
        p->kept[0] = p->kept_own;
        p->kept[1] = p->kept_own + bytes;
    }
    ls_device_count(p->device, kept_counted(p));
    ls_program_set_current(p, 0);
    return LS_OK;
}

static ls_status allocate_overlay(ls_program *p) {
    const size_t bytes = p->rank->overlay_bytes;
    if (bytes == 0) return LS_OK;
    LS_TRY(ls_device_alloc(p->device, bytes, (void **)&p->overlay));
    p->base[LS_REGION_PREPARED] = p->base[LS_REGION_SLOTS] = p->base[LS_REGION_SCRATCH] =
        p->overlay;
    p->base[LS_REGION_GRADIENTS] = p->overlay + p->rank->overlay_shift;
    return LS_OK;
}

static ls_status allocate_regions(ls_program *p) {
    if (p->weights_of) LS_TRY(share_regions(p));
    LS_TRY(allocate_common(p));
    LS_TRY(allocate_kept(p));
    LS_TRY(allocate_overlay(p));
    for (int i = 0; i < LS_REGION_COUNT; i++) {
        if (!is_own(p, i) || is_common(p, i)) continue;
        LS_TRY(ls_device_alloc(p->device, p->rank->bytes[i], (void **)&p->base[i]));
    }
    return LS_OK;
}

/* Persistent values that no update of this rank writes. */
static ls_status find_frozen(ls_program *p) {
    const ls_graph *g = p->plan->graph;
    if (!p->plan->options.kept) return LS_OK;
    p->frozen = ls_arena_alloc(p->arena, sizeof *p->frozen * (size_t)(g->n_values + 1));
    if (!p->frozen) return LS_ERR_NO_MEMORY;
    for (int64_t v = 0; v < g->n_values; v++) {
        const ls_value_kind kind = g->values[v].kind;
        const int persistent = kind == LS_VALUE_PARAM || kind == LS_VALUE_STATE;
        if (persistent && !p->written[v] && p->rank->places[v].region != LS_REGION_NONE)
            p->frozen[p->n_frozen++] = p->rank->places[v];
    }
    return LS_OK;
}

/* Where a lane's loss lies, and the step that makes it. */
static void find_loss(ls_program *p) {
    const ls_graph *g = p->plan->graph;
    const ls_value loss = ls_graph_find(g, "loss");
    p->loss = LS_VALUE_NONE;
    if (loss == LS_VALUE_NONE || p->rank->places[p->plan->roots[loss]].region != LS_REGION_SLOTS)
        return;
    p->loss = p->plan->roots[loss];
    for (int s = 0; s < p->rank->n_segments; s++)
        for (int64_t i = 0; i < p->segments[s].n_steps; i++) {
            ls_step *step = &p->segments[s].steps[i];
            step->makes_loss = step->node - g->nodes == g->values[p->loss].node;
        }
}

static ls_status build_program(ls_program *p) {
    LS_TRY(ls_arena_create(&p->arena));
    LS_TRY(lower_segments(p));
    LS_TRY(lower_folds(p));
    LS_TRY(find_frozen(p));
    find_loss(p);
    return allocate_regions(p);
}

static ls_status check_kept(const ls_plan *plan, const ls_lower_options *options) {
    const char *const *kept = (const char *const *)options->kept;
    if (!kept[0] && !kept[1]) return LS_OK;
    if (!plan->options.kept)
        return LS_FAIL(LS_ERR_INVALID,
                       "lower: got buffers for a state kept twice, but the plan was made without "
                       "options.kept");
    for (int i = 0; i < 2; i++)
        if (!kept[i] || (uintptr_t)kept[i] % LS_PLACE_ALIGN)
            return LS_FAIL(LS_ERR_INVALID,
                           "lower: buffer %d of the state kept twice is %s; both or none are to "
                           "be given, each aligned to %d bytes",
                           i, kept[i] ? "not aligned" : "missing", LS_PLACE_ALIGN);
    return LS_OK;
}

ls_status ls_program_lower(const ls_plan *plan, int rank, const ls_lower_options *options,
                           ls_program **out) {
    ls_pool *pool = options->pool;
    const int n_ranks = ls_plan_ranks(plan);
    if (rank < 0 || rank >= n_ranks)
        return LS_FAIL(LS_ERR_INVALID, "lower: rank %d of a plan for %d", rank, n_ranks);
    if (ls_pool_threads(pool) > plan->options.threads)
        return LS_FAIL(LS_ERR_INVALID, "lower: the pool has %d threads, the plan was made for %d",
                       ls_pool_threads(pool), plan->options.threads);
    if ((plan->n_ranks > 1 && !options->channels) ||
        (plan->n_members > 1 && ls_comm_size(options->comm) != plan->n_members))
        return LS_FAIL(LS_ERR_INVALID,
                       "lower: a plan for %d ranks needs a transport of that size, got %d", n_ranks,
                       ls_comm_size(options->comm));
    if (plan->n_members > 1 && plan->options.fast && !options->comm->ops->fast_all_reduce)
        return ls_comm_refuse_fast(options->comm->ops->name, n_ranks);
    LS_TRY(check_kept(plan, options));
    ls_program *p = ls_alloc(sizeof *p);
    if (!p) return LS_ERR_NO_MEMORY;
    p->plan = plan;
    memcpy(p->kept, options->kept, sizeof p->kept);
    p->rank = &plan->ranks[ls_plan_stage_of_rank(plan, rank)];
    p->member = ls_mesh_index(&plan->mesh, LS_AXIS_DP, rank);
    p->device = options->device;
    p->pool = pool;
    p->comm = options->comm;
    p->channels = options->channels;
    p->weights_of = options->weights_of;
    const ls_status status = build_program(p);
    if (status != LS_OK) {
        ls_program_destroy(p);
        return status;
    }
    *out = p;
    return LS_OK;
}

void ls_program_destroy(ls_program *p) {
    if (!p) return;
    for (int i = 0; i < LS_REGION_COUNT; i++) {
        if (!p->base[i] || is_shared(p, i) || is_kept(p, i) || is_overlaid(p, i)) continue;
        if (is_common(p, i))
            ls_device_count(p->device, -(int64_t)p->rank->bytes[i]);
        else
            ls_device_release(p->device, p->base[i], p->rank->bytes[i]);
    }
    if (p->base[LS_REGION_KEPT]) ls_device_count(p->device, -kept_counted(p));
    ls_device_release(p->device, p->kept_own, 2 * ls_rank_kept_bytes(p->rank));
    ls_device_release(p->device, p->overlay, p->rank->overlay_bytes);
    if (p->memory) ls_comm_memory_destroy(p->comm, p->memory);
    ls_arena_destroy(p->arena);
    ls_free(p);
}

int64_t ls_program_allocated_bytes(const ls_program *p) {
    int64_t bytes = 0;
    for (int i = 0; i < LS_REGION_COUNT; i++)
        if (p->base[i] && !is_shared(p, i)) bytes += (int64_t)p->rank->bytes[i];
    return bytes - (int64_t)p->rank->overlaid_bytes;
}

ls_status ls_plan_comm_channels(const ls_plan *plan, ls_arena *arena, ls_comm_channel **out) {
    *out = ls_arena_alloc(arena, sizeof **out * (size_t)(plan->n_channels + 1));
    if (!*out) return LS_ERR_NO_MEMORY;
    for (int i = 0; i < plan->n_channels; i++) {
        const ls_channel *c = &plan->channels[i];
        (*out)[i] = (ls_comm_channel){c->from, c->to, c->bytes, c->depth};
    }
    return LS_OK;
}
