/* Dynamic loss scaling; see loss_scale_step.c. Local. */
#ifndef LS_OP_LOSS_SCALE_STEP_H
#define LS_OP_LOSS_SCALE_STEP_H
#include "op/op.h"

typedef struct ls_loss_scale_attr {
    int64_t growth_interval; /* good steps before the scale doubles; 0 = it never does */
    double min, max;
} ls_loss_scale_attr;

typedef struct ls_loss_scale_state {
    ls_value loss_scale, good_steps, skipped; /* f32 scalars, persistent */
} ls_loss_scale_state;

/* Updates the state in place from `scale` (of clip_scale). Returns the new loss scale; *skipped_out gets the new count of
 * skipped steps. */
LS_API ls_value ls_loss_scale_step(ls_graph *graph, const ls_loss_scale_state *state,
                                   ls_value scale, const ls_loss_scale_attr *attr,
                                   ls_value *skipped_out);

#endif
