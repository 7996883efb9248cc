/* Nodes to the segments of each rank, and the channels between ranks. Ranks are pipeline stages here. */
#include "plan/plan.h"

typedef uint64_t stage_set;

typedef struct cutter {
    ls_plan *plan;
    const ls_graph *graph;
    stage_set all;
    stage_set *node_stages; /* per node: the stages that run it */
    stage_set *owners;      /* per value: persistent values' stages; otherwise where it is made */
    int *round;             /* per UPDATE node */
} cutter;

static stage_set one_stage(int stage) {
    return (stage_set)1 << stage;
}

static int first_stage(stage_set set) {
    return set ? __builtin_ctzll(set) : 0;
}

/* Lane nodes run on their unit's stage; persistent values live where lane nodes read them. */
static void place_lane_nodes(cutter *c) {
    for (int64_t n = c->graph->n_nodes - 1; n >= 0; n--) {
        const ls_node *node = &c->graph->nodes[n];
        if (node->phase == LS_PHASE_FORWARD || node->phase == LS_PHASE_BACKWARD)
            c->node_stages[n] = one_stage(ls_plan_stage_of(c->plan, node));
        if (node->phase == LS_PHASE_UPDATE) continue;
        /* PREPARE: wherever a reader is. Readers of this node stand later, so they are done. */
        if (node->phase == LS_PHASE_PREPARE)
            for (int i = 0; i < node->n_out; i++) c->node_stages[n] |= c->owners[node->out[i]];
        for (int i = 0; i < node->n_in; i++) {
            const ls_value_info *info = &c->graph->values[node->in[i]];
            const int prepared =
                info->node >= 0 && c->graph->nodes[info->node].phase == LS_PHASE_PREPARE;
            if (prepared || info->kind == LS_VALUE_PARAM || info->kind == LS_VALUE_STATE)
                c->owners[node->in[i]] |= c->node_stages[n];
        }
    }
    for (int64_t n = 0; n < c->graph->n_nodes; n++)
        if (c->graph->nodes[n].phase != LS_PHASE_UPDATE)
            for (int i = 0; i < c->graph->nodes[n].n_out; i++)
                c->owners[c->graph->nodes[n].out[i]] = c->node_stages[n];
}

/* Where a value that an UPDATE node reads can be found. */
static stage_set home_of(const cutter *c, ls_value v) {
    const ls_value_info *info = &c->graph->values[v];
    if (info->kind == LS_VALUE_ACCUM) return c->owners[info->source];
    if (info->kind == LS_VALUE_RESULT) return c->node_stages[info->node];
    return c->all;
}

/* Optimizer steps run where their parameter lives (its state follows); counters run everywhere; other nodes run on one stage
 * that has all inputs, or, when there is none, on every stage that has some. */
static void place_update_nodes(cutter *c) {
    for (int64_t n = 0; n < c->graph->n_nodes; n++) {
        const ls_node *node = &c->graph->nodes[n];
        if (node->phase != LS_PHASE_UPDATE) continue;
        if (node->op->flags & LS_OP_UPDATE) {
            const int of_param = c->graph->values[node->in[0]].kind == LS_VALUE_PARAM;
            c->node_stages[n] = of_param ? c->owners[node->in[0]] : c->all;
            continue;
        }
        stage_set common = c->all, some = 0;
        for (int i = 0; i < node->n_in; i++) {
            const stage_set home = home_of(c, node->in[i]);
            common &= home;
            if (home != c->all) some |= home;
        }
        if (!some)
            c->node_stages[n] = c->all;
        else
            c->node_stages[n] = common ? one_stage(first_stage(common)) : some;
    }
}

/* Nodes placed everywhere only for want of a common home shrink to the stages that read them. */
static ls_status trim_update_nodes(cutter *c) {
    stage_set *wanted =
        ls_arena_alloc(c->plan->arena, sizeof *wanted * (size_t)(c->graph->n_values + 1));
    if (!wanted) return LS_ERR_NO_MEMORY;
    for (int64_t i = 0; i < c->graph->n_outputs; i++) wanted[c->graph->outputs[i].value] = c->all;
    for (int64_t n = c->graph->n_nodes - 1; n >= 0; n--) {
        const ls_node *node = &c->graph->nodes[n];
        if (node->phase != LS_PHASE_UPDATE) continue;
        stage_set readers = 0;
        for (int i = 0; i < node->n_out; i++) readers |= wanted[node->out[i]];
        const int update = (node->op->flags & LS_OP_UPDATE) != 0;
        if (!update && c->node_stages[n] == c->all && readers) c->node_stages[n] = readers;
        for (int i = 0; i < node->n_in; i++) wanted[node->in[i]] |= c->node_stages[n];
    }
    return LS_OK;
}

static void number_rounds(cutter *c) {
    for (int64_t n = 0; n < c->graph->n_nodes; n++) {
        const ls_node *node = &c->graph->nodes[n];
        if (node->phase != LS_PHASE_UPDATE) continue;
        for (int i = 0; i < node->n_in; i++) {
            const ls_value_info *info = &c->graph->values[node->in[i]];
            int ready = 0;
            if (info->kind == LS_VALUE_RESULT &&
                c->graph->nodes[info->node].phase == LS_PHASE_UPDATE)
                ready = c->round[info->node];
            if (c->node_stages[n] & ~home_of(c, node->in[i])) ready++;
            if (ready > c->round[n]) c->round[n] = ready;
        }
        for (int i = 0; i < node->n_out; i++) c->owners[node->out[i]] = c->node_stages[n];
    }
    /* State made by update nodes follows its parameter. */
    for (int64_t n = 0; n < c->graph->n_nodes; n++) {
        const ls_node *node = &c->graph->nodes[n];
        if (node->phase != LS_PHASE_UPDATE) continue;
        for (int i = 0; i < node->n_in; i++)
            if (c->graph->values[node->in[i]].kind == LS_VALUE_STATE)
                c->owners[node->in[i]] |= c->node_stages[n];
    }
}

static ls_segment_kind kind_of(const ls_node *node, int zero_bubble) {
    switch (node->phase) {
    case LS_PHASE_PREPARE:
        return LS_SEGMENT_PREPARE;
    case LS_PHASE_FORWARD:
        return LS_SEGMENT_FORWARD;
    case LS_PHASE_BACKWARD:
        return zero_bubble && node->half ? LS_SEGMENT_WEIGHT : LS_SEGMENT_BACKWARD;
    default:
        return node->bucket > 0 ? LS_SEGMENT_REDUCE : LS_SEGMENT_UPDATE;
    }
}

static int zero_bubble(const ls_plan *plan) {
    return plan->options.mode == LS_PLAN_TRAIN && plan->options.schedule == LS_PIPELINE_ZERO_BUBBLE;
}

/* Fills one segment with the nodes of its kind and round that this stage runs. */
static ls_status fill_segment(const cutter *c, int stage, ls_segment *segment) {
    const ls_graph *g = c->graph;
    segment->nodes = ls_arena_alloc(c->plan->arena, sizeof(int32_t) * (size_t)(g->n_nodes + 1));
    if (!segment->nodes) return LS_ERR_NO_MEMORY;
    for (int64_t n = 0; n < g->n_nodes; n++) {
        if (!(c->node_stages[n] & one_stage(stage))) continue;
        if (kind_of(&g->nodes[n], zero_bubble(c->plan)) != segment->kind) continue;
        if (segment->kind == LS_SEGMENT_UPDATE && c->round[n] != segment->round) continue;
        if (segment->kind == LS_SEGMENT_REDUCE && g->nodes[n].bucket - 1 != segment->round)
            continue;
        segment->nodes[segment->n_nodes++] = (int32_t)n;
    }
    return LS_OK;
}

static ls_status fill_rank(const cutter *c, int n_rounds, ls_rank_plan *rank) {
    ls_plan *plan = c->plan;
    const int n_fixed = LS_SEGMENT_REDUCE, n_before = n_fixed + plan->n_buckets;
    const int most = n_before + n_rounds;
    rank->segments = ls_arena_alloc(plan->arena, sizeof(ls_segment) * (size_t)most);
    rank->places = ls_arena_alloc(plan->arena, sizeof(ls_place) * (size_t)(c->graph->n_values + 1));
    if (!rank->segments || !rank->places) return LS_ERR_NO_MEMORY;
    for (int64_t v = 0; v < c->graph->n_values; v++) {
        const ls_value_kind kind = c->graph->values[v].kind;
        const int persistent = kind == LS_VALUE_PARAM || kind == LS_VALUE_STATE;
        const int here = (c->owners[v] & one_stage(rank->stage)) != 0;
        rank->places[v].region = persistent && here ? LS_REGION_WEIGHTS : LS_REGION_NONE;
    }
    for (int i = 0; i < most; i++) {
        ls_segment segment = {.kind = (ls_segment_kind)i};
        if (i >= n_fixed) {
            segment.kind = i < n_before ? LS_SEGMENT_REDUCE : LS_SEGMENT_UPDATE;
            segment.round = i < n_before ? i - n_fixed : i - n_before;
        }
        LS_TRY(fill_segment(c, rank->stage, &segment));
        if (segment.n_nodes) rank->segments[rank->n_segments++] = segment;
    }
    return LS_OK;
}

/* Segment kind and round in which a value is ready on its home stage. */
static void ready_after(const cutter *c, ls_value v, ls_channel *out) {
    const ls_value_info *info = &c->graph->values[v];
    if (info->kind == LS_VALUE_ACCUM) {
        out->after = LS_SEGMENT_UPDATE;
        out->after_round = -1;
        return;
    }
    out->after = kind_of(&c->graph->nodes[info->node], zero_bubble(c->plan));
    out->after_round = out->after == LS_SEGMENT_UPDATE ? c->round[info->node] : 0;
}

/* Notes that `node` on stage `to` reads root value v made elsewhere; keeps the earliest reader. */
static ls_status need_channel(cutter *c, ls_value v, int to, const ls_node *node, int round) {
    ls_plan *plan = c->plan;
    const ls_segment_kind before = kind_of(node, zero_bubble(plan));
    for (int i = 0; i < plan->n_channels; i++) {
        ls_channel *ch = &plan->channels[i];
        if (ch->value != v || ch->to != to) continue;
        if (before < ch->before || (before == ch->before && round < ch->before_round)) {
            ch->before = before;
            ch->before_round = round;
        }
        return LS_OK;
    }
    LS_TRY(ls_array_reserve((void **)&plan->channels, &plan->channels_capacity,
                            plan->n_channels + 1, sizeof *plan->channels));
    ls_channel ch = {.from = first_stage(home_of(c, v)),
                     .to = to,
                     .value = v,
                     .before = before,
                     .before_round = round};
    ch.bytes = ls_type_bytes(&c->graph->values[v].type);
    ready_after(c, v, &ch);
    plan->channels[plan->n_channels++] = ch;
    return LS_OK;
}

static ls_status find_channels(cutter *c) {
    for (int64_t n = 0; n < c->graph->n_nodes; n++) {
        const ls_node *node = &c->graph->nodes[n];
        for (int i = 0; i < node->n_in; i++) {
            const ls_value v = c->plan->roots[node->in[i]];
            const ls_value_kind kind = c->graph->values[v].kind;
            if (kind != LS_VALUE_RESULT && kind != LS_VALUE_ACCUM) continue;
            const stage_set missing = c->node_stages[n] & ~home_of(c, v);
            for (int s = 0; s < c->plan->n_stages; s++)
                if (missing & one_stage(s)) LS_TRY(need_channel(c, v, s, node, c->round[n]));
        }
    }
    return LS_OK;
}

static ls_status make_cutter(cutter *c, ls_plan *plan) {
    const size_t n = (size_t)plan->graph->n_nodes + 1, v = (size_t)plan->graph->n_values + 1;
    *c = (cutter){.plan = plan, .graph = plan->graph};
    for (int s = 0; s < plan->n_stages; s++) c->all |= one_stage(s);
    c->node_stages = ls_arena_alloc(plan->arena, n * sizeof *c->node_stages);
    c->owners = ls_arena_alloc(plan->arena, v * sizeof *c->owners);
    c->round = ls_arena_alloc(plan->arena, n * sizeof *c->round);
    return c->node_stages && c->owners && c->round ? LS_OK : LS_ERR_NO_MEMORY;
}

ls_status ls_plan_segment(ls_plan *plan) {
    cutter c;
    LS_TRY(make_cutter(&c, plan));
    place_lane_nodes(&c);
    place_update_nodes(&c);
    LS_TRY(trim_update_nodes(&c));
    number_rounds(&c);
    LS_TRY(find_channels(&c));
    int n_rounds = 1;
    for (int64_t n = 0; n < plan->graph->n_nodes; n++)
        if (c.round[n] + 1 > n_rounds) n_rounds = c.round[n] + 1;
    plan->n_ranks = plan->n_stages;
    plan->ranks = ls_arena_alloc(plan->arena, sizeof *plan->ranks * (size_t)plan->n_ranks);
    if (!plan->ranks) return LS_ERR_NO_MEMORY;
    for (int r = 0; r < plan->n_ranks; r++) {
        plan->ranks[r].rank = plan->ranks[r].stage = r;
        LS_TRY(fill_rank(&c, n_rounds, &plan->ranks[r]));
    }
    return LS_OK;
}

int ls_rank_segment_of(const ls_rank_plan *rank, int32_t node) {
    for (int s = 0; s < rank->n_segments; s++)
        for (int64_t i = 0; i < rank->segments[s].n_nodes; i++)
            if (rank->segments[s].nodes[i] == node) return s;
    return -1;
}
