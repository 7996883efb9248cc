/* Which tensor is where in which file, and which blocks of it have a hash. Depends on the model, the lanes and the size of files, never on
 * the number of ranks: so the files' bytes do not either. */
#include <stdio.h>
#include <string.h>

#include "ckpt/ckpt.h"

static const int64_t default_shard_bytes = (int64_t)1 << 30;

ls_ckpt_grid ls_ckpt_grid_make(const ls_type *type, int lanes) {
    const int64_t count = ls_type_count(type);
    const int64_t chunk = count ? ls_shard_chunk(count, lanes) : 1;
    const int64_t most = LS_CKPT_BLOCK_BYTES / (int64_t)ls_dtype_bytes(type->dtype);
    return (ls_ckpt_grid){count, chunk, chunk < most ? chunk : most};
}

static int64_t blocks_of(int64_t count, int64_t block) {
    return (count + block - 1) / block;
}

int64_t ls_ckpt_grid_blocks(const ls_ckpt_grid *g) {
    return g->count / g->chunk * blocks_of(g->chunk, g->block) +
           blocks_of(g->count % g->chunk, g->block);
}

int64_t ls_ckpt_grid_find(const ls_ckpt_grid *g, int64_t element) {
    return element / g->chunk * blocks_of(g->chunk, g->block) + element % g->chunk / g->block;
}

int64_t ls_ckpt_grid_block(const ls_ckpt_grid *g, int64_t k, int64_t *count_out) {
    const int64_t each = blocks_of(g->chunk, g->block);
    const int64_t first = k / each * g->chunk + k % each * g->block;
    int64_t end = first + g->block;
    if (end > (k / each + 1) * g->chunk) end = (k / each + 1) * g->chunk;
    if (end > g->count) end = g->count;
    *count_out = end - first;
    return first;
}

static int is_kept_on(const ls_plan *plan, int stage, ls_value v) {
    return plan->ranks[stage].places[v].region != LS_REGION_NONE;
}

ls_status ls_ckpt_layout_slots(const ls_plan *plan, ls_arena *arena, ls_ckpt_layout *out) {
    const ls_graph *g = plan->graph;
    const int lanes = plan->options.shard_lanes ? plan->options.shard_lanes : plan->options.lanes;
    ls_ckpt_layout layout = {.lanes = lanes};
    layout.slots = ls_arena_alloc(arena, sizeof *layout.slots * (size_t)(g->n_values + 1));
    if (!layout.slots) return LS_ERR_NO_MEMORY;
    for (int64_t v = 0; v < g->n_values; v++) {
        const ls_value_info *info = &g->values[v];
        if (info->kind != LS_VALUE_PARAM && info->kind != LS_VALUE_STATE) continue;
        int kept = 0;
        for (int s = 0; s < plan->n_ranks; s++) kept |= is_kept_on(plan, s, (ls_value)v);
        if (!kept) continue;
        ls_ckpt_slot *slot = &layout.slots[layout.n_slots++];
        *slot = (ls_ckpt_slot){
            .name = info->name, .role = info->role, .type = ls_value_whole_type(info)};
        slot->grid = ls_ckpt_grid_make(&slot->type, lanes);
        slot->first_hash = layout.n_blocks;
        layout.n_blocks += ls_ckpt_grid_blocks(&slot->grid);
    }
    *out = layout;
    return LS_OK;
}

/* Begins a new file where the next tensor would make it too large; a larger tensor has one of its own. */
static int deal_slots(ls_ckpt_layout *layout, int optimizer, int64_t most, int n_before) {
    int64_t in_file = 0;
    int n = 0;
    for (int i = 0; i < layout->n_slots; i++) {
        ls_ckpt_slot *slot = &layout->slots[i];
        if ((slot->role == LS_ROLE_OPTIMIZER) != optimizer) continue;
        const int64_t bytes = (int64_t)ls_type_bytes(&slot->type);
        if (n == 0 || (in_file > 0 && in_file + bytes > most)) {
            n++;
            in_file = 0;
        }
        slot->shard = n_before + n - 1;
        slot->offset = in_file; /* of the data; the header comes before it */
        in_file += bytes;
    }
    return n == 0 && !optimizer ? 1 : n; /* a model without weights still has its file */
}

static ls_status name_shards(ls_ckpt_layout *layout, int first, int n, int optimizer,
                             ls_arena *arena) {
    const char *stem = optimizer ? "optimizer" : "model";
    for (int i = 0; i < n; i++) {
        ls_ckpt_shard *shard = &layout->shards[first + i];
        shard->is_optimizer = optimizer;
        shard->name = n == 1
                          ? ls_arena_format(arena, "%s.safetensors", stem)
                          : ls_arena_format(arena, "%s-%05d-of-%05d.safetensors", stem, i + 1, n);
        if (!shard->name) return LS_ERR_NO_MEMORY;
    }
    return LS_OK;
}

/* The header of shard s; then the slots' offsets count from the start of the file. */
static ls_status make_header(ls_ckpt_layout *layout, int s, ls_named_tensor *tensors,
                             ls_arena *arena) {
    static const char *const metadata[] = {"format", "pt", "written_by", "lockstep " LS_VERSION,
                                           NULL};
    ls_ckpt_shard *shard = &layout->shards[s];
    char *header = NULL;
    int n = 0;
    for (int i = 0; i < layout->n_slots; i++) {
        const ls_ckpt_slot *slot = &layout->slots[i];
        if (slot->shard != s) continue;
        shard->bytes += (int64_t)ls_type_bytes(&slot->type);
        tensors[n++] = (ls_named_tensor){slot->name, {slot->type.dtype, slot->type.shape, NULL}};
    }
    LS_TRY(ls_safetensors_make_header(shard->name, tensors, n, metadata, &header,
                                      &shard->header_bytes));
    char *kept = ls_arena_alloc(arena, shard->header_bytes);
    if (kept) memcpy(kept, header, shard->header_bytes);
    ls_free(header);
    if (!kept) return LS_ERR_NO_MEMORY;
    shard->header = kept;
    shard->bytes += (int64_t)shard->header_bytes;
    for (int i = 0; i < layout->n_slots; i++)
        if (layout->slots[i].shard == s) layout->slots[i].offset += (int64_t)shard->header_bytes;
    return LS_OK;
}

ls_status ls_ckpt_layout_deal(ls_ckpt_layout *layout, int64_t shard_bytes, ls_arena *arena) {
    const int64_t most = shard_bytes > 0 ? shard_bytes : default_shard_bytes;
    const int weights = deal_slots(layout, 0, most, 0);
    const int others = deal_slots(layout, 1, most, weights);
    layout->n_shards = weights + others;
    layout->shards = ls_arena_alloc(arena, sizeof *layout->shards * (size_t)layout->n_shards);
    ls_named_tensor *tensors =
        ls_arena_alloc(arena, sizeof *tensors * (size_t)(layout->n_slots + 1));
    if (!layout->shards || !tensors) return LS_ERR_NO_MEMORY;
    LS_TRY(name_shards(layout, 0, weights, 0, arena));
    LS_TRY(name_shards(layout, weights, others, 1, arena));
    for (int s = 0; s < layout->n_shards; s++) LS_TRY(make_header(layout, s, tensors, arena));
    return LS_OK;
}

ls_status ls_ckpt_layout_index(const ls_ckpt_layout *layout, int optimizer, char **text_out) {
    int n_shards = 0, failed = 0;
    int64_t bytes = 0;
    *text_out = NULL;
    for (int s = 0; s < layout->n_shards; s++)
        n_shards += layout->shards[s].is_optimizer == optimizer;
    if (n_shards < 2) return LS_OK;
    json_t *map = json_object();
    for (int i = 0; i < layout->n_slots; i++) {
        const ls_ckpt_slot *slot = &layout->slots[i];
        const ls_ckpt_shard *shard = &layout->shards[slot->shard];
        if (shard->is_optimizer != optimizer) continue;
        failed |= json_object_set_new(map, slot->name, json_string(shard->name)) != 0;
        bytes += (int64_t)ls_type_bytes(&slot->type);
    }
    json_t *root =
        json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)bytes, "weight_map", map);
    ls_status status = failed || !root ? LS_FAIL(LS_ERR_NO_MEMORY,
                                                 "checkpoint: out of memory while making an index")
                                       : LS_OK;
    if (status == LS_OK) status = ls_json_dump(root, JSON_INDENT(2), text_out, NULL);
    json_decref(root);
    return status;
}

/* State that all members hold is dealt by bytes: block by block, each to the member in whose share it begins. */
typedef struct shared_deal {
    int64_t total,
        before; /* bytes of this stage's shared values; of those before the value at hand */
    int member, n_members;
} shared_deal;

static void deal_shared(ls_ckpt_run *run, const ls_ckpt_slot *slot, shared_deal *deal) {
    const int64_t size = (int64_t)ls_dtype_bytes(slot->type.dtype);
    const int64_t n = ls_ckpt_grid_blocks(&slot->grid);
    for (int64_t k = 0; k < n; k++) {
        int64_t count;
        const int64_t first = ls_ckpt_grid_block(&slot->grid, k, &count);
        const int64_t begin = deal->before + first * size;
        /* shares are contiguous, and a double holds every offset below 2^53 */
        const int owner =
            (int)((double)begin * deal->n_members / (double)(deal->total ? deal->total : 1));
        if (owner != deal->member) continue;
        if (run->n_blocks++ == 0) {
            run->first_block = k;
            run->first = first;
        }
        run->count += count;
    }
    deal->before += slot->grid.count * size;
}

/* A piece: the chunks of this member's lanes, hence whole blocks. */
static ls_status take_piece(ls_ckpt_run *run, const ls_ckpt_slot *slot) {
    int64_t count;
    const ls_plan_part *part = &run->part;
    if (part->count == 0) return LS_OK;
    run->first = part->first;
    run->count = part->count;
    run->first_block = ls_ckpt_grid_find(&slot->grid, part->first);
    run->n_blocks =
        ls_ckpt_grid_find(&slot->grid, part->first + part->count - 1) - run->first_block + 1;
    const int64_t begin = ls_ckpt_grid_block(&slot->grid, run->first_block, &count);
    const int64_t last =
        ls_ckpt_grid_block(&slot->grid, run->first_block + run->n_blocks - 1, &count);
    if (begin == part->first && last + count == part->first + part->count) return LS_OK;
    return LS_FAIL(LS_ERR_INTERNAL, "'%s': a rank's piece does not end where blocks do",
                   part->name);
}

static int is_on_earlier_stage(const ls_plan *plan, int stage, const char *name) {
    if (stage == 0) return 0;
    const ls_value v = ls_graph_find(plan->graph, name);
    for (int s = 0; s < stage; s++)
        if (is_kept_on(plan, s, v)) return 1;
    return 0;
}

static int64_t part_bytes(const ls_plan_part *part) {
    return part->count * (int64_t)ls_dtype_bytes(part->whole.dtype);
}

ls_status ls_ckpt_runs_make(const ls_ckpt_layout *layout, const ls_plan *plan, int rank,
                            ls_arena *arena, ls_ckpt_run **runs_out, int *n_out,
                            size_t *bytes_out) {
    const int stage = ls_plan_stage_of_rank(plan, rank);
    ls_plan_part *parts = NULL;
    int n_parts = 0, n = 0;
    LS_TRY(ls_plan_parts(plan, rank, arena, &parts, &n_parts));
    ls_ckpt_run *runs = ls_arena_alloc(arena, sizeof *runs * (size_t)(n_parts + 1));
    if (!runs) return LS_ERR_NO_MEMORY;
    shared_deal deal = {.member = ls_mesh_index(&plan->mesh, LS_AXIS_DP, rank),
                        .n_members = plan->n_members};
    for (int i = 0; i < n_parts; i++) {
        if (parts[i].is_shared && !is_on_earlier_stage(plan, stage, parts[i].name))
            deal.total += part_bytes(&parts[i]);
    }
    size_t bytes = 0;
    /* parts are in graph order like the slots, and every part has one */
    for (int i = 0, slot = 0; i < n_parts; i++, slot++) {
        while (strcmp(layout->slots[slot].name, parts[i].name) != 0) slot++;
        if (is_on_earlier_stage(plan, stage, parts[i].name)) continue;
        ls_ckpt_run run = {.slot = slot, .part = parts[i], .offset = bytes};
        if (parts[i].is_shared)
            deal_shared(&run, &layout->slots[slot], &deal);
        else
            LS_TRY(take_piece(&run, &layout->slots[slot]));
        if (run.n_blocks == 0) continue;
        bytes += (size_t)run.count * ls_dtype_bytes(parts[i].whole.dtype);
        runs[n++] = run;
    }
    *runs_out = runs;
    *n_out = n;
    *bytes_out = bytes;
    return LS_OK;
}

int64_t ls_ckpt_snapshot_bytes(const ls_plan *plan, int rank) {
    ls_arena *arena = NULL;
    ls_ckpt_layout layout;
    ls_ckpt_run *runs;
    int n;
    size_t bytes = 0;
    if (ls_arena_create(&arena) != LS_OK) return -1;
    ls_status status = ls_ckpt_layout_slots(plan, arena, &layout);
    if (status == LS_OK) status = ls_ckpt_runs_make(&layout, plan, rank, arena, &runs, &n, &bytes);
    ls_arena_destroy(arena);
    return status == LS_OK ? (int64_t)bytes : -1;
}
