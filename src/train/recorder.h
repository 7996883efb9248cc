/* What a run leaves behind: metrics.jsonl, TensorBoard events, checkpoints, loss.svg. */
#ifndef LS_TRAIN_RECORDER_H
#define LS_TRAIN_RECORDER_H
#include "train/session.h"

typedef struct ls_recorder ls_recorder;

/* keep_below >= 0: goes on with the records of a run that came so far; those of that step and later are dropped. -1: a new run. */
ls_status ls_recorder_open(ls_session *session, int64_t keep_below, ls_recorder **out);
void ls_recorder_close(ls_recorder *recorder); /* NULL is fine */
ls_status ls_recorder_step(ls_recorder *recorder, const ls_train_progress *progress);
ls_status ls_recorder_evaluation(ls_recorder *recorder, int64_t step, const ls_eval_result *eval);
/* A record of another kind: `members` is JSON text, see ls_metrics_write_members. */
ls_status ls_recorder_record(ls_recorder *recorder, const char *kind, int64_t step,
                             const char *members);
/* Final record and the chart. */
ls_status ls_recorder_finish(ls_recorder *recorder, const ls_train_result *result);

/* FLOP/s of a large matrix product on this pool in this precision: the peak that progress is measured against. About 30 ms. */
ls_status ls_peak_measure(ls_pool *pool, int precision, double *flops_per_second_out);
/* Of all ranks together, as if all were like this one. Adds the time that it took to *aside_seconds. */
ls_status ls_peak_of_ranks(ls_session *session, double *flops_per_second_out,
                           double *aside_seconds);

#endif
