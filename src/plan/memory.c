/* The static memory plan of each rank: a region and an offset for every value, greedy by size inside a segment's scratch. */
#include <string.h>

#include "op/collective.h"
#include "plan/plan.h"

typedef struct placer {
    ls_plan *plan;
    ls_rank_plan *rank;
    const ls_graph *graph;
    int *home;           /* per root: the one segment that touches it; -1 none yet; -2 several */
    char *escapes;       /* per root: sent, received, fed or fetched */
    int *block_of;       /* per root: its block in the one segment that has it in scratch, or -1 */
    int *n_readers;      /* per root: operands that it is */
    int64_t *last_use;   /* per root: position of the last node that touches it, of a segment */
    ls_scratch *scratch; /* per segment */
} placer;

enum { NO_SEGMENT = -1, MANY_SEGMENTS = -2 };

static void touch(placer *p, ls_value v, int segment) {
    const ls_value root = p->plan->roots[v];
    if (p->home[root] == NO_SEGMENT)
        p->home[root] = segment;
    else if (p->home[root] != segment)
        p->home[root] = MANY_SEGMENTS;
}

static void count_readers(placer *p) {
    for (int64_t n = 0; n < p->graph->n_nodes; n++)
        for (int i = 0; i < p->graph->nodes[n].n_in; i++)
            p->n_readers[p->plan->roots[p->graph->nodes[n].in[i]]]++;
}

static void find_homes(placer *p) {
    for (int64_t v = 0; v < p->graph->n_values; v++) p->home[v] = NO_SEGMENT;
    for (int s = 0; s < p->rank->n_segments; s++) {
        const ls_segment *segment = &p->rank->segments[s];
        for (int64_t i = 0; i < segment->n_nodes; i++) {
            const ls_node *node = &p->graph->nodes[segment->nodes[i]];
            for (int k = 0; k < node->n_in; k++) touch(p, node->in[k], s);
            for (int k = 0; k < node->n_out; k++) touch(p, node->out[k], s);
        }
    }
    for (int i = 0; i < p->plan->n_channels; i++) {
        const ls_channel *c = &p->plan->channels[i];
        if (c->from == p->rank->rank || c->to == p->rank->rank) p->escapes[c->value] = 1;
    }
    for (int64_t i = 0; i < p->graph->n_outputs; i++)
        p->escapes[p->plan->roots[p->graph->outputs[i].value]] = 1;
}

/* Appends the value to a region that is laid out end to end. Lane sums begin at whole blocks of the wire's formats. */
static void append_place(placer *p, ls_value v, ls_region region, size_t *end) {
    size_t bytes = ls_type_bytes(&p->graph->values[v].type);
    if (p->plan->room[v] > bytes) bytes = p->plan->room[v];
    const size_t align = region == LS_REGION_GRADIENTS ? LS_SUM_ALIGN : LS_PLACE_ALIGN;
    p->rank->places[v] = (ls_place){region, *end, bytes, 0};
    *end += ls_align_up(bytes ? bytes : 1, align);
}

static ls_region persistent_region(const ls_value_info *info) {
    if (info->kind == LS_VALUE_PARAM) return LS_REGION_WEIGHTS;
    return info->role == LS_ROLE_OPTIMIZER ? LS_REGION_OPTIMIZER : LS_REGION_BUFFERS;
}

/* Region of a value that is neither persistent nor a lane sum; SCRATCH when one segment alone needs it. */
static ls_region region_of(const placer *p, ls_value root) {
    const ls_value_info *info = &p->graph->values[root];
    if (p->home[root] == NO_SEGMENT && !p->escapes[root]) return LS_REGION_NONE;
    if (info->kind == LS_VALUE_INPUT) return LS_REGION_SLOTS;
    if (info->kind == LS_VALUE_STEP_INPUT) return LS_REGION_STEP;
    const int shared = p->home[root] < 0 || p->escapes[root];
    if (!shared) return LS_REGION_SCRATCH;
    switch (p->graph->nodes[info->node].phase) {
    case LS_PHASE_PREPARE:
        return LS_REGION_PREPARED;
    case LS_PHASE_UPDATE:
        return LS_REGION_STEP;
    default:
        return LS_REGION_SLOTS;
    }
}

/* The input that the op which makes a sum's source may write over, and that nothing else reads: made where it is added to. Like its
 * source it is of the lane's last segment alone. NONE without. */
static ls_value find_overwritten(const placer *p, ls_value source) {
    const ls_graph *g = p->graph;
    const ls_node *node = &g->nodes[g->values[source].node];
    for (int k = 0; node->out[0] == source && k < node->n_in && k < 32; k++) {
        const ls_value v = node->in[k];
        const int inside = p->home[v] >= 0 && p->home[v] == p->home[source] && !p->escapes[v];
        if (!(node->op->may_overwrite & (1u << k)) || !inside) continue;
        if (p->plan->roots[v] != v || g->values[v].kind != LS_VALUE_RESULT) continue;
        if (ls_type_bytes(&g->values[v].type) != ls_type_bytes(&g->values[source].type)) continue;
        if (p->n_readers[v] == 1 && p->rank->places[v].region != LS_REGION_GRADIENTS) return v;
    }
    return LS_VALUE_NONE;
}

/* Lane sums live in the gradient buffers together with their sources; one received from another rank lives in STEP. */
static void place_accum(placer *p, ls_value v, size_t *end) {
    const ls_value source = p->graph->values[v].source;
    if (p->home[source] != NO_SEGMENT) {
        append_place(p, v, LS_REGION_GRADIENTS, &end[LS_REGION_GRADIENTS]);
        p->rank->places[source] = p->rank->places[v];
        const ls_value before = find_overwritten(p, source);
        if (before != LS_VALUE_NONE) p->rank->places[before] = p->rank->places[v];
    } else if (p->home[v] != NO_SEGMENT) {
        append_place(p, v, LS_REGION_STEP, &end[LS_REGION_STEP]);
    }
}

static int is_gradient(const ls_value_info *info) {
    return strncmp(info->name, "grad/", 5) == 0;
}

/* Sums of one bucket side by side, then the gradients that are in none, then the other sums: every fold is one range. */
static ls_status place_sums(placer *p, size_t *end) {
    const ls_plan *plan = p->plan;
    const int n_folds = LS_FOLD_BUCKETS + plan->n_buckets;
    p->rank->folds = ls_arena_alloc(plan->arena, sizeof(ls_fold) * (size_t)n_folds);
    if (!p->rank->folds) return LS_ERR_NO_MEMORY;
    p->rank->n_folds = n_folds;
    for (int b = 0; b <= plan->n_buckets + 1; b++) {
        const size_t first = end[LS_REGION_GRADIENTS];
        for (int64_t v = 0; v < p->graph->n_values; v++) {
            const ls_value_info *info = &p->graph->values[v];
            if (info->kind != LS_VALUE_ACCUM) continue;
            const int bucket = ls_plan_bucket_of(plan, (ls_value)v);
            const int group = bucket >= 0 ? bucket : plan->n_buckets + !is_gradient(info);
            if (group == b) place_accum(p, (ls_value)v, end);
        }
        const size_t last = end[LS_REGION_GRADIENTS];
        const ls_wire wire = plan->options.wire;
        if (b < plan->n_buckets)
            p->rank->folds[LS_FOLD_BUCKETS + b] = (ls_fold){first, last - first, wire};
        if (b == plan->n_buckets) p->rank->folds[LS_FOLD_GRADIENTS] = (ls_fold){0, last, wire};
        if (b == plan->n_buckets + 1)
            p->rank->folds[LS_FOLD_NUMBERS] = (ls_fold){first, last - first, LS_WIRE_F32};
    }
    return LS_OK;
}

static void place_shared(placer *p, size_t *end) {
    for (int64_t v = 0; v < p->graph->n_values; v++) {
        const ls_value_info *info = &p->graph->values[v];
        if (p->plan->roots[v] != (ls_value)v || info->kind == LS_VALUE_ACCUM) continue;
        if (p->rank->places[v].region == LS_REGION_GRADIENTS) continue;
        if (info->kind == LS_VALUE_PARAM || info->kind == LS_VALUE_STATE) {
            const int here = p->rank->places[v].region != LS_REGION_NONE;
            if (here)
                append_place(p, (ls_value)v, persistent_region(info),
                             &end[persistent_region(info)]);
            continue;
        }
        const ls_region region = region_of(p, (ls_value)v);
        if (region == LS_REGION_NONE || region == LS_REGION_SCRATCH)
            p->rank->places[v].region = region;
        else
            append_place(p, (ls_value)v, region, &end[region]);
    }
}

static int new_block(ls_scratch *s, int64_t at, size_t bytes) {
    s->blocks[s->n_blocks] = (ls_block){at, at, ls_align_up(bytes, LS_PLACE_ALIGN), 0, -1};
    return s->n_blocks++;
}

static ls_block *find_block(const ls_scratch *s, int b) {
    while (s->blocks[b].merged_into >= 0) b = s->blocks[b].merged_into;
    return &s->blocks[b];
}

/* Of everything that the segment touches: what it alone touches is right until the next segment's. */
static void find_last_uses(placer *p, const ls_segment *segment) {
    for (int64_t i = 0; i < segment->n_nodes; i++) {
        const ls_node *node = &p->graph->nodes[segment->nodes[i]];
        for (int k = 0; k < node->n_in; k++) p->last_use[p->plan->roots[node->in[k]]] = i;
        for (int k = 0; k < node->n_out; k++) p->last_use[p->plan->roots[node->out[k]]] = i;
    }
}

/* out[0] may take over a dying input of the same size. */
static void try_overwrite(placer *p, ls_scratch *s, const ls_node *node, int64_t at,
                          int out_block) {
    for (int k = 0; k < node->n_in && k < 32; k++) {
        if (!(node->op->may_overwrite & (1u << k))) continue;
        const ls_value root = p->plan->roots[node->in[k]];
        if (p->rank->places[root].region != LS_REGION_SCRATCH || p->block_of[root] < 0) continue;
        ls_block *in = find_block(s, p->block_of[root]);
        ls_block *out = &s->blocks[out_block];
        if (in->last != at || in->bytes != out->bytes || in == out) continue;
        in->last = out->last;
        out->merged_into = (int)(in - s->blocks);
        return;
    }
}

static ls_status collect_blocks(placer *p, const ls_segment *segment, ls_scratch *s) {
    find_last_uses(p, segment);
    for (int64_t i = 0; i < segment->n_nodes; i++) {
        const ls_node *node = &p->graph->nodes[segment->nodes[i]];
        ls_type *in = ls_alloc(sizeof *in * (size_t)(node->n_in + 1));
        if (!in) return LS_ERR_NO_MEMORY;
        ls_type out[LS_MAX_OUT];
        ls_sig sig;
        ls_node_sig(p->graph, node, in, out, &sig);
        const ls_kernel *kernel = segment->kernels[i];
        const size_t workspace =
            kernel->workspace_bytes ? kernel->workspace_bytes(&sig, p->plan->options.threads) : 0;
        ls_free(in);
        s->of_workspace[i] = workspace ? new_block(s, i, workspace) : -1;
        for (int k = 0; k < node->n_out; k++) {
            const ls_value v = node->out[k];
            if (p->plan->roots[v] != v || p->rank->places[v].region != LS_REGION_SCRATCH) continue;
            const int b = new_block(s, i, ls_type_bytes(&p->graph->values[v].type));
            s->blocks[b].last = p->last_use[v];
            p->block_of[v] = b;
            if (k == 0) try_overwrite(p, s, node, i, b);
        }
    }
    return LS_OK;
}

static ls_status lay_out_scratch(ls_scratch *s, size_t *bytes_out, ls_arena *arena) {
    ls_block **order = ls_arena_alloc(arena, sizeof(ls_block *) * 2 * ((size_t)s->n_blocks + 1));
    if (!order) return LS_ERR_NO_MEMORY;
    int n = 0;
    for (int b = 0; b < s->n_blocks; b++)
        if (s->blocks[b].merged_into < 0) order[n++] = &s->blocks[b];
    *bytes_out = ls_blocks_place(order, n, order + n, 0);
    return LS_OK;
}

static ls_status place_scratch(placer *p, ls_segment *segment, ls_scratch *s, ls_arena *arena) {
    size_t most = 1;
    for (int64_t i = 0; i < segment->n_nodes; i++)
        most += 1 + (size_t)p->graph->nodes[segment->nodes[i]].n_out;
    s->blocks = ls_arena_alloc(arena, sizeof *s->blocks * most);
    s->of_workspace = ls_arena_alloc(arena, sizeof(int) * (size_t)(segment->n_nodes + 1));
    segment->workspace_offset =
        ls_arena_alloc(p->plan->arena, sizeof(size_t) * (size_t)(segment->n_nodes + 1));
    if (!s->blocks || !s->of_workspace || !segment->workspace_offset) return LS_ERR_NO_MEMORY;
    LS_TRY(collect_blocks(p, segment, s));
    return lay_out_scratch(s, &segment->scratch_bytes, arena);
}

/* Blocks have their last offsets. */
static void settle_scratch(const placer *p, ls_segment *segment, const ls_scratch *s) {
    for (int64_t i = 0; i < segment->n_nodes; i++) {
        if (s->of_workspace[i] >= 0)
            segment->workspace_offset[i] = find_block(s, s->of_workspace[i])->offset;
        const ls_node *node = &p->graph->nodes[segment->nodes[i]];
        for (int k = 0; k < node->n_out; k++) {
            const ls_value v = node->out[k];
            if (p->block_of[v] < 0) continue;
            p->rank->places[v] = (ls_place){.region = LS_REGION_SCRATCH,
                                            .offset = find_block(s, p->block_of[v])->offset,
                                            .bytes = ls_type_bytes(&p->graph->values[v].type)};
        }
    }
}

static void total_regions(placer *p, const size_t *end) {
    ls_rank_plan *r = p->rank;
    for (int i = 0; i < LS_REGION_COUNT; i++) r->bytes[i] = end[i];
    r->slot_bytes = end[LS_REGION_SLOTS];
    r->gradient_bytes = end[LS_REGION_GRADIENTS];
    r->bytes[LS_REGION_SLOTS] = r->slot_bytes * (size_t)r->n_slots;
    r->bytes[LS_REGION_GRADIENTS] = r->gradient_bytes * (size_t)r->n_levels;
    for (int s = 0; s < r->n_segments; s++)
        if (r->segments[s].scratch_bytes > r->bytes[LS_REGION_SCRATCH])
            r->bytes[LS_REGION_SCRATCH] = r->segments[s].scratch_bytes;
    /* The receiver holds a channel's buffers. */
    for (int i = 0; i < p->plan->n_channels; i++) {
        const ls_channel *c = &p->plan->channels[i];
        if (c->to == r->rank)
            r->bytes[LS_REGION_CHANNELS] +=
                ls_align_up(c->bytes, LS_PLACE_ALIGN) * (size_t)c->depth;
    }
    /* What the three regions are short of two whole buffers. */
    if (p->plan->options.kept)
        r->bytes[LS_REGION_KEPT] = 2 * ls_rank_kept_bytes(r) - r->bytes[LS_REGION_WEIGHTS] -
                                   r->bytes[LS_REGION_OPTIMIZER] - r->bytes[LS_REGION_BUFFERS];
}

int ls_plan_bucket_of(const ls_plan *plan, ls_value accum) {
    return plan->sum_bucket[accum];
}

ls_status ls_plan_find_buckets(ls_plan *plan) {
    const ls_graph *g = plan->graph;
    plan->sum_bucket = ls_arena_alloc(plan->arena, sizeof(int) * (size_t)(g->n_values + 1));
    if (!plan->sum_bucket) return LS_ERR_NO_MEMORY;
    for (int64_t v = 0; v < g->n_values; v++) plan->sum_bucket[v] = -1;
    for (int64_t n = 0; n < g->n_nodes; n++) {
        const ls_node *node = &g->nodes[n];
        if (node->bucket <= 0) continue;
        if (node->bucket > plan->n_buckets) plan->n_buckets = node->bucket;
        for (int i = 0; i < node->n_in; i++)
            if (g->values[node->in[i]].kind == LS_VALUE_ACCUM)
                plan->sum_bucket[node->in[i]] = node->bucket - 1;
    }
    return LS_OK;
}

/* Regions that hold what collectives give, or pieces of persistent values, which a checkpoint gathers. */
static void find_read_by_peers(const ls_plan *plan, ls_rank_plan *rank) {
    const ls_graph *g = plan->graph;
    if (plan->n_members == 1) return;
    for (int64_t n = 0; n < g->n_nodes; n++) {
        const ls_node *node = &g->nodes[n];
        if (!ls_collective_is_start(node->op)) continue;
        for (int i = 0; i < node->n_in; i++)
            if (rank->places[node->in[i]].region != LS_REGION_NONE)
                rank->read_by_peers[rank->places[node->in[i]].region] = 1;
        for (int i = 0; i < node->n_out; i++) /* the staging */
            if (rank->places[node->out[i]].region != LS_REGION_NONE &&
                g->values[node->out[i]].type.dtype == LS_DTYPE_U8)
                rank->read_by_peers[rank->places[node->out[i]].region] = 1;
    }
    for (int64_t v = 0; v < g->n_values; v++)
        if (g->values[v].piece && rank->places[v].region != LS_REGION_NONE)
            rank->read_by_peers[rank->places[v].region] = 1;
    for (int i = 0; plan->options.kept && i < LS_REGION_KEPT; i++)
        rank->read_by_peers[LS_REGION_KEPT] |= rank->read_by_peers[i];
}

static ls_status place_rank(ls_plan *plan, ls_rank_plan *rank, ls_arena *arena) {
    placer p = {.plan = plan, .rank = rank, .graph = plan->graph};
    const size_t n = (size_t)plan->graph->n_values + 1;
    p.home = ls_arena_alloc(arena, n * sizeof *p.home);
    p.escapes = ls_arena_alloc(arena, n);
    p.block_of = ls_arena_alloc(arena, n * sizeof *p.block_of);
    p.scratch = ls_arena_alloc(arena, sizeof *p.scratch * (size_t)(rank->n_segments + 1));
    p.n_readers = ls_arena_alloc(arena, n * sizeof *p.n_readers);
    p.last_use = ls_arena_alloc(arena, n * sizeof *p.last_use);
    if (!p.home || !p.escapes || !p.block_of || !p.scratch || !p.n_readers || !p.last_use)
        return LS_ERR_NO_MEMORY;
    for (size_t v = 0; v < n; v++) p.block_of[v] = -1;
    size_t end[LS_REGION_COUNT] = {0};
    count_readers(&p);
    find_homes(&p);
    LS_TRY(place_sums(&p, end));
    place_shared(&p, end);
    for (int s = 0; s < rank->n_segments; s++)
        LS_TRY(place_scratch(&p, &rank->segments[s], &p.scratch[s], arena));
    total_regions(&p, end);
    LS_TRY(ls_plan_overlay(plan, rank, p.scratch, arena));
    for (int s = 0; s < rank->n_segments; s++)
        settle_scratch(&p, &rank->segments[s], &p.scratch[s]);
    for (int64_t v = 0; v < plan->graph->n_values; v++)
        if (plan->roots[v] != (ls_value)v) {
            rank->places[v] = rank->places[plan->roots[v]];
            rank->places[v].member_stride = plan->member_stride[v];
        }
    find_read_by_peers(plan, rank);
    return LS_OK;
}

ls_status ls_plan_place(ls_plan *plan) {
    ls_arena *arena;
    LS_TRY(ls_arena_create(&arena));
    ls_status status = LS_OK;
    for (int r = 0; status == LS_OK && r < plan->n_ranks; r++)
        status = place_rank(plan, &plan->ranks[r], arena);
    ls_arena_destroy(arena);
    return status;
}
