/* What multiplies the gradient and its average in NAdam's step t (1-based). Local, reentrant. */
#ifndef LS_OP_NADAM_STEP_H
#define LS_OP_NADAM_STEP_H
#include "lockstep/status.h"

typedef struct ls_nadam_weights {
    double grad, m;
} ls_nadam_weights;
LS_API ls_nadam_weights ls_nadam_weigh(double beta1, double t);

#endif
