/* The run loop: one `for` over commands, one over steps. It decides nothing and allocates nothing. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "exec/trace.h"

void *ls_program_address(const ls_program *p, const ls_place *place, int slot, int level) {
    char *base = p->base[place->region] + place->offset + (size_t)p->member * place->member_stride;
    if (place->region == LS_REGION_SLOTS) base += (size_t)slot * p->rank->slot_bytes;
    if (place->region == LS_REGION_GRADIENTS) base += (size_t)level * p->rank->gradient_bytes;
    return base;
}

/* FORWARD programs read the weights of one that trains, whose buffers change places. */
void ls_program_follow(ls_program *p) {
    const ls_program *other = p->weights_of;
    if (!other) return;
    while (other->weights_of) other = other->weights_of;
    p->base[LS_REGION_WEIGHTS] = other->base[LS_REGION_WEIGHTS];
    p->base[LS_REGION_BUFFERS] = other->base[LS_REGION_BUFFERS];
}

/* Everything that lets others overwrite what they keep of the step before the last comes after this. */
static ls_status open_update(ls_program *p, const ls_run_options *options) {
    if (p->gave) return LS_OK;
    p->gave = 1;
    if (options->before_update) LS_TRY(options->before_update(options->user));
    ls_program_copy_frozen(p);
    return LS_OK;
}

int ls_program_lane(const ls_program *p, const ls_command *command) {
    return command->lane < 0 ? command->lane : ls_plan_lane(p->plan, p->member, command->lane);
}

ls_status ls_program_launch(ls_program *p, ls_step *step, const ls_command *command,
                            const ls_run_options *options) {
    const int n = step->sig.n_in + step->sig.n_out;
    for (int i = 0; i < n; i++)
        step->operands[i].data =
            ls_program_address(p, &step->places[i], command->slot, command->level);
    const int lane = ls_program_lane(p, command);
    const ls_launch launch = {
        .sig = &step->sig,
        .in = step->operands,
        .out = step->operands + step->sig.n_in,
        .workspace =
            p->base[LS_REGION_SCRATCH] ? p->base[LS_REGION_SCRATCH] + step->workspace_offset : NULL,
        .pool = p->pool,
        .position = {options->seed, options->step, lane},
        .comm = p->plan->n_members > 1 ? p->comm : NULL,
        .node = step->node - p->plan->graph->nodes,
        .scope = step->node->scope,
    };
    const ls_status status = step->kernel->launch(&launch);
    if (status == LS_OK || status == LS_ERR_COMM) return status;
    char where[32] = "";
    if (lane >= 0) snprintf(where, sizeof where, " lane %d", lane);
    return ls_error_prefix(status, "step %llu%s, op %s%s%s", (unsigned long long)options->step,
                           where, step->node->op->name, *step->node->scope ? " in " : "",
                           step->node->scope);
}

/* As soon as a lane has made it: is its loss a number? */
static ls_status check_loss(ls_program *p, const ls_command *command,
                            const ls_run_options *options) {
    if (!options->check_loss || p->loss == LS_VALUE_NONE) return LS_OK;
    float loss;
    const void *at = ls_program_address(p, &p->rank->places[p->loss], command->slot, 0);
    LS_TRY(p->device->ops->copy_out(p->device, &loss, at, sizeof loss));
    if (isfinite(loss)) return LS_OK;
    LS_TRY(ls_program_diagnose(p, options));
    return LS_FAIL(LS_ERR_NUMERIC, "step %llu lane %d: the loss is %g",
                   (unsigned long long)options->step, ls_program_lane(p, command), (double)loss);
}

static ls_status run_steps(ls_program *p, const ls_command *command,
                           const ls_run_options *options) {
    const ls_lowered *segment = &p->segments[command->segment];
    const int64_t last = command->last ? command->last : segment->n_steps;
    for (int64_t i = command->first; i < last; i++) {
        if (p->comm) LS_TRY(ls_comm_check(p->comm));
        if (segment->steps[i].gives) LS_TRY(open_update(p, options));
        LS_TRY(options->trace ? ls_trace_launch(p, &segment->steps[i], command, options)
                              : ls_program_launch(p, &segment->steps[i], command, options));
        if (segment->steps[i].makes_loss) LS_TRY(check_loss(p, command, options));
    }
    return LS_OK;
}

ls_status ls_program_feed(ls_program *p, const ls_command *command, const ls_run_options *options) {
    const ls_graph *g = p->plan->graph;
    const ls_value_kind kind = command->lane < 0 ? LS_VALUE_STEP_INPUT : LS_VALUE_INPUT;
    for (int64_t v = 0; v < g->n_values; v++) {
        const ls_value_info *info = &g->values[v];
        const ls_place *place = &p->rank->places[v];
        if (info->kind != kind || place->region == LS_REGION_NONE) continue;
        ls_tensor tensor = {info->type.dtype, info->type.shape,
                            ls_program_address(p, place, command->slot, 0)};
        LS_TRY(options->feed(options->user, info->name, ls_program_lane(p, command), &tensor));
    }
    return LS_OK;
}

/* Rounds a range of a gradient buffer, or adds the next buffer's to it, in place. */
static ls_status fold_sums(ls_program *p, const ls_command *command) {
    const ls_fold_steps *f = &p->folds[command->fold];
    const ls_step *step = command->kind == LS_COMMAND_ADD ? &f->add : &f->round;
    if (f->fold->bytes == 0) return LS_OK;
    ls_tensor *t = step->operands;
    const int n_in = step->sig.n_in;
    char *left = p->base[LS_REGION_GRADIENTS] + (size_t)command->level * p->rank->gradient_bytes +
                 f->fold->offset;
    t[0].data = t[n_in].data = left;
    if (n_in == 2) t[1].data = left + p->rank->gradient_bytes;
    const ls_launch launch = {.sig = &step->sig, .in = t, .out = t + n_in, .pool = p->pool};
    return step->kernel->launch(&launch);
}

static ls_status transfer(ls_program *p, const ls_command *command, const ls_run_options *options) {
    const ls_channel *channel = &p->plan->channels[command->channel];
    if (command->kind == LS_COMMAND_SEND && channel->after >= LS_SEGMENT_BACKWARD)
        LS_TRY(open_update(p, options));
    void *data =
        ls_program_address(p, &p->rank->places[channel->value], command->slot, command->level);
    return command->kind == LS_COMMAND_SEND ? ls_channel_send(p->channels, command->channel, data)
                                            : ls_channel_recv(p->channels, command->channel, data);
}

static ls_status run_command(ls_program *p, const ls_command *command,
                             const ls_run_options *options) {
    switch (command->kind) {
    case LS_COMMAND_FEED:
        return ls_program_feed(p, command, options);
    case LS_COMMAND_RUN:
        if (options->prepared && p->rank->segments[command->segment].kind == LS_SEGMENT_PREPARE)
            return LS_OK;
        return run_steps(p, command, options);
    case LS_COMMAND_ADD:
    case LS_COMMAND_ROUND:
        return fold_sums(p, command);
    case LS_COMMAND_SEND:
    case LS_COMMAND_RECV:
        return transfer(p, command, options);
    }
    return LS_FAIL(LS_ERR_INTERNAL, "run: unknown command %d", (int)command->kind);
}

static ls_status trace_command(ls_program *p, const ls_command *command,
                               const ls_run_options *options) {
    const int64_t begun = ls_trace_now(), busy = ls_pool_busy_ns(p->pool);
    const ls_status status = run_command(p, command, options);
    ls_trace_add_command(p, command, options, begun, busy);
    return status;
}

static ls_status run_commands(ls_program *p, const ls_run_options *options) {
    for (int64_t i = 0; i < p->rank->n_commands; i++)
        LS_TRY(options->trace ? trace_command(p, &p->rank->commands[i], options)
                              : run_command(p, &p->rank->commands[i], options));
    return p->plan->options.mode == LS_PLAN_TRAIN ? open_update(p, options) : LS_OK;
}

static ls_status check_prepared(const ls_program *p, const ls_run_options *options) {
    if (!options->prepared || (p->is_prepared && p->plan->options.mode == LS_PLAN_FORWARD))
        return LS_OK;
    return LS_FAIL(LS_ERR_INVALID,
                   "run: prepared = 1 %s; only a further run of a program that updates nothing "
                   "finds its copies of weights made",
                   p->is_prepared ? "of a program that updates weights" : "in a first run");
}

ls_status ls_program_run(ls_program *p, const ls_run_options *options) {
    LS_TRY(check_prepared(p, options));
    ls_program_follow(p);
    p->gave = 0;
    const int64_t begun = options->trace ? ls_trace_now() : 0;
    const ls_status status = run_commands(p, options);
    ls_trace_add_span(options->trace, LS_TRACE_PROGRAM, (int64_t)options->step, begun);
    if (status == LS_OK) {
        p->is_prepared = 1;
        ls_program_swap(p);
        return LS_OK;
    }
    if (p->channels) ls_channel_abort(p->channels, ls_error_message());
    if (p->comm && status != LS_ERR_COMM) ls_comm_abort(p->comm, ls_error_message());
    return status;
}
