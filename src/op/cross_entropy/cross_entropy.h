/* cross_entropy of logits [.., V] against i32 targets [..], fused with its gradient. With p = softmax(logits), e = label smoothing and
 * natural logarithms, the loss of a row is
 *     (1 - e) * -log p[target] + e * mean over v of -log p[v].
 * Rows whose target is ignore_index count nothing and get a zero gradient; any other target outside [0, V) is LS_ERR_DATA.
 * Results: 0 loss_sum, scalar: sum of the row losses; 1 count, scalar: rows counted;
 *   2 dlogits, logits' dtype: grad_scale * loss_scale * d loss_sum / d logits; 3 row losses [..].
 * Results 0, 1 and 3 are f32 (f64 for f64 logits); rows are added in double by a binary tree.
 * Gradient: with seed NONE that of the logits is result 2; with a seed s (scalar) it is s * result 2 / grad_scale, and a loss_scale
 * input is refused. Local. */
#ifndef LS_OP_CROSS_ENTROPY_H
#define LS_OP_CROSS_ENTROPY_H
#include "graph/node.h"

typedef struct ls_cross_entropy_attr {
    float label_smoothing; /* in [0, 1) */
    int32_t ignore_index;
    float grad_scale;
} ls_cross_entropy_attr;

/* loss_scale: a scalar [] f32 step input or LS_VALUE_NONE. Returns result 0; the next values are results 1, 2 and 3. */
LS_API ls_value ls_cross_entropy(ls_graph *graph, ls_value logits, ls_value targets,
                                 const ls_cross_entropy_attr *attr, ls_value loss_scale);
/* Result i (0 to 3) of the cross_entropy (or mean_squared_error, 0 to 2) that made loss_sum. */
LS_API ls_value ls_loss_result(const ls_graph *graph, ls_value loss_sum, int i);

#endif
