/* Schedules: each is an order of forwards, backwards and weight gradients over lanes; everything else (slots, sends,
 * receives, lane sums) follows from that order in one place. */
#include "plan/plan.h"

typedef struct scheduler {
    ls_plan *plan;
    ls_rank_plan *rank;
    char *slot_used; /* per slot */
    int *slot_of;    /* per lane */
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

/* The lane's sums are complete in buffer `height`: fold the binary counter. */
static ls_status deposit(scheduler *s, int lane) {
    s->slot_used[s->slot_of[lane]] = 0;
    s->height++;
    if (s->height > s->rank->n_levels) s->rank->n_levels = s->height;
    for (int done = ++s->deposited; (done & 1) == 0; done >>= 1) {
        s->height--;
        LS_TRY(push(s, (ls_command){LS_COMMAND_ADD, .lane = lane, .level = s->height - 1}));
    }
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
    const int n_lanes = plan->options.lanes;
    scheduler s = {.plan = plan, .rank = rank};
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
