#include "exec/trace.h"

#include "base/alloc.h"
#include "base/clock.h"

struct ls_trace {
    ls_trace_event *events;
    int64_t capacity, n, n_dropped;
};

ls_status ls_trace_create(int64_t capacity, ls_trace **out) {
    if (capacity < 1 || capacity > INT64_MAX / (int64_t)sizeof(ls_trace_event))
        return LS_FAIL(LS_ERR_INVALID, "a trace of %lld events was asked for; 1 and more work",
                       (long long)capacity);
    ls_trace *trace = ls_alloc(sizeof *trace);
    if (!trace) return LS_ERR_NO_MEMORY;
    trace->events = ls_alloc((size_t)capacity * sizeof *trace->events);
    trace->capacity = capacity;
    if (!trace->events) {
        ls_free(trace);
        return LS_ERR_NO_MEMORY;
    }
    *out = trace;
    return LS_OK;
}

void ls_trace_destroy(ls_trace *trace) {
    if (!trace) return;
    ls_free(trace->events);
    ls_free(trace);
}

void ls_trace_add(ls_trace *trace, const ls_trace_event *event) {
    /* After the first loss nothing more is taken: what is there is whole up to a moment. */
    if (trace->n < trace->capacity && trace->n_dropped == 0)
        trace->events[trace->n++] = *event;
    else
        trace->n_dropped++;
}

void ls_trace_add_span(ls_trace *trace, ls_trace_kind kind, int64_t step, int64_t begin_ns) {
    if (!trace) return;
    const ls_trace_event event = {.begin_ns = begin_ns,
                                  .end_ns = ls_trace_now(),
                                  .step = step,
                                  .kind = (int32_t)kind,
                                  .index = -1,
                                  .node = -1,
                                  .lane = -1};
    ls_trace_add(trace, &event);
}

const ls_trace_event *ls_trace_events(const ls_trace *trace, int64_t *n_out) {
    *n_out = trace->n;
    return trace->events;
}

int64_t ls_trace_dropped(const ls_trace *trace) {
    return trace->n_dropped;
}

void ls_trace_clear(ls_trace *trace) {
    trace->n = trace->n_dropped = 0;
}

int64_t ls_trace_now(void) {
    return (int64_t)(ls_clock_seconds() * 1e9);
}

int64_t ls_trace_run_events(const ls_program *p) {
    int64_t n = 1;
    for (int64_t i = 0; i < p->rank->n_commands; i++) {
        const ls_command *c = &p->rank->commands[i];
        n++;
        if (c->kind != LS_COMMAND_RUN) continue;
        const int64_t last = c->last ? c->last : p->segments[c->segment].n_steps;
        n += last - c->first;
    }
    return n;
}

ls_status ls_trace_launch(ls_program *p, ls_step *step, const ls_command *command,
                          const ls_run_options *options) {
    const int64_t busy = ls_pool_busy_ns(p->pool);
    ls_trace_event event = {.begin_ns = ls_trace_now(),
                            .step = (int64_t)options->step,
                            .kind = LS_TRACE_KERNEL,
                            .index = command->segment,
                            .node = (int32_t)(step->node - p->plan->graph->nodes),
                            .lane = ls_program_lane(p, command),
                            .slot = command->slot,
                            .level = command->level};
    const ls_status status = ls_program_launch(p, step, command, options);
    event.end_ns = ls_trace_now();
    event.busy_ns = ls_pool_busy_ns(p->pool) - busy;
    ls_trace_add(options->trace, &event);
    return status;
}

static const ls_trace_kind kinds[] = {
    [LS_COMMAND_FEED] = LS_TRACE_FEED, [LS_COMMAND_RUN] = LS_TRACE_RUN,
    [LS_COMMAND_SEND] = LS_TRACE_SEND, [LS_COMMAND_RECV] = LS_TRACE_RECV,
    [LS_COMMAND_ADD] = LS_TRACE_ADD,   [LS_COMMAND_ROUND] = LS_TRACE_ROUND};

void ls_trace_add_command(ls_program *p, const ls_command *c, const ls_run_options *options,
                          int64_t begin_ns, int64_t busy_before) {
    ls_trace_event event = {.begin_ns = begin_ns,
                            .step = (int64_t)options->step,
                            .kind = (int32_t)kinds[c->kind],
                            .index = -1,
                            .node = -1,
                            .lane = ls_program_lane(p, c),
                            .slot = c->slot,
                            .level = c->level};
    if (c->kind == LS_COMMAND_RUN) event.index = c->segment;
    if (c->kind == LS_COMMAND_SEND || c->kind == LS_COMMAND_RECV) {
        event.index = c->channel;
        event.bytes = (int64_t)p->plan->channels[c->channel].bytes;
    }
    if (c->kind == LS_COMMAND_ADD || c->kind == LS_COMMAND_ROUND) {
        event.index = c->fold;
        event.bytes = (int64_t)p->rank->folds[c->fold].bytes;
        event.busy_ns = ls_pool_busy_ns(p->pool) - busy_before;
    }
    event.end_ns = ls_trace_now();
    ls_trace_add(options->trace, &event);
}
