/* accuracy: how many rows have their largest logit at the target's index. logits[.., N] of any float dtype, targets[..] i32 ->
 * f32 scalar. The first of equal logits counts as the largest; a row whose target is outside [0, N) is never counted (cross_entropy
 * reports bad targets). No gradient. Local. */
#ifndef LS_OP_ACCURACY_H
#define LS_OP_ACCURACY_H
#include "graph/node.h"

LS_API ls_value ls_accuracy(ls_graph *graph, ls_value logits, ls_value targets);

#endif
