/* After a step: was the update made, and if not, why? Collective. */
#ifndef LS_TRAIN_UPDATE_CHECK_H
#define LS_TRAIN_UPDATE_CHECK_H
#include "train/session.h"
#include "train/state.h"

/* A skipped update means a gradient that is not finite: expected in f16, where the loss scale goes down and state->n_skipped up; an error
 * elsewhere, that names the op. */
ls_status ls_update_check(ls_session *session, ls_train_state *state, const ls_run_options *run);

#endif
