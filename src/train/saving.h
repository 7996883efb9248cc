/* What a run does so that nothing is lost: it goes on from what is left of it, commits each step to memory that outlives it, and writes
 * checkpoints while it runs on. Collective unless said otherwise: every rank calls the same at the same place. */
#ifndef LS_TRAIN_SAVING_H
#define LS_TRAIN_SAVING_H
#include "train/bound.h"
#include "train/recorder.h"
#include "train/session.h"
#include "train/state.h"

typedef struct ls_saving {
    ls_session *session;
    const struct ls_config *values;
    ls_recorder *recorder; /* NULL on all but the first rank */
    ls_bound bound;
    ls_ckpt_saver *saver; /* NULL: saves wait for the disk */
    int64_t under_way;    /* step of the save that is being written; -1 = none */
    char path[1024];      /* of the last complete checkpoint; "" = none */
    double stall_seconds; /* that training stood still for saves, in all */
    int64_t n_saves, n_failed;
} ls_saving;

ls_status ls_saving_init(ls_saving *saving, ls_session *session, const struct ls_config *values);
void ls_saving_deinit(ls_saving *saving); /* Local; what is not complete is removed */
/* Bytes that it will allocate for copies on a rank of this plan. Local. */
int64_t ls_saving_bytes(const ls_train_config *config, const ls_plan *plan, int rank);

typedef enum ls_origin { LS_FROM_START, LS_FROM_CHECKPOINT, LS_FROM_MEMORY } ls_origin;
/* Brings the newest state that there is into the program: memory of this attempt's predecessor; with an attempt before this one, the newest
 * checkpoint that this run wrote; `resume`, a checkpoint folder; otherwise first values. */
ls_status ls_saving_restore(ls_saving *saving, const char *resume, ls_train_state *state,
                            ls_origin *origin_out);

/* The step is done: what memory holds is its state. Local. */
ls_status ls_saving_commit(ls_saving *saving, const ls_train_state *state);
/* An ls_run_options.before_update body; user is the session. Local. */
ls_status ls_saving_before_update(ls_session *session);

/* A step took so long: what SIGTERM waits for. Local. */
void ls_saving_time_step(ls_saving *saving, double seconds);
/* After the first step, when its record is written: how long SIGTERM may take, for which the disk is probed. Adds the time that it took to
 * *aside_seconds. Local; the first rank's. */
ls_status ls_saving_tell(ls_saving *saving, int64_t step, double *aside_seconds);

/* Begins a checkpoint, or writes it when there is no saver. What fails here or later is told; the run goes on when on_save_error says so. */
ls_status ls_saving_begin(ls_saving *saving, const ls_train_state *state);
/* Where the save under way stands here, for everybody's votes. Local. */
int ls_saving_vote(const ls_saving *saving);
/* With everybody's votes. */
ls_status ls_saving_advance(ls_saving *saving, const int *votes, int size);
/* The run's last checkpoint: complete when this returns LS_OK. */
ls_status ls_saving_finish(ls_saving *saving, const ls_train_state *state);

#endif
