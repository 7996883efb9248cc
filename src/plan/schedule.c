/* Schedules: each is an order of forwards, backwards and weight gradients over lanes; everything else (slots, sends,
 * receives, lane sums) follows from that order in one place. */
#include "plan/plan.h"

typedef struct scheduler {
    ls_plan *plan;
    ls_rank_plan *rank;
    char *slot_used; /* per slot */
    int *slot_of;    /* per lane */
    int n_lanes;     /* of this rank */
    int deposited;   /* lanes whose gradients are in the stack */
    int height;      /* buffers on the stack */
} scheduler;

static ls_status push(scheduler *s, ls_command command) {
    ls_rank_plan *r = s->rank;
    LS_TRY(ls_array_reserve((void **)&r->commands, &r->commands_capacity, r->n_commands + 1,
                            sizeof *r->commands));
    r->commands[r->n_commands++] = command;
    return LS_OK;
}

static int find_segment(const ls_rank_plan *rank, ls_segment_kind kind, int round) {
    for (int i = 0; i < rank->n_segments; i++)
        if (rank->segments[i].kind == kind && rank->segments[i].round == round) return i;
    return -1;
}

/* Receives what the segment waits for, runs it, sends what others wait for. */
static ls_status run_segment(scheduler *s, ls_segment_kind kind, int round, int lane, int level) {
    const ls_plan *plan = s->plan;
    const int me = s->rank->rank, slot = lane >= 0 ? s->slot_of[lane] : 0;
    for (int i = 0; i < plan->n_channels; i++) {
        const ls_channel *c = &plan->channels[i];
        if (c->to == me && c->before == kind && c->before_round == round)
            LS_TRY(
                push(s, (ls_command){LS_COMMAND_RECV, .channel = i, .lane = lane, .slot = slot}));
    }
    const int segment = find_segment(s->rank, kind, round);
    if (segment >= 0)
        LS_TRY(push(s, (ls_command){LS_COMMAND_RUN, .segment = segment, .lane = lane, .slot = slot,
                                    .level = level}));
    for (int i = 0; i < plan->n_channels; i++) {
        const ls_channel *c = &plan->channels[i];
        if (c->from == me && c->after == kind && c->after_round == round)
            LS_TRY(
                push(s, (ls_command){LS_COMMAND_SEND, .channel = i, .lane = lane, .slot = slot}));
    }
    return LS_OK;
}

static int take_slot(scheduler *s) {
    int slot = 0;
    while (s->slot_used[slot]) slot++;
    s->slot_used[slot] = 1;
    if (slot + 1 > s->rank->n_slots) s->rank->n_slots = slot + 1;
    return slot;
}

/* Leaves of the lane tree are rounded to the wire's format here, unless an exchange among ranks has done it. */
static int rounds_leaves(const ls_plan *plan) {
    const int in_exchange = plan->n_members > 1 && plan->options.zero >= 2;
    return plan->options.mode == LS_PLAN_TRAIN && plan->options.wire != LS_WIRE_F32 && !in_exchange;
}

/* One fold's range of the lane at hand joins the stack: the binary counter's carries. */
static ls_status carry(scheduler *s, int lane, int fold) {
    int height = s->height + 1;
    if (fold != LS_FOLD_NUMBERS && rounds_leaves(s->plan))
        LS_TRY(push(
            s, (ls_command){LS_COMMAND_ROUND, .lane = lane, .fold = fold, .level = s->height}));
    for (int done = s->deposited + 1; (done & 1) == 0; done >>= 1) {
        height--;
        LS_TRY(
            push(s, (ls_command){LS_COMMAND_ADD, .lane = lane, .fold = fold, .level = height - 1}));
    }
    return LS_OK;
}

/* The lane's sums are in the stack. */
static void count_deposit(scheduler *s, int lane) {
    s->slot_used[s->slot_of[lane]] = 0;
    s->height++;
    if (s->height > s->rank->n_levels) s->rank->n_levels = s->height;
    for (int done = ++s->deposited; (done & 1) == 0; done >>= 1) s->height--;
}

/* The lane's sums are complete in buffer `height`. */
static ls_status deposit(scheduler *s, int lane) {
    if (s->plan->options.mode == LS_PLAN_TRAIN) LS_TRY(carry(s, lane, LS_FOLD_GRADIENTS));
    LS_TRY(carry(s, lane, LS_FOLD_NUMBERS));
    count_deposit(s, lane);
    return LS_OK;
}

/* Step of the segment behind the last one that makes a sum of the bucket. */
static int bucket_ready(const scheduler *s, const ls_segment *segment, int bucket) {
    const ls_graph *g = s->plan->graph;
    int ready = 0;
    for (int64_t v = 0; v < g->n_values; v++) {
        if (ls_plan_bucket_of(s->plan, (ls_value)v) != bucket) continue;
        const int32_t made = g->values[g->values[v].source].node;
        for (int64_t i = ready; i < segment->n_nodes; i++)
            if (segment->nodes[i] == made) ready = (int)i + 1;
    }
    return ready;
}

/* The last lane's backward pass in parts: the exchange of each bucket of sums starts as soon as the bucket is complete. */
static ls_status last_backward(scheduler *s, int lane) {
    const int slot = s->slot_of[lane];
    const int index = find_segment(s->rank, LS_SEGMENT_BACKWARD, 0);
    const ls_segment *segment = &s->rank->segments[index];
    int done = 0;
    for (int b = 0; b <= s->plan->n_buckets; b++) {
        const int last = b == s->plan->n_buckets;
        const int ready = last ? (int)segment->n_nodes : bucket_ready(s, segment, b);
        if (ready > done) {
            LS_TRY(
                push(s, (ls_command){LS_COMMAND_RUN, .segment = index, .first = done, .last = ready,
                                     .lane = lane, .slot = slot, .level = s->height}));
            done = ready;
        }
        LS_TRY(carry(s, lane, last ? LS_FOLD_NUMBERS : LS_FOLD_BUCKETS + b));
        if (!last) LS_TRY(run_segment(s, LS_SEGMENT_REDUCE, b, -1, 0));
    }
    count_deposit(s, lane);
    return LS_OK;
}

static ls_status forward(scheduler *s, int lane) {
    s->slot_of[lane] = take_slot(s);
    LS_TRY(push(s, (ls_command){LS_COMMAND_FEED, .lane = lane, .slot = s->slot_of[lane]}));
    LS_TRY(run_segment(s, LS_SEGMENT_FORWARD, 0, lane, s->height));
    return s->plan->options.mode == LS_PLAN_FORWARD ? deposit(s, lane) : LS_OK;
}

static ls_status weight(scheduler *s, int lane) {
    LS_TRY(run_segment(s, LS_SEGMENT_WEIGHT, 0, lane, s->height));
    return deposit(s, lane);
}

static ls_status backward(scheduler *s, int lane) {
    if (s->plan->n_buckets > 0 && s->deposited + 1 == s->n_lanes) return last_backward(s, lane);
    LS_TRY(run_segment(s, LS_SEGMENT_BACKWARD, 0, lane, s->height));
    return s->plan->options.schedule == LS_PIPELINE_ZERO_BUBBLE ? LS_OK : deposit(s, lane);
}

static ls_status schedule_gpipe(scheduler *s, int n_lanes) {
    for (int lane = 0; lane < n_lanes; lane++) LS_TRY(forward(s, lane));
    for (int lane = 0; lane < n_lanes; lane++) LS_TRY(backward(s, lane));
    return LS_OK;
}

/* `ahead` forwards before the first backward; weight gradients trail the backwards by `behind` lanes (zero bubble) or are part of them. */
static ls_status schedule_1f1b(scheduler *s, int n_lanes, int split) {
    const int to_end = s->plan->n_stages - 1 - s->rank->stage;
    const int ahead = to_end < n_lanes ? to_end : n_lanes;
    const int behind = s->rank->stage;
    int f = 0, w = 0;
    for (; f < ahead; f++) LS_TRY(forward(s, f));
    for (int b = 0; b < n_lanes; b++) {
        if (f < n_lanes) LS_TRY(forward(s, f++));
        LS_TRY(backward(s, b));
        if (split && b - w >= behind) LS_TRY(weight(s, w++));
    }
    while (split && w < n_lanes) LS_TRY(weight(s, w++));
    return LS_OK;
}

static ls_status schedule_lanes(scheduler *s, int n_lanes) {
    if (s->plan->options.mode == LS_PLAN_FORWARD) {
        for (int lane = 0; lane < n_lanes; lane++) LS_TRY(forward(s, lane));
        return LS_OK;
    }
    switch (s->plan->options.schedule) {
    case LS_PIPELINE_GPIPE:
        return schedule_gpipe(s, n_lanes);
    case LS_PIPELINE_ZERO_BUBBLE:
        return schedule_1f1b(s, n_lanes, 1);
    default:
        return schedule_1f1b(s, n_lanes, 0);
    }
}

static ls_status schedule_rank(ls_plan *plan, ls_rank_plan *rank) {
    const int training = plan->options.mode == LS_PLAN_TRAIN;
    const int n_lanes = plan->options.lanes / (training ? plan->n_members : 1);
    scheduler s = {.plan = plan, .rank = rank, .n_lanes = n_lanes};
    s.slot_used = ls_arena_alloc(plan->arena, (size_t)n_lanes + 1);
    s.slot_of = ls_arena_alloc(plan->arena, sizeof(int) * (size_t)(n_lanes + 1));
    if (!s.slot_used || !s.slot_of) return LS_ERR_NO_MEMORY;
    LS_TRY(push(&s, (ls_command){LS_COMMAND_FEED, .lane = -1}));
    LS_TRY(run_segment(&s, LS_SEGMENT_PREPARE, 0, -1, 0));
    LS_TRY(schedule_lanes(&s, n_lanes));
    int n_rounds = 0;
    for (int r = 0; r < plan->n_ranks; r++)
        for (int i = 0; i < plan->ranks[r].n_segments; i++)
            if (plan->ranks[r].segments[i].kind == LS_SEGMENT_UPDATE &&
                plan->ranks[r].segments[i].round + 1 > n_rounds)
                n_rounds = plan->ranks[r].segments[i].round + 1;
    for (int round = -1; round < n_rounds; round++)
        LS_TRY(run_segment(&s, LS_SEGMENT_UPDATE, round, -1, 0));
    return LS_OK;
}

ls_status ls_plan_schedule(ls_plan *plan) {
    for (int r = 0; r < plan->n_ranks; r++) LS_TRY(schedule_rank(plan, &plan->ranks[r]));
    for (int i = 0; i < plan->n_channels; i++) {
        ls_channel *c = &plan->channels[i];
        const int lane_value = c->after != LS_SEGMENT_UPDATE;
        const int from = plan->ranks[c->from].n_slots, to = plan->ranks[c->to].n_slots;
        c->depth = lane_value ? (from > to ? from : to) : 1;
    }
    return LS_OK;
}
