/* Which op made the first value that is not a number? Lanes are run again with a look at every result. */
#include <math.h>
#include <stdio.h>

#include "exec/program.h"
#include "op/collective.h"

/* Index of the first non-finite element, or -1. Host memory. */
static int64_t find_non_finite(const ls_tensor *tensor) {
    if (!ls_dtype_is_float(tensor->dtype)) return -1;
    const int64_t n = ls_shape_count(&tensor->shape);
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(ls_tensor_get(tensor, i))) return i;
    return -1;
}

/* A rank answers for what it updates: its piece, where ranks keep pieces, also of a tensor that is gathered in place. */
static ls_tensor owned_part(const ls_program *p, int64_t v) {
    const ls_value_info *info = &p->plan->graph->values[v];
    ls_tensor part = {info->type.dtype, info->type.shape,
                      ls_program_address(p, &p->rank->places[v], 0, 0)};
    if (!info->piece) return part;
    const ls_type whole = ls_value_whole_type(info);
    if (ls_shape_equal(&info->type.shape, &info->whole))
        part.data =
            (char *)part.data + (size_t)(p->member * info->piece) * ls_dtype_bytes(whole.dtype);
    part.shape = (ls_shape){
        .n_dims = 1, .dims = {ls_shard_count(ls_type_count(&whole), info->piece, p->member)}};
    return part;
}

static ls_status scan_persistent(const ls_program *p, const ls_run_options *options) {
    const ls_graph *g = p->plan->graph;
    for (int64_t v = 0; v < g->n_values; v++) {
        const ls_value_info *info = &g->values[v];
        const ls_place *place = &p->rank->places[v];
        const int persistent = info->kind == LS_VALUE_PARAM || info->kind == LS_VALUE_STATE;
        if (!persistent || place->region == LS_REGION_NONE) continue;
        const ls_tensor tensor = owned_part(p, v);
        const int64_t at = find_non_finite(&tensor);
        if (at >= 0)
            return LS_FAIL(
                LS_ERR_NUMERIC,
                "step %llu: '%s' holds %g at element %lld before the first lane: the update of the "
                "step "
                "before made it; go on from an earlier checkpoint with a lower learning rate",
                (unsigned long long)options->step, info->name, ls_tensor_get(&tensor, at),
                (long long)at);
    }
    return LS_OK;
}

static ls_status scan_step(const ls_step *step, int lane_number, const ls_run_options *options) {
    char lane[32] = "before the lanes"; /* a weight's low-precision copy */
    if (lane_number >= 0) snprintf(lane, sizeof lane, "lane %d", lane_number);
    for (int i = 0; i < step->sig.n_out; i++) {
        const ls_tensor *out = &step->operands[step->sig.n_in + i];
        const int64_t at = find_non_finite(out);
        if (at >= 0)
            return LS_FAIL(LS_ERR_NUMERIC,
                           "step %llu %s: op %s%s%s is the first to make a non-finite value: "
                           "result %d, element %lld of "
                           "%lld is %g; a lower learning rate, clipping (optim.clip) or f32 "
                           "precision usually helps",
                           (unsigned long long)options->step, lane, step->node->op->name,
                           *step->node->scope ? " in " : "", step->node->scope, i, (long long)at,
                           (long long)ls_shape_count(&out->shape), ls_tensor_get(out, at));
    }
    return LS_OK;
}

/* A rank diagnoses on its own: segments in which ranks talk are left out, or left where they begin to. What an earlier segment gathered
 * is still there. */
static int can_run_alone(const ls_program *p, ls_segment_kind kind) {
    const int zero = p->plan->n_members > 1 ? p->plan->options.zero : 0;
    switch (kind) {
    case LS_SEGMENT_PREPARE:
        return zero == 0;
    case LS_SEGMENT_FORWARD:
        return zero < 3;
    case LS_SEGMENT_BACKWARD: /* makes the loss, where a pass has put the head there */
        return 1;
    case LS_SEGMENT_WEIGHT:
        return zero < 2;
    default:
        return 0;
    }
}

static ls_status scan_command(ls_program *p, const ls_command *command,
                              const ls_run_options *options) {
    if (command->kind == LS_COMMAND_FEED) return ls_program_feed(p, command, options);
    if (command->kind != LS_COMMAND_RUN) return LS_OK;
    if (!can_run_alone(p, p->rank->segments[command->segment].kind)) return LS_OK;
    ls_lowered *segment = &p->segments[command->segment];
    const int64_t last = command->last ? command->last : segment->n_steps;
    for (int64_t i = command->first; i < last; i++) {
        if (ls_collective_is_start(segment->steps[i].node->op)) return LS_OK;
        LS_TRY(ls_program_launch(p, &segment->steps[i], command, options));
        LS_TRY(scan_step(&segment->steps[i], ls_program_lane(p, command), options));
    }
    return LS_OK;
}

ls_status ls_program_diagnose(ls_program *p, const ls_run_options *options) {
    if (p->device->ops->kind != LS_DEVICE_CPU || p->plan->n_ranks > 1) return LS_OK;
    ls_program_follow(p);
    LS_TRY(scan_persistent(p, options));
    for (int64_t i = 0; i < p->rank->n_commands; i++)
        LS_TRY(scan_command(p, &p->rank->commands[i], options));
    return LS_OK;
}
