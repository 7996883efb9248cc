/* Counts applied steps; see step_count.c. Local. */
#ifndef LS_OP_STEP_COUNT_H
#define LS_OP_STEP_COUNT_H
#include "op/op.h"

/* state: f32 scalar, in place: + 1 unless scale (of clip_scale) says skip. Returns the new count. */
LS_API ls_value ls_step_count(ls_graph *graph, ls_value state, ls_value scale);

#endif
