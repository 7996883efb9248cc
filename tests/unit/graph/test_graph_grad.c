/* Differentiation, graph to graph: which nodes appear, where, in which order they are added, and what is refused. Values are for the op
 * harness. */
#include "unit/graph/graph_build.h"

typedef struct net {
    ls_graph *g;
    ls_value w, unused, x, seed;
    ls_value first, second; /* reads of w in units 1 and 2 */
    ls_value y;
} net;

static ls_status build_net(net *n) {
    ls_graph *g = n->g;
    n->x = ls_graph_input(g, "x", LS_DTYPE_F32, made_shape());
    n->seed = ls_graph_input(g, "seed", LS_DTYPE_F32, made_shape());
    n->w = ls_graph_param(g, "w", LS_DTYPE_F32, made_shape(), made_init);
    n->unused = ls_graph_param(g, "unused", LS_DTYPE_F32, made_shape(), made_init);
    ls_graph_set_unit(g, 1);
    ls_graph_set_scope(g, "h.0");
    n->first = ls_mul(g, n->x, n->w);
    ls_graph_set_unit(g, 2);
    ls_graph_set_scope(g, "h.1");
    n->second = ls_mul(g, n->first, n->w);
    n->y = ls_add(g, n->second, n->first);
    return ls_graph_status(g);
}

static void open_net(net *n) {
    check_ok(ls_graph_create(&n->g));
    check_ok(build_net(n));
}

/* Differentiates y by one value, with the net's seed; returns how many parts there are. */
static int differentiate_by(net *n, const ls_value *y, const ls_value *wrt, ls_grad_parts *parts) {
    check_ok(ls_graph_differentiate(n->g, y, &n->seed, y ? 1 : 0, wrt, 1, parts));
    return parts->n_parts;
}

/* A parameter that two units read has a part for each, in the order of units; one that nobody reads has none. */
static void test_parts(void **state) {
    (void)state;
    net n;
    ls_grad_parts parts;
    open_net(&n);
    ls_graph *g = n.g;
    const int64_t before = g->n_nodes;
    const ls_value wrt[2] = {n.unused, n.w};
    check_ok(ls_graph_differentiate(g, &n.y, &n.seed, 1, wrt, 2, &parts));
    check_ok(ls_graph_verify(g));
    assert_int_equal(parts.n_parts, 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(parts.parts[i].wrt, n.w);
        assert_int_equal(parts.parts[i].unit, i + 1);
        assert_int_equal(g->nodes[g->values[parts.parts[i].grad].node].unit, i + 1);
    }
    for (int64_t i = before; i < g->n_nodes; i++) {
        assert_int_equal(g->nodes[i].phase, LS_PHASE_BACKWARD);
        assert_string_equal(g->nodes[i].scope, g->nodes[i].unit == 1 ? "h.0" : "h.1");
    }
    /* What was set for the next node is as it was. */
    assert_int_equal(g->phase, LS_PHASE_FORWARD);
    assert_int_equal(g->unit, 2);
    assert_string_equal(g->scope, "h.1");
    ls_graph_destroy(g);
}

/* Contributions of an ordinary value are added up where its maker stands, the later reader's first. */
static void test_sums(void **state) {
    (void)state;
    net n;
    ls_grad_parts parts;
    open_net(&n);
    ls_graph *g = n.g;
    assert_int_equal(differentiate_by(&n, &n.y, &n.x, &parts), 1);
    int n_sums = 0;
    for (int64_t i = 3; i < g->n_nodes; i++) {
        const ls_node *node = &g->nodes[i];
        if (strcmp(node->op->name, "add") != 0) continue;
        n_sums++;
        assert_int_equal(node->in[0], n.seed); /* through y = second + first */
    }
    assert_int_equal(n_sums, 1);
    ls_graph_destroy(g);
}

/* Nobody asked for it: nothing is built towards it. */
static void test_only_what_is_asked(void **state) {
    (void)state;
    net n;
    ls_grad_parts parts;
    open_net(&n);
    ls_graph *g = n.g;
    const int64_t before = g->n_nodes;
    assert_int_equal(differentiate_by(&n, &n.y, &n.unused, &parts), 0);
    assert_int_equal(g->n_nodes, before);
    /* the second unit is not on the way */
    assert_int_equal(differentiate_by(&n, &n.first, &n.w, &parts), 1);
    assert_int_equal(g->n_nodes, before + 1);
    /* The output itself: its gradient is the seed. */
    assert_int_equal(differentiate_by(&n, &n.x, &n.x, &parts), 1);
    assert_int_equal(parts.parts[0].grad, n.seed);
    assert_int_equal(differentiate_by(&n, NULL, &n.w, &parts), 0);
    ls_graph_destroy(g);
}

/* A copy of a parameter is no reader of its own: its gradient is kept apart by who reads the copy. */
static void test_copies_of_weights(void **state) {
    (void)state;
    net n;
    ls_grad_parts parts;
    open_net(&n);
    ls_graph *g = n.g;
    ls_graph_set_unit(g, 0);
    const ls_value copy = ls_add(g, n.w, n.unused);
    ls_graph_set_unit(g, 1);
    const ls_value a = ls_mul(g, n.x, copy);
    ls_graph_set_unit(g, 4);
    const ls_value b = ls_mul(g, a, copy);
    assert_int_equal(differentiate_by(&n, &b, &n.w, &parts), 2);
    assert_int_equal(parts.parts[0].unit, 1);
    assert_int_equal(parts.parts[1].unit, 4);
    check_ok(ls_graph_verify(g));
    ls_graph_destroy(g);
}

static void test_refusals(void **state) {
    (void)state;
    net n;
    ls_grad_parts parts;
    open_net(&n);
    ls_graph *g = n.g;
    const ls_value none = LS_VALUE_NONE, far = 1000;
    check_fails(ls_graph_differentiate(g, &none, &n.seed, 1, &n.w, 1, &parts), LS_ERR_INVALID,
                "output 0 is not a value of this graph");
    check_fails(ls_graph_differentiate(g, &n.y, &n.seed, 1, &far, 1, &parts), LS_ERR_INVALID,
                "wrt 0 is not a value of this graph");
    const ls_value seeds[1] = {far};
    check_fails(ls_graph_differentiate(g, &n.y, seeds, 1, &n.w, 1, &parts), LS_ERR_INVALID,
                "seed 0 is not a value of this graph");
    const made_attr attr = {1};
    ls_value out[2];
    ls_graph_set_scope(g, "odd");
    ls_graph_node(g, &made_op_two, &attr, &n.y, 1, out);
    check_fails(ls_graph_differentiate(g, out, &n.seed, 1, &n.w, 1, &parts), LS_ERR_UNSUPPORTED,
                "op two (odd) has no gradient");
    /* Through a result that is no float nothing flows, and nothing is asked of the op. */
    check_ok(ls_graph_status(g));
    assert_int_equal(g->phase, LS_PHASE_FORWARD);
    assert_string_equal(g->scope, "odd");
    ls_graph_destroy(g);
}

static ls_status differentiate(void *user) {
    net n;
    ls_grad_parts parts;
    (void)user;
    LS_TRY(ls_graph_create(&n.g));
    ls_status status = build_net(&n);
    for (int i = 0; status == LS_OK && i < 20; i++) {
        n.y = ls_mul(n.g, n.y, n.w);
        status = ls_graph_status(n.g);
    }
    if (status == LS_OK) status = ls_graph_differentiate(n.g, &n.y, &n.seed, 1, &n.w, 1, &parts);
    ls_graph_destroy(n.g);
    return status;
}

static void test_memory(void **state) {
    (void)state;
    assert_true(check_torture(differentiate, NULL) > 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_only_what_is_asked),
        cmocka_unit_test(test_copies_of_weights),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
