/* The trainer's own state beside the program's: in a checkpoint's manifest, and in memory with each committed step. */
#ifndef LS_TRAIN_STATE_H
#define LS_TRAIN_STATE_H
#include "lockstep/optim.h"
#include <stdint.h>

typedef struct ls_train_state {
    int64_t step; /* optimizer steps done: the data cursor */
    ls_early_stop stop;
    double loss, lr, grad_norm; /* of the last step; NAN before the first */
    double held_loss;           /* of the last evaluation within the run; NAN = none yet */
    double seconds;             /* of training, evaluations and saves apart */
    float loss_scale;           /* after the last skipped step; 0 before the first */
    int64_t n_skipped;
    uint64_t data; /* hash of the training data; 0 = not known */
    char run[40];  /* which run it is, whatever became of its processes; "" = not known */
} ls_train_state;

LS_API void ls_train_state_init(ls_train_state *state, const ls_optim_options *optim);
/* JSON text of all but `step`; free with ls_free. */
LS_API ls_status ls_train_state_print(const ls_train_state *state, char **out);
/* Reads it back; what an older version did not write keeps its value. NULL: nothing to read. `what` names the text in messages. */
LS_API ls_status ls_train_state_parse(const char *json, const char *what, ls_train_state *state);

#endif
