/* ema_step: an exponential running average, in place: state = (1 - momentum) * state + momentum * scale * value.
 *
 * state and value have the same shape; state is f32 (f64 in gradient checks), value any float dtype. Built in phase UPDATE: the
 * result is the state's own memory. `scale` corrects the value, e.g. N / (N - 1) for an unbiased variance. */
#ifndef LS_OP_EMA_STEP_H
#define LS_OP_EMA_STEP_H
#include "op/op.h"

typedef struct ls_ema_step_attr {
    double momentum, scale;
} ls_ema_step_attr;

LS_API ls_value ls_ema_step(ls_graph *graph, ls_value state, ls_value value, double momentum,
                            double scale);

#endif
