#include "train/step_hash.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "comm/fault.h"
#include "comm/gift.h"

enum {
    BLOCK = 1 << 16
}; /* elements of one hash: enough for XXH3 to be at its best, few enough for all threads to have work */

/* Elements of a part that are hashed as one. */
typedef struct block {
    int part;
    int64_t first, count; /* of the part */
    uint64_t seed;
} block;

struct ls_step_hash {
    ls_session *session;
    ls_gift_book *book;
    ls_arena *arena;
    ls_plan_part *parts;
    int n_parts;
    block *blocks;
    uint64_t *sums; /* [n_blocks] */
    int64_t n_blocks;
    int is_open;          /* between begin and end */
    int64_t last_step;    /* of last_state; -1: none */
    uint64_t last_state;  /* what the last recorded step ended with */
    ls_hash_of_rank mine; /* of the step at hand */
    ls_hash_record record;
};

/* --- which bytes ----------------------------------------------------------------------------------------------------- */

/* Blocks of a part; with `out` NULL they are only counted. A part begins at a chunk. */
static int64_t list_blocks(const ls_step_hash *h, int index, block *out) {
    const ls_plan_part *part = &h->parts[index];
    const int64_t chunk =
        ls_shard_chunk(ls_type_count(&part->whole), (int)h->session->config.lanes);
    const uint64_t name = ls_xxh3(part->name, strlen(part->name), 0);
    int64_t n = 0;
    for (int64_t at = 0; at < part->count;) {
        const int64_t in_chunk = (part->first + at) % chunk;
        int64_t count = chunk - in_chunk < BLOCK ? chunk - in_chunk : BLOCK;
        if (count > part->count - at) count = part->count - at;
        if (out) {
            const uint64_t place = (uint64_t)(part->first + at);
            out[n] = (block){index, at, count, ls_xxh3(&place, sizeof place, name)};
        }
        n++;
        at += count;
    }
    return n;
}

static ls_status find_blocks(ls_step_hash *h) {
    const ls_session *s = h->session;
    LS_TRY(ls_plan_parts(s->train_plan, ls_comm_rank(s->comm), h->arena, &h->parts, &h->n_parts));
    for (int i = 0; i < h->n_parts; i++) h->n_blocks += list_blocks(h, i, NULL);
    h->blocks = ls_arena_alloc(h->arena, sizeof *h->blocks * (size_t)(h->n_blocks + 1));
    h->sums = ls_arena_alloc(h->arena, sizeof *h->sums * (size_t)(h->n_blocks + 1));
    if (!h->blocks || !h->sums) return LS_ERR_NO_MEMORY;
    int64_t n = 0;
    for (int i = 0; i < h->n_parts; i++) n += list_blocks(h, i, h->blocks + n);
    return LS_OK;
}

static ls_status hash_block(void *user, int64_t task, int worker) {
    const ls_step_hash *h = user;
    const block *b = &h->blocks[task];
    const ls_plan_part *part = &h->parts[b->part];
    const size_t size = ls_dtype_bytes(part->whole.dtype);
    const char *data = ls_program_part_address(h->session->train, part);
    (void)worker;
    h->sums[task] = ls_xxh3(data + (size_t)b->first * size, (size_t)b->count * size, b->seed);
    return LS_OK;
}

/* The hash of this rank's state, and of what all members hold of it. */
static ls_status hash_state(ls_step_hash *h, uint64_t *shared_out, uint64_t *own_out) {
    LS_TRY(ls_pool_run(h->session->pool, h->n_blocks, hash_block, h));
    *shared_out = *own_out = 0;
    for (int64_t i = 0; i < h->n_blocks; i++)
        *(h->parts[h->blocks[i].part].is_shared ? shared_out : own_out) += h->sums[i];
    return LS_OK;
}

/* --- what is given --------------------------------------------------------------------------------------------------- */

static ls_gift_kind sort_call(void *user, const ls_comm_call *call) {
    const ls_graph *graph = ((const ls_session *)user)->train_plan->graph;
    if (strcmp(call->op, "reduce_scatter") == 0 || strcmp(call->op, "all_reduce") == 0)
        return LS_GIFT_GRADIENTS;
    if (strcmp(call->op, "all_gather") != 0 || call->id < 0 || call->id >= graph->n_nodes)
        return LS_GIFT_NONE;
    return graph->nodes[call->id].phase == LS_PHASE_UPDATE ? LS_GIFT_TOTALS : LS_GIFT_WEIGHTS;
}

/* --- life ------------------------------------------------------------------------------------------------------------ */

static ls_status fill(ls_step_hash *h) {
    ls_session *s = h->session;
    LS_TRY(ls_arena_create(&h->arena));
    LS_TRY(find_blocks(h));
    h->record = (ls_hash_record){.size = ls_comm_size(s->comm),
                                 .hosts = ls_comm_hosts(s->comm),
                                 .zero = (int)s->config.zero};
    h->record.ranks = ls_arena_alloc(h->arena, sizeof *h->record.ranks * (size_t)h->record.size);
    if (!h->record.ranks) return LS_ERR_NO_MEMORY;
    return ls_gift_book_open(s->comm, sort_call, s, &h->book);
}

ls_status ls_step_hash_create_always(ls_session *session, ls_step_hash **out) {
    ls_step_hash *h = ls_alloc(sizeof *h);
    if (!h) return LS_ERR_NO_MEMORY;
    h->session = session;
    h->last_step = -1;
    const ls_status status = fill(h);
    if (status != LS_OK) {
        ls_step_hash_destroy(h);
        return status;
    }
    *out = h;
    return LS_OK;
}

ls_status ls_step_hash_create(ls_session *session, ls_step_hash **out) {
    if (session->config.hash_every > 0) return ls_step_hash_create_always(session, out);
    *out = NULL;
    return LS_OK;
}

void ls_step_hash_destroy(ls_step_hash *h) {
    if (!h) return;
    ls_gift_book_close(h->book);
    ls_arena_destroy(h->arena);
    ls_free(h);
}

/* --- a step ---------------------------------------------------------------------------------------------------------- */

/* An injected fault: one bit of the first weight that this rank holds, between two steps. */
static void flip_state(const ls_step_hash *h) {
    for (int i = 0; i < h->n_parts; i++) {
        const ls_plan_part *part = &h->parts[i];
        if (part->role != LS_ROLE_WEIGHT || part->count == 0) continue;
        const size_t bytes = (size_t)part->count * ls_dtype_bytes(part->whole.dtype);
        ls_fault_flip(ls_program_part_address(h->session->train, part), bytes);
        return;
    }
}

ls_status ls_step_hash_begin(ls_step_hash *h, int64_t step) {
    uint64_t shared, own;
    LS_TRY(hash_state(h, &shared, &own));
    h->mine = (ls_hash_of_rank){.has_before = h->last_step == step, .before = h->last_state};
    h->mine.of[LS_HASH_BEGIN] = shared + own;
    ls_gift_book_begin(h->book);
    h->is_open = 1;
    return LS_OK;
}

ls_status ls_step_hash_before(ls_step_hash *h, int64_t step) {
    if (!h) return LS_OK;
    if (ls_comm_fault_takes_state(h->session->comm, (uint64_t)step)) flip_state(h);
    return (step + 1) % h->session->config.hash_every == 0 ? ls_step_hash_begin(h, step) : LS_OK;
}

ls_status ls_step_hash_end(ls_step_hash *h, int64_t step, const ls_hash_record **out) {
    ls_hash_of_rank *mine = &h->mine;
    h->is_open = 0;
    ls_gift_book_end(h->book, mine->of + LS_HASH_WEIGHTS);
    LS_TRY(hash_state(h, &mine->shared, &mine->own));
    mine->of[LS_HASH_STATE] = mine->shared + mine->own;
    h->last_step = step;
    h->last_state = mine->of[LS_HASH_STATE];
    ls_hash_record *record = &h->record;
    LS_TRY(ls_comm_exchange(h->session->comm, "hashes of the step", mine, sizeof *mine,
                            record->ranks));
    record->step = step;
    record->logical = record->ranks[0].shared;
    for (int r = 0; r < record->size; r++) record->logical += record->ranks[r].own;
    *out = record;
    return LS_OK;
}

ls_status ls_step_hash_after(ls_step_hash *h, int64_t step, ls_recorder *recorder) {
    if (!h || !h->is_open) return LS_OK;
    const ls_hash_record *record;
    LS_TRY(ls_step_hash_end(h, step, &record));
    ls_status status = LS_OK;
    if (recorder) {
        ls_text text = {0};
        ls_hash_print(record, &text);
        status = text.status;
        if (status == LS_OK) status = ls_recorder_record(recorder, "hash", step, text.data);
        ls_text_deinit(&text);
    }
    LS_TRY(ls_comm_agree(h->session->comm, "record the hashes of the step", status));
    return ls_hash_check(record, h->session->comm);
}
