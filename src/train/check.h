/* What no single key of a configuration can tell. Local. */
#ifndef LS_TRAIN_CHECK_H
#define LS_TRAIN_CHECK_H
#include "lockstep/train.h"

/* After all values are read; fills in those that follow from others (threads, window). */
ls_status ls_train_check(ls_train_config *config);
/* More, for a run that trains: a checkpoint of one can be read whatever this says. */
ls_status ls_train_check_run(const ls_train_config *config);
/* More, for a plan: what a run would refuse on whatever it is started. */
ls_status ls_train_check_plan(const ls_train_config *config);
/* `size` ranks on `n_hosts` hosts are there: those that were asked for? */
ls_status ls_train_check_ranks(const ls_train_config *config, int size, int n_hosts);

#endif
