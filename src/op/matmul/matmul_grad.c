/* With y = act(pre) + residual and pre = alpha op(a) op(b) + bias:
 *   dpre = dy act'(pre), dresidual = dy, dbias = sum of dpre over rows,
 *   dop(a) = alpha dpre op(b)^T, dop(b) = alpha op(a)^T dpre summed over whatever shares b.
 * Products run in the operands' dtype: where the result is wider than a (f32 from bf16), dpre is rounded to a's dtype first. */
#include "op/matmul/matmul_grad.h"
#include "op/add/add.h"
#include "op/cast/cast.h"
#include "op/gelu/gelu.h"
#include "op/op.h"
#include "op/reduce_rows/reduce_rows.h"

typedef struct product_rule {
    ls_grad *grad;
    const ls_matmul_attr *attr;
    ls_value a, b, dpre; /* dpre in the operands' dtype */
    int shared;          /* b has two dims and a more: sum its gradient over the lead dims */
} product_rule;

static ls_value multiply(const product_rule *rule, ls_value a, ls_value b, ls_matmul_attr attr,
                         ls_value like) {
    attr.alpha = rule->attr->alpha;
    attr.out_dtype = (int)ls_graph_grad_dtype(rule->grad->graph, like);
    return ls_matmul_full(rule->grad->graph, a, b, LS_VALUE_NONE, LS_VALUE_NONE, &attr);
}

static ls_value grad_of_a(const product_rule *r) {
    const ls_matmul_attr *attr = r->attr;
    if (attr->transpose_a && !attr->sum_lead) /* da[.., K, M] = op(b) dpre^T */
        return multiply(r, r->b, r->dpre,
                        (ls_matmul_attr){.transpose_a = attr->transpose_b, .transpose_b = 1}, r->a);
    if (attr->sum_lead) /* da[.., K, M] = b[.., K, N] dpre^T */
        return multiply(r, r->b, r->dpre, (ls_matmul_attr){.transpose_b = 1}, r->a);
    return multiply(r, r->dpre, r->b, (ls_matmul_attr){.transpose_b = !attr->transpose_b}, r->a);
}

static ls_value grad_of_b(const product_rule *r) {
    const ls_matmul_attr *attr = r->attr;
    if (attr->sum_lead) /* db[.., K, N] = a[.., K, M] dpre */
        return multiply(r, r->a, r->dpre, (ls_matmul_attr){0}, r->b);
    const ls_matmul_attr lead = {.transpose_a = 1, .sum_lead = r->shared};
    if (attr->transpose_b && !attr->transpose_a) /* db[N, K] = dpre^T a */
        return multiply(r, r->dpre, r->a, lead, r->b);
    if (attr->transpose_b)
        return multiply(r, r->dpre, r->a, (ls_matmul_attr){.transpose_a = 1, .transpose_b = 1},
                        r->b);
    if (attr->transpose_a) return multiply(r, r->a, r->dpre, (ls_matmul_attr){0}, r->b);
    return multiply(r, r->a, r->dpre, lead, r->b);
}

static ls_value grad_of_activation(ls_graph *graph, ls_activation activation, ls_value pre,
                                   ls_value dy) {
    const ls_value in[2] = {pre, dy};
    const ls_gelu_attr gelu = {activation == LS_ACT_GELU_TANH};
    if (activation == LS_ACT_RELU) return ls_graph_node(graph, &ls_op_relu_grad, NULL, in, 2, NULL);
    if (activation == LS_ACT_SILU) return ls_graph_node(graph, &ls_op_silu_grad, NULL, in, 2, NULL);
    return ls_graph_node(graph, &ls_op_gelu_grad, &gelu, in, 2, NULL);
}

/* What flows into the sum before the activation. */
static ls_value grad_of_pre(const ls_grad *grad, const ls_matmul_attr *attr) {
    ls_value dpre = grad->dout[0];
    if (attr->activation == LS_ACT_NONE) return dpre;
    if (dpre != LS_VALUE_NONE)
        dpre = grad_of_activation(grad->graph, attr->activation, grad->out[1], dpre);
    if (grad->dout[1] == LS_VALUE_NONE) return dpre;
    return dpre == LS_VALUE_NONE ? grad->dout[1] : ls_add(grad->graph, dpre, grad->dout[1]);
}

ls_status ls_matmul_grad(ls_grad *grad) {
    const ls_matmul_attr *attr = grad->sig->attr;
    ls_graph *graph = grad->graph;
    const ls_type *in = grad->sig->in;
    const int residual = 2 + attr->has_bias;
    if (attr->has_residual && grad->wants[residual]) grad->din[residual] = grad->dout[0];
    const ls_value dpre = grad_of_pre(grad, attr);
    if (dpre == LS_VALUE_NONE) return LS_OK;
    if (attr->has_bias && grad->wants[2])
        grad->din[2] = ls_reduce_rows(graph, dpre, ls_graph_grad_dtype(graph, grad->in[2]));
    product_rule rule = {.grad = grad, .attr = attr, .a = grad->in[0], .b = grad->in[1]};
    rule.shared = in[1].shape.n_dims == 2 && in[0].shape.n_dims > 2;
    rule.dpre = dpre;
    if ((grad->wants[0] || grad->wants[1]) && grad->sig->out[0].dtype == LS_DTYPE_F32 &&
        in[0].dtype == in[1].dtype && in[0].dtype != LS_DTYPE_F32)
        rule.dpre = ls_cast(graph, dpre, in[0].dtype);
    if (grad->wants[0]) grad->din[0] = grad_of_a(&rule);
    if (grad->wants[1]) grad->din[1] = grad_of_b(&rule);
    return ls_graph_status(graph);
}
