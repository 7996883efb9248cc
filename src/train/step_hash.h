/* Hashes of a step: what each rank holds before and after it, and what it gave to the others in between. Silent data corruption, that is
 * memory or arithmetic that is wrong without a word, shows in them: at once where ranks hold the same values or a rank's state changed
 * between two steps, and to `lockstep replay` everywhere.
 *
 * A state's hash is the sum modulo 2^64 of the XXH3 of its blocks, each seeded with the tensor's name and the block's place.
 * Blocks never cross a chunk of the lane tree (ls_shard_chunk), so the sum over ranks of what only they hold, and of what all hold
 * once, is the same for every number of ranks and every zero: the logical hash.
 * Thread-safety: one thread at a time. */
#ifndef LS_TRAIN_STEP_HASH_H
#define LS_TRAIN_STEP_HASH_H
#include "base/json.h"
#include "train/recorder.h"
#include "train/session.h"

/* What is recorded of one rank, in the order in which a later one depends on the ones before. */
typedef enum ls_hash_kind {
    LS_HASH_BEGIN,     /* its state before the step */
    LS_HASH_WEIGHTS,   /* see ls_gift_kind */
    LS_HASH_GRADIENTS, /* "gifts" in metrics.jsonl */
    LS_HASH_TOTALS,
    LS_HASH_STATE, /* its state after the step */
    LS_HASH_COUNT
} ls_hash_kind;
extern LS_API const char
    *const ls_hash_names[]; /* "begin", "weights", "gifts", "totals", "state", NULL */

typedef struct ls_hash_of_rank {
    uint64_t of[LS_HASH_COUNT];
    uint64_t shared, own; /* the parts of STATE that all members hold, that only this one holds */
    uint64_t before;      /* STATE of the step before, when has_before */
    int32_t has_before, zero; /* zero: fills the struct */
} ls_hash_of_rank;

typedef struct ls_hash_record {
    int64_t step; /* optimizer steps done: the record is of the step that made them so many */
    int size, hosts, zero;
    uint64_t logical;
    ls_hash_of_rank *ranks; /* [size] */
} ls_hash_record;

typedef struct ls_step_hash ls_step_hash;

/* *out is NULL when hash_every is 0; NULL is fine everywhere below. The session must outlive it. Local. */
LS_API ls_status ls_step_hash_create(ls_session *session, ls_step_hash **out);
LS_API void ls_step_hash_destroy(ls_step_hash *hash);
/* Before the step that follows `step` optimizer steps. Local. */
LS_API ls_status ls_step_hash_before(ls_step_hash *hash, int64_t step);
/* After it; `step` steps are done now. Writes the record when one is due, then fails with LS_ERR_NUMERIC and a sentence that names the
 * ranks, the same on all, when a rank's state changed between two steps or what all hold alike is not alike. recorder: NULL on all but the
 * first rank. Collective. */
LS_API ls_status ls_step_hash_after(ls_step_hash *hash, int64_t step, ls_recorder *recorder);

/* --- the parts, for replay and tests --- */

/* Whatever hash_every is. */
LS_API ls_status ls_step_hash_create_always(ls_session *session, ls_step_hash **out);
LS_API ls_status ls_step_hash_begin(ls_step_hash *hash, int64_t step); /* Local */
/* The record belongs to the hash and lives until the next. Collective. */
LS_API ls_status ls_step_hash_end(ls_step_hash *hash, int64_t step, const ls_hash_record **out);
/* LS_ERR_NUMERIC with a sentence, or LS_OK. comm: for names of hosts, may be NULL. Local. */
LS_API ls_status ls_hash_check(const ls_hash_record *record, const ls_comm *comm);
/* Members of the JSON record: "ranks":4,...  Local. */
LS_API void ls_hash_print(const ls_hash_record *record, ls_text *out);
/* Reads a record of metrics.jsonl; free ranks with ls_free. `what` names the file in messages. Local. */
LS_API ls_status ls_hash_parse(const json_t *object, const char *what, ls_hash_record *out);

#endif
