/* The factor on the gradients of a step; see clip_scale.c. Local. */
#ifndef LS_OP_CLIP_SCALE_H
#define LS_OP_CLIP_SCALE_H
#include "op/op.h"

typedef struct ls_clip_scale_attr {
    double max_norm;     /* 0 = no clipping */
    double static_count; /* what the loss gradient was divided by when it was built */
    int has_count, has_loss_scale;
} ls_clip_scale_attr;

/* norm: f32 scalar of the gradients as summed. count: f32 scalar of counted targets, or LS_VALUE_NONE (= static_count).
 * loss_scale: f32 scalar, or LS_VALUE_NONE (= 1). Returns scale; *true_norm_out gets the norm of the scaled-back,
 * unclipped gradient. */
LS_API ls_value ls_clip_scale(ls_graph *graph, const ls_value in[3], double max_norm,
                              double static_count, ls_value *true_norm_out);

#endif
