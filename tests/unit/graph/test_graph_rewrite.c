/* Copies of a graph: the same, or with nodes replaced; and what goes wrong within one. */
#include "unit/graph/graph_build.h"

static char *print(const ls_graph *g) {
    char *text = NULL;
    check_ok(ls_graph_print(g, &text));
    return text;
}

static void test_same(void **state) {
    (void)state;
    made_graph m;
    ls_graph *copy = NULL;
    uint64_t before, after;
    open_made(&m);
    ls_graph_set_piece(m.g, m.w, 5, made_shape());
    m.g->nodes[2].bucket = 3;
    check_ok(ls_graph_create(&copy));
    check_ok(ls_graph_rewrite(m.g, copy, NULL, NULL));
    check_ok(ls_graph_verify(copy));
    char *a = print(m.g), *b = print(copy);
    assert_string_equal(a, b);
    /* What print leaves out. */
    for (int64_t v = 0; v < m.g->n_values; v++) {
        assert_int_equal(copy->values[v].role, m.g->values[v].role);
        assert_true(copy->values[v].init.kind == m.g->values[v].init.kind &&
                    copy->values[v].init.b == m.g->values[v].init.b);
    }
    check_ok(ls_graph_hash(m.g, &before));
    check_ok(ls_graph_hash(copy, &after));
    assert_true(before == after);
    assert_int_equal(copy->values[m.w].piece, 5);
    assert_int_equal(copy->nodes[2].bucket, 3);
    assert_int_equal(copy->unit, m.g->unit);
    assert_int_equal(copy->phase, m.g->phase);
    /* Nothing of the copy lies in the graph it was made of. */
    ls_graph_destroy(m.g);
    char *c = print(copy);
    assert_string_equal(c, b);
    assert_int_equal(ls_graph_find(copy, "w"), m.w);
    ls_free(a);
    ls_free(b);
    ls_free(c);
    ls_graph_destroy(copy);
}

typedef struct replacer {
    const ls_op *op; /* whose nodes are replaced by an addition of their inputs */
    int n_seen, n_more;
    ls_status fails;
} replacer;

static ls_status replace(void *user, const ls_graph *from, const ls_node *node, ls_graph *to,
                         ls_value *map, int *handled) {
    replacer *r = user;
    (void)from;
    r->n_seen++;
    if (node->op != r->op) {
        *handled = 0;
        return LS_OK;
    }
    if (r->fails != LS_OK) return LS_FAIL(r->fails, "this pass gives up");
    ls_value v = map[node->in[0]];
    for (int i = 0; i < r->n_more; i++) v = ls_add(to, v, map[node->in[0]]);
    map[node->out[0]] = ls_add(to, v, map[node->in[1]]);
    return ls_graph_status(to);
}

/* Later nodes, lane sums and outputs follow what stands in their place. */
static void test_replace(void **state) {
    (void)state;
    made_graph m;
    ls_graph *copy = NULL;
    open_made(&m);
    check_ok(ls_graph_create(&copy));
    replacer r = {.op = m.g->nodes[0].op, .n_more = 2};
    check_ok(ls_graph_rewrite(m.g, copy, replace, &r));
    check_ok(ls_graph_verify(copy));
    assert_int_equal(r.n_seen, 3);
    assert_int_equal(copy->n_nodes, 5);
    const ls_value y = ls_graph_find(copy, "y");
    assert_int_equal(copy->values[y].node, 3);
    assert_int_equal(copy->nodes[3].in[0], copy->nodes[2].out[0]);
    assert_int_equal(copy->values[ls_graph_find(copy, "sum/y")].source, y);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(copy->nodes[i].unit, 1);
        assert_string_equal(copy->nodes[i].scope, "h.0");
    }
    assert_int_equal(copy->nodes[4].phase, LS_PHASE_UPDATE);
    ls_graph_destroy(copy);
    ls_graph_destroy(m.g);
}

static void test_failures(void **state) {
    (void)state;
    made_graph m;
    ls_graph *copy = NULL;
    open_made(&m);
    check_ok(ls_graph_create(&copy));
    replacer r = {.op = m.g->nodes[1].op, .fails = LS_ERR_UNSUPPORTED};
    check_fails(ls_graph_rewrite(m.g, copy, replace, &r), LS_ERR_UNSUPPORTED, "gives up");
    assert_int_equal(r.n_seen, 2);
    check_ok(ls_graph_verify(m.g)); /* as it was */
    /* Into a graph that is not empty: names meet. */
    check_fails(ls_graph_rewrite(m.g, copy, NULL, NULL), LS_ERR_INVALID, "named 'x' already");
    ls_graph_destroy(copy);
    check_ok(ls_graph_create(&copy));
    ls_graph_fail(m.g, LS_ERR_INVALID, "spoiled");
    check_fails(ls_graph_rewrite(m.g, copy, NULL, NULL), LS_ERR_INVALID, "spoiled");
    assert_int_equal(copy->n_values, 0);
    ls_graph_destroy(copy);
    ls_graph_destroy(m.g);
}

static ls_status rewrite_again(void *user) {
    ls_graph *copy = NULL;
    LS_TRY(ls_graph_create(&copy));
    replacer r = {.op = ((ls_graph *)user)->nodes[0].op, .n_more = 40};
    const ls_status status = ls_graph_rewrite(user, copy, replace, &r);
    ls_graph_destroy(copy);
    return status;
}

static void test_memory(void **state) {
    (void)state;
    made_graph m;
    open_made(&m);
    assert_true(check_torture(rewrite_again, m.g) > 5);
    ls_graph_destroy(m.g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same),
        cmocka_unit_test(test_replace),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
