/* Global norm of gradients; see grad_norm.c. Local. */
#ifndef LS_OP_GRAD_NORM_H
#define LS_OP_GRAD_NORM_H
#include "op/op.h"
#include "op/optim_step.h"

/* f32 scalar: the 2-norm of all `grads` (f32) taken together: one sum_squares each, by `lanes` chunks, then
 * grad_norm. */
LS_API ls_value ls_grad_norm(ls_graph *graph, const ls_value *grads, int n_grads, int lanes);

#endif
