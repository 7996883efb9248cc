/* The end of a language model as one op, where a lane's logits are large: matmul, cross_entropy and the two matmuls of their gradient become
 * cross_entropy_head, which makes logits a block of rows at a time and keeps none.
 *
 * It runs first in the lane's backward pass: there its weight gradient is written straight to its lane sum, and x is all that the forward
 * pass leaves for it. The loss is known one op later than before, still ahead of anything that other ranks see. With zero 3 the
 * weight is gathered once a lane instead of twice. Without a gradient (evaluation) it stays in the forward pass and makes the loss alone. */
#include "op/cross_entropy_head/cross_entropy_head.h"
#include "op/matmul/matmul.h"
#include "op/op.h"
#include "plan/pass/pass.h"
#include "plan/pass/replace.h"

/* The nodes of one head. dx and dw are -1 where nothing flows back (evaluation). */
typedef struct head {
    int32_t logits, loss, dx, dw;
} head;

typedef struct head_pass {
    const ls_graph *graph;
    head *heads;
    int n_heads;
} head_pass;

/* A product without an epilogue. */
static const ls_matmul_attr *plain_product(const ls_node *node) {
    const ls_matmul_attr *attr = node->attr;
    if (node->op != &ls_op_matmul || node->n_in != 2 || node->n_out != 1) return NULL;
    return attr->alpha == 1.0f && attr->activation == LS_ACT_NONE ? attr : NULL;
}

/* Node that reads v, the n-th; -1 when there are fewer. Being an output counts as a reader nobody knows: -2. */
static int32_t find_reader(const ls_graph *g, ls_value v, int n) {
    for (int64_t i = 0; i < g->n_outputs; i++)
        if (g->outputs[i].value == v) return -2;
    for (int64_t i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].n_in; k++)
            if (g->nodes[i].in[k] == v && n-- == 0) return (int32_t)i;
    return -1;
}

static int is_logits(const ls_graph *g, const ls_node *node, int64_t most_bytes) {
    const ls_matmul_attr *attr = plain_product(node);
    if (!attr || attr->transpose_a || node->phase != LS_PHASE_FORWARD) return 0;
    const ls_type *out = &g->values[node->out[0]].type, *x = &g->values[node->in[0]].type;
    const ls_type *w = &g->values[node->in[1]].type;
    return x->dtype == out->dtype && w->dtype == x->dtype && w->shape.n_dims == 2 &&
           ls_type_count(out) > 0 && (int64_t)ls_type_bytes(out) > most_bytes;
}

static int is_dx(const ls_graph *g, const ls_node *node, const ls_node *logits, ls_value dlogits) {
    const ls_matmul_attr *attr = plain_product(node), *forward = logits->attr;
    return attr && node->phase == LS_PHASE_BACKWARD && node->in[0] == dlogits &&
           node->in[1] == logits->in[1] && !attr->transpose_a &&
           attr->transpose_b == !forward->transpose_b &&
           g->values[node->out[0]].type.dtype == g->values[logits->in[0]].type.dtype;
}

static int is_dw(const ls_graph *g, const ls_node *node, const ls_node *logits, ls_value dlogits) {
    const ls_matmul_attr *attr = plain_product(node), *forward = logits->attr;
    const ls_type *x = &g->values[logits->in[0]].type;
    const ls_value left = forward->transpose_b ? dlogits : logits->in[0];
    const ls_value right = forward->transpose_b ? logits->in[0] : dlogits;
    const ls_dtype sums = x->dtype == LS_DTYPE_F64 ? LS_DTYPE_F64 : LS_DTYPE_F32;
    return attr && node->phase == LS_PHASE_BACKWARD && node->in[0] == left &&
           node->in[1] == right && attr->transpose_a && !attr->transpose_b &&
           (attr->sum_lead || x->shape.n_dims == 2) && g->values[node->out[0]].type.dtype == sums;
}

/* Loss, count and row losses may be summed over lanes or fetched, but not computed with in the forward pass. */
static int is_end(const ls_graph *g, const ls_node *loss) {
    for (int64_t i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].n_in; k++)
            for (int r = 0; r < loss->n_out; r++)
                if (r != 2 && g->nodes[i].in[k] == loss->out[r]) return 0;
    return 1;
}

/* The head whose loss is node `index`. */
static int find_head(const ls_graph *g, int32_t index, int64_t most_bytes, head *out) {
    const ls_node *loss = &g->nodes[index];
    if (loss->op != &ls_op_cross_entropy || loss->phase != LS_PHASE_FORWARD) return 0;
    const int32_t made = g->values[loss->in[0]].node;
    if (made < 0 || !is_logits(g, &g->nodes[made], most_bytes) || !is_end(g, loss)) return 0;
    if (find_reader(g, loss->in[0], 0) != index || find_reader(g, loss->in[0], 1) >= 0) return 0;
    const ls_value dlogits = loss->out[2];
    const int32_t a = find_reader(g, dlogits, 0), b = find_reader(g, dlogits, 1);
    *out = (head){made, index, -1, -1};
    if (a == -1) return 1;
    if (a < 0 || b < 0 || find_reader(g, dlogits, 2) >= 0) return 0;
    const ls_node *logits = &g->nodes[made];
    const int a_is_dx = is_dx(g, &g->nodes[a], logits, dlogits);
    *out = (head){made, index, a_is_dx ? a : b, a_is_dx ? b : a};
    return is_dx(g, &g->nodes[out->dx], logits, dlogits) &&
           is_dw(g, &g->nodes[out->dw], logits, dlogits);
}

static ls_status emit_head(const head *h, const ls_graph *from, ls_graph *to, ls_value *map) {
    const ls_node *logits = &from->nodes[h->logits], *loss = &from->nodes[h->loss];
    const ls_matmul_attr *product = logits->attr;
    const ls_cross_entropy_head_attr attr = {*(const ls_cross_entropy_attr *)loss->attr,
                                             product->transpose_b, h->dx < 0};
    ls_value in[4] = {map[logits->in[0]], map[logits->in[1]], map[loss->in[1]]};
    if (loss->n_in > 2) in[3] = map[loss->in[2]];
    ls_value out[LS_MAX_OUT];
    if (!attr.loss_only) ls_graph_set_phase(to, LS_PHASE_BACKWARD);
    ls_graph_node(to, &ls_op_cross_entropy_head, &attr, in, loss->n_in + 1, out);
    LS_TRY(ls_graph_status(to));
    map[loss->out[0]] = out[LS_HEAD_LOSS];
    map[loss->out[1]] = out[LS_HEAD_COUNT];
    map[loss->out[3]] = out[LS_HEAD_ROWS];
    if (attr.loss_only) return LS_OK;
    map[from->nodes[h->dx].out[0]] = out[LS_HEAD_DX];
    map[from->nodes[h->dw].out[0]] = out[LS_HEAD_DW];
    return LS_OK;
}

static ls_status rewrite_node(void *user, const ls_graph *from, const ls_node *node, ls_graph *to,
                              ls_value *map, int *handled) {
    const head_pass *pass = user;
    const int32_t index = (int32_t)(node - from->nodes);
    *handled = 0;
    for (int i = 0; i < pass->n_heads; i++) {
        const head *h = &pass->heads[i];
        *handled = index == h->logits || index == h->loss || index == h->dx || index == h->dw;
        if (index == h->loss) return emit_head(h, from, to, map);
        if (*handled) return LS_OK;
    }
    return LS_OK;
}

ls_status ls_pass_head(ls_graph **graph, int64_t logits_bytes) {
    if (logits_bytes == 0) return LS_OK;
    head_pass pass = {.graph = *graph};
    pass.heads = ls_alloc(sizeof *pass.heads * (size_t)((*graph)->n_nodes + 1));
    if (!pass.heads) return LS_ERR_NO_MEMORY;
    for (int64_t n = 0; n < (*graph)->n_nodes; n++)
        pass.n_heads += find_head(*graph, (int32_t)n, logits_bytes, &pass.heads[pass.n_heads]);
    const ls_status status = pass.n_heads ? ls_graph_replace(graph, rewrite_node, &pass) : LS_OK;
    ls_free(pass.heads);
    return status;
}
