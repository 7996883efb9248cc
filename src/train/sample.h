/* Choosing the next token from logits. Deterministic: a pure function of logits, options and position. Local, reentrant. */
#ifndef LS_TRAIN_SAMPLE_H
#define LS_TRAIN_SAMPLE_H
#include "lockstep/train.h"

typedef struct ls_candidate {
    float logit;
    int32_t id;
} ls_candidate;

/* scratch: n_vocab candidates. Order: logit descending, then id ascending. */
ls_status ls_sample_token(const ls_tensor *logits, int64_t row, const ls_generate_options *options,
                          int64_t position, ls_candidate *scratch, int32_t *out);

#endif
