/* How long it takes at most from SIGTERM until the state is saved: the step at hand, an evaluation that it may run into, a background save that
 * is under way, and the save itself. Estimates are of the longest seen in this run, times a factor. Local; the first rank's. */
#ifndef LS_TRAIN_BOUND_H
#define LS_TRAIN_BOUND_H
#include "train/recorder.h"
#include "train/session.h"

typedef struct ls_bound {
    int64_t save_bytes; /* of all ranks */
    double
        eval_rounds; /* of an evaluation within the run, each about half a lane's step; 0: there is none */
    double lanes_per_rank;
    int saves_in_background; /* one may be under way */
    double notice_seconds;
    double step_seconds, eval_seconds; /* longest so far; evaluation: a guess until measured */
    int eval_is_measured, save_is_measured;
    double save_seconds; /* of the last whole save, or by the probe */
    double told;         /* what the last line said; 0: none yet */
} ls_bound;

/* session NULL leaves it empty. Local. */
ls_status ls_bound_init(ls_bound *bound, ls_session *session);
void ls_bound_add_step(ls_bound *bound, double seconds);
void ls_bound_add_evaluation(ls_bound *bound, double seconds);
/* A save wrote so many bytes on all ranks together; linked files are not written. */
void ls_bound_add_save(ls_bound *bound, int64_t written_bytes, double seconds);
/* Writes a little in `folder` to learn how fast its disk is, and removes it. A disk that cannot be written is taken for a slow one. */
void ls_bound_probe(ls_bound *bound, const char *folder);
double ls_bound_seconds(const ls_bound *bound);
/* After the first step and after each save: a line (when it says something new) and a record of kind "bound"; a warning once when
 * notice_seconds is shorter. */
ls_status ls_bound_tell(ls_bound *bound, ls_recorder *recorder, int64_t step);

#endif
