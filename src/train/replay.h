/* Computes steps of a run again, with ranks as threads of this process, and compares what comes out with what the run recorded (hash_every).
 * Nothing is written. Thread-safety: one call at a time. Local. */
#ifndef LS_TRAIN_REPLAY_H
#define LS_TRAIN_REPLAY_H
#include "lockstep/train.h"
#include "train/step_hash.h"

typedef struct ls_replay_options {
    const char *checkpoint; /* folder to begin with; NULL: the first values */
    const ls_hash_record
        *records; /* ascending steps, each after the checkpoint's; the last ends the replay */
    int n_records;
    int ranks, hosts,
        zero; /* to compute with. Ranks, hosts and zero of a record: each rank is compared; others: the logical state */
} ls_replay_options;

enum { LS_REPLAY_RIGHT = -1, LS_REPLAY_LOGICAL = LS_HASH_COUNT };

/* The first difference. A hash that depends on wrong ones before it tells nothing and is not looked at. */
typedef struct ls_replay_finding {
    int64_t from;       /* steps done before the first that was computed */
    int64_t last_right; /* step of the last record that came out as recorded; -1: none */
    int64_t step;       /* of the difference, or of the last record */
    int what;           /* LS_REPLAY_RIGHT, an ls_hash_kind or LS_REPLAY_LOGICAL */
    int size;           /* ranks of the record */
    int is_logical;     /* computed in another layout: only the logical state was compared */
    int n_wrong, first_wrong;
    int *wrong; /* [n_wrong] ranks; free with ls_free. NULL for RIGHT and LOGICAL */
    uint64_t recorded, replayed; /* of the first wrong rank, or logical */
} ls_replay_finding;

/* Compares one step. *out is filled but for `from` and `last_right`. */
LS_API ls_status ls_replay_compare(const ls_hash_record *recorded, const ls_hash_record *replayed,
                                   ls_replay_finding *out);
/* A sentence on a finding. Free with ls_free. */
LS_API ls_status ls_replay_describe(const ls_replay_finding *finding, char **text_out);
LS_API ls_status ls_replay(const ls_train_config *config, const ls_replay_options *options,
                           ls_replay_finding *out);

#endif
