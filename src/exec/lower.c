#include <string.h>

#include "exec/program.h"
#include "op/add/add.h"
#include "op/op.h"

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
    for (int k = 0; k < n; k++) {
        const ls_value v = k < node->n_in ? node->in[k] : node->out[k - node->n_in];
        step->places[k] = p->rank->places[v];
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
    p->segments = ls_arena_alloc(p->arena, sizeof *p->segments * (size_t)(p->rank->n_segments + 1));
    if (!p->segments) return LS_ERR_NO_MEMORY;
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

/* The addition of two gradient buffers is one `add` over all of a buffer; the left one is written in place. */
static ls_status lower_add(ls_program *p) {
    const int64_t count = (int64_t)(p->rank->gradient_bytes / sizeof(float));
    ls_type *types = ls_arena_alloc(p->arena, sizeof *types * 3);
    p->add.operands = ls_arena_alloc(p->arena, sizeof *p->add.operands * 3);
    if (!types || !p->add.operands) return LS_ERR_NO_MEMORY;
    for (int i = 0; i < 3; i++) {
        types[i].dtype = LS_DTYPE_F32;
        types[i].shape = (ls_shape){.n_dims = 1, .dims = {count}};
        p->add.operands[i] = (ls_tensor){types[i].dtype, types[i].shape, NULL};
    }
    p->add.sig = (ls_sig){&ls_op_add, NULL, 2, 1, types, types + 2};
    if (p->plan->options.reference_kernels) {
        p->add.kernel = ls_kernel_reference(&ls_op_add);
        return LS_OK;
    }
    return ls_kernel_choose(&p->add.sig, p->plan->kernel_device, ls_cpu_isa(), &p->add.kernel);
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
    p->base[LS_REGION_WEIGHTS] = other->base[LS_REGION_WEIGHTS];
    p->base[LS_REGION_BUFFERS] = other->base[LS_REGION_BUFFERS];
    return LS_OK;
}

static ls_status allocate_regions(ls_program *p) {
    if (p->weights_of) LS_TRY(share_regions(p));
    for (int i = 0; i < LS_REGION_COUNT; i++) {
        if (i == LS_REGION_CHANNELS || p->rank->bytes[i] == 0 || is_shared(p, i)) continue;
        LS_TRY(ls_device_alloc(p->device, p->rank->bytes[i], (void **)&p->base[i]));
    }
    return LS_OK;
}

static ls_status build_program(ls_program *p) {
    LS_TRY(ls_arena_create(&p->arena));
    LS_TRY(lower_segments(p));
    LS_TRY(lower_add(p));
    const ls_value loss = ls_graph_find(p->plan->graph, "loss");
    p->loss = LS_VALUE_NONE;
    if (loss != LS_VALUE_NONE && p->rank->places[p->plan->roots[loss]].region == LS_REGION_SLOTS)
        p->loss = p->plan->roots[loss];
    return allocate_regions(p);
}

ls_status ls_program_lower(const ls_plan *plan, int rank, const ls_lower_options *options,
                           ls_program **out) {
    ls_pool *pool = options->pool;
    if (rank < 0 || rank >= plan->n_ranks)
        return LS_FAIL(LS_ERR_INVALID, "lower: rank %d of a plan for %d", rank, plan->n_ranks);
    if (ls_pool_threads(pool) > plan->options.threads)
        return LS_FAIL(LS_ERR_INVALID, "lower: the pool has %d threads, the plan was made for %d",
                       ls_pool_threads(pool), plan->options.threads);
    if (plan->n_ranks > 1 && !options->channels)
        return LS_FAIL(LS_ERR_INVALID, "lower: a plan for %d ranks needs a transport, got none",
                       plan->n_ranks);
    ls_program *p = ls_alloc(sizeof *p);
    if (!p) return LS_ERR_NO_MEMORY;
    p->plan = plan;
    p->rank = &plan->ranks[rank];
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
    for (int i = 0; i < LS_REGION_COUNT; i++)
        if (p->base[i] && !is_shared(p, i))
            ls_device_release(p->device, p->base[i], p->rank->bytes[i]);
    ls_arena_destroy(p->arena);
    ls_free(p);
}

int64_t ls_program_allocated_bytes(const ls_program *p) {
    int64_t bytes = 0;
    for (int i = 0; i < LS_REGION_COUNT; i++)
        if (p->base[i] && !is_shared(p, i)) bytes += (int64_t)p->rank->bytes[i];
    return bytes;
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
