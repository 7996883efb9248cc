/* A tied embedding's gradient in one part. Its head makes a whole [V, D] of it; what flows back to the rows that were looked up is
 * added to that, row by row, instead of to a second [V, D] of zeros that would be summed over lanes and ranks for itself. */
#include "op/op.h"
#include "plan/pass/pass.h"

/* The node that makes `grad`, if it is a scatter into zeros. */
static ls_node *find_scatter(const ls_graph *graph, ls_value grad) {
    const ls_value_info *info = &graph->values[grad];
    if (info->kind != LS_VALUE_RESULT) return NULL;
    ls_node *node = &graph->nodes[info->node];
    return node->op == &ls_op_embedding_grad && node->n_in == 2 ? node : NULL;
}

/* Can `node` read `sum`, which must have been made before it, and be of its type? */
static int can_add_to(const ls_graph *graph, const ls_node *node, ls_value sum) {
    const ls_value_info *a = &graph->values[sum], *b = &graph->values[node->out[0]];
    return a->kind == LS_VALUE_RESULT && a->node < b->node && a->type.dtype == b->type.dtype &&
           ls_shape_equal(&a->type.shape, &b->type.shape);
}

static ls_status add_input(ls_graph *graph, ls_node *node, ls_value sum) {
    ls_value *in = ls_arena_alloc(graph->arena, sizeof *in * 3);
    if (!in) return LS_ERR_NO_MEMORY;
    in[0] = node->in[0];
    in[1] = node->in[1];
    in[2] = sum;
    node->in = in;
    node->n_in = 3;
    return LS_OK;
}

/* Parts of one parameter are neighbours, by unit: the embedding's comes first. */
ls_status ls_pass_join_tied(ls_graph *graph, ls_grad_parts *parts) {
    int n = 0;
    for (int i = 0; i < parts->n_parts; i++) {
        const ls_grad_part *part = &parts->parts[i];
        const int more = i + 1 < parts->n_parts && part[1].wrt == part->wrt;
        const int is_first = n == 0 || parts->parts[n - 1].wrt != part->wrt;
        const int is_pair =
            more && is_first && (i + 2 == parts->n_parts || part[2].wrt != part->wrt);
        parts->parts[n++] = *part;
        ls_node *scatter = is_pair ? find_scatter(graph, part->grad) : NULL;
        if (!scatter || !can_add_to(graph, scatter, part[1].grad)) continue;
        LS_TRY(add_input(graph, scatter, part[1].grad));
        i++;
    }
    parts->n_parts = n;
    return LS_OK;
}
