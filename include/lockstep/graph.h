/* The graph: one SSA list of nodes in execution order. A model, its gradient, its optimizer step are nodes of one graph, built for
 * one lane.
 *
 * Builders return an ls_value, LS_VALUE_NONE after a failure; the graph keeps the first failure and later builders
 * do nothing, so a builder chain is checked once with ls_graph_status. All memory belongs to the graph.
 * Thread-safety: one thread at a time. Local. */
#ifndef LOCKSTEP_GRAPH_H
#define LOCKSTEP_GRAPH_H
#include "lockstep/status.h"
#include "lockstep/tensor.h"
#include <stdint.h>

typedef struct ls_graph ls_graph;
typedef int32_t ls_value; /* index of a value in its graph */
enum { LS_VALUE_NONE = -1 };

/* When a node runs. PREPARE and UPDATE run once a step, FORWARD and BACKWARD once a lane. */
typedef enum ls_phase {
    LS_PHASE_PREPARE, /* depends on persistent values only (e.g. the bf16 copy of a weight) */
    LS_PHASE_FORWARD,
    LS_PHASE_BACKWARD,
    LS_PHASE_UPDATE, /* sees lane sums, writes persistent values */
    LS_PHASE_COUNT
} ls_phase;

typedef enum ls_value_kind {
    LS_VALUE_INPUT,      /* fed for each lane (tokens) */
    LS_VALUE_STEP_INPUT, /* fed once a step (learning rate) */
    LS_VALUE_PARAM,      /* persistent, trainable */
    LS_VALUE_STATE,      /* persistent, not trainable */
    LS_VALUE_ACCUM, /* sum of `source` over all lanes, f32, in tree order; readable in UPDATE */
    LS_VALUE_RESULT /* of a node */
} ls_value_kind;

typedef enum ls_role { LS_ROLE_NONE, LS_ROLE_WEIGHT, LS_ROLE_OPTIMIZER, LS_ROLE_BUFFER } ls_role;

typedef enum ls_init_kind {
    LS_INIT_ZERO,
    LS_INIT_CONSTANT,
    LS_INIT_NORMAL,
    LS_INIT_UNIFORM
} ls_init_kind;
/* How a persistent value starts: CONSTANT a; NORMAL mean a, standard deviation b; UNIFORM [a, b). Draws are keyed by
 * (seed, 0, stream of the value's name, element index). */
typedef struct ls_init {
    ls_init_kind kind;
    double a, b;
} ls_init;

LS_API ls_status ls_graph_create(ls_graph **out);
LS_API void ls_graph_destroy(ls_graph *graph);
/* First failure of any builder, LS_OK if none; the message is re-recorded for the calling thread. */
LS_API ls_status ls_graph_status(const ls_graph *graph);

/* Leaves. Names are unique in the graph. */
LS_API ls_value ls_graph_input(ls_graph *graph, const char *name, ls_dtype dtype, ls_shape shape);
LS_API ls_value ls_graph_step_input(ls_graph *graph, const char *name, ls_dtype dtype,
                                    ls_shape shape);
LS_API ls_value ls_graph_param(ls_graph *graph, const char *name, ls_dtype dtype, ls_shape shape,
                               ls_init init);
LS_API ls_value ls_graph_state(ls_graph *graph, const char *name, ls_dtype dtype, ls_shape shape,
                               ls_init init, ls_role role);
/* The sum of `source` (float, any dtype; summed in f32) over all lanes of the global batch. Name unique. */
LS_API ls_value ls_graph_accumulate(ls_graph *graph, const char *name, ls_value source);
/* Names a result so that a run can fetch it (loss, logits). */
LS_API ls_status ls_graph_output(ls_graph *graph, const char *name, ls_value value);

/* Unit (layer index, -1 = none) and phase given to the nodes built from now on. Units ascend along the model: the embedding
 * is unit 0, block i is i + 1, the head is the last; pipelines cut between units. */
LS_API void ls_graph_set_unit(ls_graph *graph, int unit);
LS_API void ls_graph_set_phase(ls_graph *graph, ls_phase phase);
/* Prefix for names of results built from now on ("h.3.attn"); "" for none. Copied. */
LS_API void ls_graph_set_scope(ls_graph *graph, const char *scope);

LS_API ls_dtype ls_graph_dtype(const ls_graph *graph, ls_value value);
LS_API ls_shape ls_graph_shape(const ls_graph *graph, ls_value value);
LS_API const char *ls_graph_name(const ls_graph *graph, ls_value value);
LS_API ls_value ls_graph_find(const ls_graph *graph,
                              const char *name); /* leaf or output by name, or NONE */

/* Appends the gradient of sum_i <seeds[i], outputs[i]> with respect to each wrt[j]: phase BACKWARD, each node in its forward
 * node's unit and scope. seeds[i] LS_VALUE_NONE means a seed of one, for outputs whose op has a fused gradient (cross_entropy,
 * mean_squared_error). A parameter that several units read (a tied embedding) gets one part per unit, so that a pipeline
 * that puts the units on different ranks changes no sum; parts with nothing flowing are left out. */
typedef struct ls_grad_part {
    ls_value wrt;
    int unit;
    ls_value grad;
} ls_grad_part;
typedef struct ls_grad_parts {
    ls_grad_part *parts; /* wrt order, then unit order; graph memory */
    int n_parts;
} ls_grad_parts;
LS_API ls_status ls_graph_differentiate(ls_graph *graph, const ls_value *outputs,
                                        const ls_value *seeds, int n_outputs, const ls_value *wrt,
                                        int n_wrt, ls_grad_parts *out);

/* Checks every invariant: types re-inferred, SSA order, phases (a FORWARD node reads no BACKWARD result, only UPDATE reads ACCUM),
 * one writer per persistent value and no reader of it afterwards. Names the node. */
LS_API ls_status ls_graph_verify(const ls_graph *graph);
/* Stable text, one node a line; heap text, free with ls_free. */
LS_API ls_status ls_graph_print(const ls_graph *graph, char **text_out);
LS_API ls_status ls_graph_print_dot(const ls_graph *graph, char **text_out);
LS_API ls_status ls_graph_print_svg(const ls_graph *graph, char **text_out);
/* Structural hash: ops, attributes, types, wiring; not the names of results. */
LS_API ls_status ls_graph_hash(const ls_graph *graph, uint64_t *out);

#endif
