/* What the passes `head` and `join_tied` did, in words. */
#include "op/cross_entropy_head/cross_entropy_head.h"
#include "op/op.h"
#include "plan/plan.h"

static void print_head(const ls_plan *plan, const ls_node *node, ls_text *out) {
    ls_type in[4], results[LS_MAX_OUT];
    ls_sig sig;
    ls_node_sig(plan->graph, node, in, results, &sig);
    const ls_cross_entropy_head_attr *attr = node->attr;
    const int64_t n = ls_type_count(&in[2]), v = in[1].shape.dims[attr->w_is_NK ? 0 : 1];
    const int64_t block = plan->options.reference_kernels ? n : ls_cross_entropy_head_block(&sig);
    const int64_t row = v * (int64_t)ls_dtype_bytes(in[0].dtype);
    ls_text_append(out,
                   "  head: %lld rows of logits a lane, made %lld at a time: %lld of %lld bytes\n",
                   (long long)n, (long long)block, (long long)(block * row), (long long)(n * row));
}

static void print_tied(const ls_plan *plan, const ls_node *node, ls_text *out) {
    const ls_node *head = &plan->graph->nodes[plan->graph->values[node->in[2]].node];
    const int from = ls_plan_stage_of(plan, head), to = ls_plan_stage_of(plan, node);
    ls_text_append(out, "  tied weight: one gradient, looked-up rows are added to the head's");
    if (from != to) ls_text_append(out, ", which stage %d sends to stage %d once a lane", from, to);
    ls_text_append(out, "\n");
}

void ls_plan_print_head(const ls_plan *plan, ls_text *out) {
    for (int64_t n = 0; n < plan->graph->n_nodes; n++) {
        const ls_node *node = &plan->graph->nodes[n];
        if (node->op == &ls_op_cross_entropy_head) print_head(plan, node, out);
        if (node->op == &ls_op_embedding_grad && node->n_in > 2) print_tied(plan, node, out);
    }
}
