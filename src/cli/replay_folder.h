/* A run's folder, and a step of it computed again: of `replay` and `chaos`. Local. */
#ifndef LS_CLI_REPLAY_FOLDER_H
#define LS_CLI_REPLAY_FOLDER_H
#include "train/replay.h"

typedef struct ls_replay_request {
    const char *dir; /* a run's folder, or a checkpoint in it */
    int64_t step;    /* as counted in metrics.jsonl */
    int64_t ranks;   /* 0: as many as the run had */
    int64_t from;    /* begin with the newest checkpoint at or before it; -1: before `step` */
    const char *const *assignments; /* over the stored configuration */
    int n_assignments, quiet;
} ls_replay_request;

/* *ranks_out: with so many it was computed. Free finding_out->wrong with ls_free. */
ls_status ls_replay_folder(const ls_replay_request *request, ls_replay_finding *finding_out,
                           int *ranks_out);

#endif
