/* The graph's inside, for passes, the planner and gradient rules. See lockstep/graph.h. Local, one thread at a time. */
#ifndef LS_GRAPH_NODE_H
#define LS_GRAPH_NODE_H
#include "graph/op.h"

typedef struct ls_value_info {
    const char *name; /* "" for unnamed results */
    ls_value_kind kind;
    ls_type type;
    ls_role role;
    ls_init init;
    int32_t node;    /* RESULT: producer; else -1 */
    int out_index;   /* RESULT: which result */
    ls_value source; /* ACCUM: the summed lane value; else NONE */
    /* Persistent, kept in pieces of so many elements, a rank each (0: not): `type` is this rank's flat piece of a tensor of shape
     * `whole`, or, where lanes read all of it, the whole tensor of which only this rank's piece is current between steps. */
    int64_t piece;
    ls_shape whole;
} ls_value_info;

typedef struct ls_node {
    const ls_op *op;
    const void *attr;
    int n_in, n_out;
    ls_value *in;
    ls_value *out;
    ls_phase phase;
    int unit;
    const char *scope; /* where in the model: "h.3.attn", "" for none */
    int half; /* BACKWARD: 0 = needed for the input gradient, 1 = weight gradient only (set by the planner) */
    int bucket; /* UPDATE: starts the exchange of gradient bucket bucket - 1 and may run as soon as the last lane has made it; 0 = none */
} ls_node;

typedef struct ls_output {
    const char *name;
    ls_value value;
} ls_output;

struct ls_graph {
    ls_arena *arena;
    ls_value_info *values;
    int64_t n_values, values_capacity;
    ls_node *nodes;
    int64_t n_nodes, nodes_capacity;
    ls_output *outputs;
    int64_t n_outputs, outputs_capacity;
    ls_value *slots; /* leaves by hash of name; n_slots is a power of two, or 0 */
    int64_t n_slots, n_leaves;
    int unit;
    ls_phase phase;
    const char *scope;
    ls_status status;
    const char *message;
};

/* Appends a node: infers result types, copies attr. outs (may be NULL) receives n_out values. Returns the first result. */
LS_API ls_value ls_graph_node(ls_graph *graph, const ls_op *op, const void *attr,
                              const ls_value *in, int n_in, ls_value *outs);
/* Records a builder failure (kept if first); returns LS_VALUE_NONE. */
LS_API ls_value ls_graph_fail(ls_graph *graph, ls_status status, const char *fmt, ...)
    LS_PRINTF(3, 4);
/* The table behind ls_graph_find: room for one more leaf; then the leaf, whose name is in no slot yet. */
ls_status ls_graph_reserve_name(ls_graph *graph);
void ls_graph_index_name(ls_graph *graph, ls_value leaf);
LS_API void ls_node_sig(const ls_graph *graph, const ls_node *node, ls_type *in, ls_type *out,
                        ls_sig *sig_out);
/* True when the value depends on persistent values only (a parameter, its bf16 copy). */
LS_API int ls_graph_is_invariant(const ls_graph *graph, ls_value value);
/* dtype a gradient of `value` should be built in: f32 for parameters and their low-precision copies, else the value's own. */
LS_API ls_dtype ls_graph_grad_dtype(const ls_graph *graph, ls_value value);

/* Copies `from` into the empty graph `to`, calling `rewrite` for each node in order; it emits what it wants and sets map[] for the
 * node's results (map has from->n_values entries; leaves are already mapped one to one, ACCUM after the node that makes their source).
 * rewrite NULL, or setting *handled to 0, copies the node unchanged. Outputs are mapped too. */
typedef ls_status (*ls_rewrite_fn)(void *user, const ls_graph *from, const ls_node *node,
                                   ls_graph *to, ls_value *map, int *handled);
LS_API ls_status ls_graph_rewrite(const ls_graph *from, ls_graph *to, ls_rewrite_fn rewrite,
                                  void *user);
/* Persistent leaf v is kept in pieces: see ls_value_info. */
LS_API void ls_graph_set_piece(ls_graph *graph, ls_value v, int64_t piece, ls_shape whole);
/* Type of the whole tensor of a persistent value. */
LS_API ls_type ls_value_whole_type(const ls_value_info *info);

#endif
