#include "op/cast/cast.h"
#include "plan/pass/pass.h"
#include "plan/pass/replace.h"

typedef struct lowering {
    ls_dtype dtype;
    ls_value *low; /* per value of the source graph: its low-precision copy, NONE until made */
} lowering;

/* Matrices are computed with in low precision; vectors (norms, biases) stay f32. Lane inputs such as images follow. */
static int is_lowered(const ls_value_info *info) {
    if (info->type.dtype != LS_DTYPE_F32) return 0;
    if (info->kind == LS_VALUE_PARAM) return info->type.shape.n_dims >= 2;
    return info->kind == LS_VALUE_INPUT && info->type.shape.n_dims >= 2;
}

static ls_status lower_inputs(void *user, const ls_graph *from, const ls_node *node, ls_graph *to,
                              ls_value *map, int *handled) {
    lowering *pass = user;
    ls_value outs[LS_MAX_OUT];
    *handled = 1;
    ls_value *in = ls_alloc(sizeof *in * (size_t)(node->n_in + 1));
    if (!in) return LS_ERR_NO_MEMORY;
    for (int i = 0; i < node->n_in; i++) {
        const ls_value v = node->in[i];
        in[i] = map[v];
        if ((node->op->flags & LS_OP_KEEP_F32) || !is_lowered(&from->values[v])) continue;
        if (pass->low[v] == LS_VALUE_NONE) pass->low[v] = ls_cast(to, map[v], pass->dtype);
        in[i] = pass->low[v];
    }
    ls_graph_node(to, node->op, node->attr, in, node->n_in, outs);
    ls_free(in);
    LS_TRY(ls_graph_status(to));
    for (int i = 0; i < node->n_out; i++) map[node->out[i]] = outs[i];
    return LS_OK;
}

ls_status ls_pass_precision(ls_graph **graph, ls_precision precision) {
    if (precision == LS_PRECISION_F32) return LS_OK;
    lowering pass = {.dtype = precision == LS_PRECISION_BF16 ? LS_DTYPE_BF16 : LS_DTYPE_F16};
    const int64_t n = (*graph)->n_values;
    pass.low = ls_alloc(sizeof *pass.low * (size_t)(n + 1));
    if (!pass.low) return LS_ERR_NO_MEMORY;
    for (int64_t v = 0; v < n; v++) pass.low[v] = LS_VALUE_NONE;
    const ls_status status = ls_graph_replace(graph, lower_inputs, &pass);
    ls_free(pass.low);
    return status;
}
