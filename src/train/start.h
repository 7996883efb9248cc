/* How the time from the process's start to the end of its first step was spent: a stopwatch that every stage of the way stops once. Local. */
#ifndef LS_TRAIN_START_H
#define LS_TRAIN_START_H
#include "train/recorder.h"
#include "train/session.h"

/* The stopwatch starts; what came before is the launch. */
void ls_start_begin(ls_start_watch *watch);
/* The time since the mark before goes to `seconds`, a member of watch->times. */
void ls_start_mark(ls_start_watch *watch, double *seconds);
/* From the start of the process to the last mark. */
double ls_start_seconds(const ls_start_times *times);
/* "data 3 ms, plan 2 ms, ...": stages in their order. Free with ls_free; NULL: no memory. */
char *ls_start_describe(const ls_start_times *times);
/* Once the first step's record is written: a line and a record of kind "start". */
ls_status ls_start_tell(const ls_start_times *times, ls_recorder *recorder, int64_t step);

#endif
