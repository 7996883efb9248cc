/* Which elements of the persistent values a rank holds, and how they lie in a buffer that is kept. */
#include "plan/plan.h"

int ls_plan_is_whole(const ls_value_info *info) {
    return !info->piece || ls_shape_equal(&info->type.shape, &info->whole);
}

void ls_plan_range(const ls_value_info *info, int member, int64_t *first_out, int64_t *count_out) {
    const ls_type whole = ls_value_whole_type(info);
    const int64_t count = ls_type_count(&whole);
    *first_out = info->piece ? member * info->piece : 0;
    *count_out = info->piece ? ls_shard_count(count, info->piece, member) : count;
}

static ls_plan_part make_part(const ls_value_info *info, const ls_place *place, int member) {
    ls_plan_part part = {.name = info->name,
                         .role = info->role,
                         .whole = ls_value_whole_type(info),
                         .is_shared = !info->piece,
                         .region = place->region,
                         .offset = place->offset};
    ls_plan_range(info, member, &part.first, &part.count);
    if (ls_plan_is_whole(info))
        part.offset += (size_t)part.first * ls_dtype_bytes(part.whole.dtype);
    return part;
}

ls_status ls_plan_parts(const ls_plan *plan, int rank, ls_arena *arena, ls_plan_part **parts_out,
                        int *n_out) {
    const ls_graph *g = plan->graph;
    const ls_rank_plan *stage = &plan->ranks[ls_plan_stage_of_rank(plan, rank)];
    const int member = ls_mesh_index(&plan->mesh, LS_AXIS_DP, rank);
    ls_plan_part *parts = ls_arena_alloc(arena, sizeof *parts * (size_t)(g->n_values + 1));
    if (!parts) return LS_ERR_NO_MEMORY;
    int n = 0;
    for (int64_t v = 0; v < g->n_values; v++) {
        const ls_value_info *info = &g->values[v];
        if (info->kind != LS_VALUE_PARAM && info->kind != LS_VALUE_STATE) continue;
        if (stage->places[v].region == LS_REGION_NONE) continue;
        parts[n++] = make_part(info, &stage->places[v], member);
    }
    *parts_out = parts;
    *n_out = n;
    return LS_OK;
}

/* One region behind the other, in the order of their numbers: weights, optimizer, buffers. */
size_t ls_rank_kept_offset(const ls_rank_plan *rank, ls_region region) {
    size_t offset = 0;
    for (int i = LS_REGION_WEIGHTS; i < (int)region && i < LS_REGION_KEPT; i++)
        offset += ls_align_up(rank->bytes[i], LS_PLACE_ALIGN);
    return offset;
}

size_t ls_rank_kept_bytes(const ls_rank_plan *rank) {
    return ls_align_up(ls_rank_kept_offset(rank, LS_REGION_KEPT), LS_KEPT_ALIGN);
}

size_t ls_plan_kept_bytes(const ls_plan *plan, int rank) {
    return plan->options.kept ? ls_rank_kept_bytes(&plan->ranks[ls_plan_stage_of_rank(plan, rank)])
                              : 0;
}

size_t ls_plan_kept_offset(const ls_plan *plan, int rank, ls_region region) {
    return plan->options.kept
               ? ls_rank_kept_offset(&plan->ranks[ls_plan_stage_of_rank(plan, rank)], region)
               : 0;
}
