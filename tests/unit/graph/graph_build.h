/* A small graph of made-up ops, for the tests of the graph's room: y = w * x + b, a loss, a lane sum, an update of w. */
#ifndef LS_TESTS_GRAPH_BUILD_H
#define LS_TESTS_GRAPH_BUILD_H
#include "graph/node.h"
#include "op/add/add.h"
#include "op/mul/mul.h"
#include "unit/base/check.h"

/* --- made-up ops --- */

static inline ls_status infer_like_first(const void *attr, int n_in, const ls_type *in, int *n_out,
                                         ls_type *out) {
    (void)attr, (void)n_in;
    *n_out = 1;
    out[0] = in[0];
    return LS_OK;
}

static inline ls_status infer_two(const void *attr, int n_in, const ls_type *in, int *n_out,
                                  ls_type *out) {
    LS_TRY(infer_like_first(attr, n_in, in, n_out, out));
    *n_out = 2;
    out[1] = (ls_type){LS_DTYPE_I32, in[0].shape};
    return LS_OK;
}

static inline int alias_first(const ls_sig *sig, int i) {
    (void)sig;
    return i == 0 ? 0 : -1;
}

typedef struct made_attr {
    int32_t number;
} made_attr;

static inline void print_number(const void *attr, ls_text *out) {
    ls_text_append(out, "number=%d", ((const made_attr *)attr)->number);
}

/* Has no gradient; two results, of which the second is no float. */
static const ls_op made_op_two = {.name = "two",
                                  .min_in = 1,
                                  .max_in = 2,
                                  .attr_bytes = sizeof(made_attr),
                                  .infer = infer_two,
                                  .print = print_number};
/* Writes its first input. */
static const ls_op made_op_update = {.name = "made_step",
                                     .min_in = 2,
                                     .max_in = 2,
                                     .flags = LS_OP_UPDATE,
                                     .infer = infer_like_first,
                                     .alias = alias_first};
static const ls_op made_op_random = {
    .name = "noise", .min_in = 1, .max_in = 1, .flags = LS_OP_RANDOM, .infer = infer_like_first};

/* --- the graph --- */

static const ls_init made_init = {LS_INIT_NORMAL, 0, 0.5};

static inline ls_shape made_shape(void) {
    return (ls_shape){.n_dims = 2, .dims = {3, 4}};
}

typedef struct made_graph {
    ls_graph *g;
    ls_value x, w, b, product, y, sum, updated;
} made_graph;

static inline ls_status build_made(made_graph *m) {
    ls_graph *g = m->g;
    const ls_shape shape = made_shape();
    m->x = ls_graph_input(g, "x", LS_DTYPE_F32, shape);
    m->w = ls_graph_param(g, "w", LS_DTYPE_F32, shape, made_init);
    m->b = ls_graph_state(g, "b", LS_DTYPE_F32, shape, (ls_init){0}, LS_ROLE_BUFFER);
    ls_graph_set_unit(g, 1);
    ls_graph_set_scope(g, "h.0");
    m->product = ls_mul(g, m->w, m->x);
    ls_graph_set_unit(g, 2);
    ls_graph_set_scope(g, "h.1");
    m->y = ls_add(g, m->product, m->b);
    m->sum = ls_graph_accumulate(g, "sum/y", m->y);
    ls_graph_set_phase(g, LS_PHASE_UPDATE);
    const ls_value in[2] = {m->w, m->sum};
    m->updated = ls_graph_node(g, &made_op_update, NULL, in, 2, NULL);
    ls_graph_set_phase(g, LS_PHASE_FORWARD);
    LS_TRY(ls_graph_status(g));
    return ls_graph_output(g, "y", m->y);
}

static inline void open_made(made_graph *m) {
    check_ok(ls_graph_create(&m->g));
    check_ok(build_made(m));
}

#endif
