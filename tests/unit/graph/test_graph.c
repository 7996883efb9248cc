/* Building: what is refused, that the first failure stays, names, and what nodes are given. */
#include "unit/graph/graph_build.h"

static ls_graph *create(void) {
    ls_graph *g = NULL;
    check_ok(ls_graph_create(&g));
    return g;
}

static void test_values(void **state) {
    (void)state;
    made_graph m;
    open_made(&m);
    const ls_graph *g = m.g;
    check_ok(ls_graph_verify(g));
    assert_int_equal(g->n_values, 7);
    assert_int_equal(g->n_nodes, 3);
    assert_int_equal(g->values[m.w].kind, LS_VALUE_PARAM);
    assert_int_equal(g->values[m.w].role, LS_ROLE_WEIGHT);
    assert_true(g->values[m.w].init.b == 0.5);
    assert_int_equal(g->values[m.b].role, LS_ROLE_BUFFER);
    assert_int_equal(g->values[m.sum].kind, LS_VALUE_ACCUM);
    assert_int_equal(g->values[m.sum].source, m.y);
    assert_int_equal(g->values[m.y].node, 1);
    assert_int_equal(g->nodes[1].unit, 2);
    assert_string_equal(g->nodes[1].scope, "h.1");
    assert_int_equal(g->nodes[2].phase, LS_PHASE_UPDATE);
    assert_int_equal(ls_graph_dtype(g, m.y), LS_DTYPE_F32);
    assert_int_equal(ls_graph_shape(g, m.y).dims[1], 4);
    /* What is no value has no name, no shape, and no address that is read. */
    const ls_value none[] = {LS_VALUE_NONE, -7, 7, INT32_MAX};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        assert_int_equal(ls_graph_shape(g, none[i]).n_dims, 0);
        assert_int_equal(ls_graph_dtype(g, none[i]), LS_DTYPE_F32);
        assert_string_equal(ls_graph_name(g, none[i]), "");
    }
    assert_string_equal(ls_graph_name(g, m.product), "");
    ls_graph_destroy(m.g);
    ls_graph_destroy(NULL);
}

/* The attributes, inputs and scope of a node are the graph's own. */
static void test_copies(void **state) {
    (void)state;
    ls_graph *g = create();
    assert_int_equal(g->unit, -1); /* nobody has set one */
    char name[] = "x", scope[] = "here";
    made_attr attr = {5};
    ls_value in[1] = {ls_graph_input(g, name, LS_DTYPE_F32, made_shape())}, out[2];
    ls_graph_set_scope(g, scope);
    const ls_value first = ls_graph_node(g, &made_op_two, &attr, in, 1, out);
    assert_int_equal(first, out[0]);
    name[0] = scope[0] = '?';
    attr.number = 6;
    in[0] = 99;
    assert_int_equal(out[1], out[0] + 1);
    assert_int_equal(ls_graph_dtype(g, out[1]), LS_DTYPE_I32);
    assert_string_equal(g->nodes[0].scope, "here");
    assert_int_equal(((const made_attr *)g->nodes[0].attr)->number, 5);
    assert_int_equal(g->nodes[0].in[0], 0);
    assert_int_equal(ls_graph_find(g, "x"), 0);
    ls_graph_destroy(g);
}

/* --- failures --- */

static ls_value no_name(ls_graph *g) {
    return ls_graph_input(g, "", LS_DTYPE_F32, made_shape());
}
static ls_value null_name(ls_graph *g) {
    return ls_graph_step_input(g, NULL, LS_DTYPE_F32, made_shape());
}
static ls_value same_name(ls_graph *g) {
    return ls_graph_param(g, "x", LS_DTYPE_F32, made_shape(), made_init);
}
static ls_value output_name(ls_graph *g) {
    check_ok(ls_graph_output(g, "out", 0));
    return ls_graph_input(g, "out", LS_DTYPE_F32, made_shape());
}
static ls_value sum_of_none(ls_graph *g) {
    return ls_graph_accumulate(g, "sum", LS_VALUE_NONE);
}
static ls_value sum_of_later(ls_graph *g) {
    return ls_graph_accumulate(g, "sum", 1);
}
static ls_value sum_of_integers(ls_graph *g) {
    return ls_graph_accumulate(g, "sum", ls_graph_input(g, "ids", LS_DTYPE_I32, made_shape()));
}
static ls_value too_few(ls_graph *g) {
    return ls_graph_node(g, &made_op_two, &(made_attr){0}, NULL, 0, NULL);
}
static ls_value too_many(ls_graph *g) {
    return ls_graph_node(g, &made_op_update, NULL, (ls_value[]){0, 0, 0}, 3, NULL);
}
static ls_value no_input(ls_graph *g) {
    return ls_graph_node(g, &made_op_update, NULL, (ls_value[]){0, 1}, 2, NULL);
}
static ls_value other_shape(ls_graph *g) {
    const ls_shape flat = {.n_dims = 1, .dims = {12}};
    ls_graph_set_scope(g, "h.7.attn");
    return ls_add(g, 0, ls_graph_input(g, "flat", LS_DTYPE_F32, flat));
}

static const struct {
    ls_value (*build)(ls_graph *g);
    const char *message;
} refused[] = {
    {no_name, "needs a name"},
    {null_name, "needs a name"},
    {same_name, "has a value named 'x' already"},
    {output_name, "has a value named 'out' already"},
    {sum_of_none, "accumulate 'sum': no such value"},
    {sum_of_later, "accumulate 'sum': no such value"},
    {sum_of_integers, "accumulate 'sum': only float values can be summed over lanes, got i32"},
    {too_few, "op two takes 1 to 2 inputs, got 0"},
    {too_many, "op made_step takes 2 to 2 inputs, got 3"},
    {no_input, "op made_step: input 1 is not a value of this graph"},
    {other_shape, "h.7.attn: op add: operands must have the same shape"},
};

/* The first failure stays, whatever is built after it, and everything later does nothing. */
static void test_failures_stay(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        ls_graph *g = create();
        const ls_value x = ls_graph_input(g, "x", LS_DTYPE_F32, made_shape());
        ls_value out[2] = {7, 7};
        char *text = NULL;
        uint64_t hash;
        ls_grad_parts parts;
        assert_int_equal(refused[i].build(g), LS_VALUE_NONE);
        const int64_t n_values = g->n_values;
        check_fails(ls_graph_status(g), LS_ERR_INVALID, refused[i].message);
        assert_int_equal(ls_graph_input(g, "later", LS_DTYPE_F32, made_shape()), LS_VALUE_NONE);
        assert_int_equal(ls_graph_accumulate(g, "", 0), LS_VALUE_NONE);
        assert_int_equal(ls_graph_node(g, &made_op_random, NULL, &x, 1, out), LS_VALUE_NONE);
        assert_int_equal(out[0], LS_VALUE_NONE);
        ls_graph_set_scope(g, "later");
        assert_int_equal(g->n_values, n_values);
        assert_int_equal(g->n_nodes, 0);
        check_fails(ls_graph_output(g, "y", x), LS_ERR_INVALID, refused[i].message);
        check_fails(ls_graph_verify(g), LS_ERR_INVALID, refused[i].message);
        check_fails(ls_graph_print(g, &text), LS_ERR_INVALID, refused[i].message);
        check_fails(ls_graph_hash(g, &hash), LS_ERR_INVALID, refused[i].message);
        check_fails(ls_graph_differentiate(g, &x, NULL, 1, &x, 1, &parts), LS_ERR_INVALID,
                    refused[i].message);
        ls_graph_destroy(g);
    }
}

/* A caller's own failure is kept like the graph's, with its status. */
static void test_own_failure(void **state) {
    (void)state;
    ls_graph *g = create();
    assert_int_equal(ls_graph_fail(g, LS_ERR_UNSUPPORTED, "no %d", 1), LS_VALUE_NONE);
    assert_int_equal(ls_graph_fail(g, LS_ERR_CONFIG, "no %d", 2), LS_VALUE_NONE);
    check_fails(ls_graph_status(g), LS_ERR_UNSUPPORTED, "no 1");
    ls_graph_destroy(g);
}

static void test_outputs(void **state) {
    (void)state;
    made_graph m;
    open_made(&m);
    assert_int_equal(ls_graph_find(m.g, "y"), m.y);
    check_fails(ls_graph_output(m.g, "z", 7), LS_ERR_INVALID, "output 'z': no such value");
    check_fails(ls_graph_output(m.g, "z", -1), LS_ERR_INVALID, "output 'z': no such value");
    check_fails(ls_graph_output(m.g, "", m.y), LS_ERR_INVALID, "needs a name");
    check_fails(ls_graph_output(m.g, NULL, m.y), LS_ERR_INVALID, "needs a name");
    check_ok(ls_graph_status(m.g)); /* none of these is a builder's */
    assert_int_equal(ls_graph_find(m.g, "z"), LS_VALUE_NONE);
    /* The name of an output comes before that of a leaf. */
    check_ok(ls_graph_output(m.g, "w", m.product));
    assert_int_equal(ls_graph_find(m.g, "w"), m.product);
    ls_graph_destroy(m.g);
}

/* --- names --- */

enum { MANY = 3000 };

static void test_find_many(void **state) {
    (void)state;
    ls_graph *g = create();
    char name[32];
    assert_int_equal(ls_graph_find(g, "anything"), LS_VALUE_NONE);
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "h.%d.w", i);
        const ls_value v = ls_graph_input(g, name, LS_DTYPE_F32, made_shape());
        assert_int_equal(v, 2 * i);
        /* results between the leaves have no names */
        assert_int_equal(ls_graph_node(g, &made_op_random, NULL, &v, 1, NULL), 2 * i + 1);
        snprintf(name, sizeof name, "h.%d.w", i / 2);
        assert_int_equal(ls_graph_find(g, name), 2 * (i / 2));
    }
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "h.%d.w", i);
        assert_int_equal(ls_graph_find(g, name), 2 * i);
        snprintf(name, sizeof name, "h.%d.b", i);
        assert_int_equal(ls_graph_find(g, name), LS_VALUE_NONE);
    }
    static const char *const absent[] = {"", "h", "h.0.w ", "H.0.w", "h.3000.w"};
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++)
        assert_int_equal(ls_graph_find(g, absent[i]), LS_VALUE_NONE);
    check_ok(ls_graph_status(g));
    ls_graph_destroy(g);
}

/* --- what depends on persistent values alone --- */

static void test_invariant(void **state) {
    (void)state;
    made_graph m;
    open_made(&m);
    ls_graph *g = m.g;
    const ls_value copy = ls_add(g, m.w, m.b),
                   noise = ls_graph_node(g, &made_op_random, NULL, &m.w, 1, NULL);
    ls_graph_set_phase(g, LS_PHASE_PREPARE);
    const ls_value prepared = ls_graph_node(g, &made_op_random, NULL, &m.w, 1, NULL);
    ls_graph_set_phase(g, LS_PHASE_BACKWARD);
    const ls_value later = ls_add(g, m.w, m.b);
    const struct {
        ls_value v;
        int is;
    } cases[] = {{m.x, 0},       {m.w, 1},  {m.b, 1},   {m.product, 0}, {m.sum, 0},
                 {m.updated, 0}, {copy, 1}, {noise, 0}, {prepared, 1},  {later, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (ls_graph_is_invariant(g, cases[i].v) != cases[i].is) fail_msg("case %d", (int)i);
    ls_graph_destroy(g);
}

static void test_grad_dtype(void **state) {
    (void)state;
    ls_graph *g = create();
    const ls_value w = ls_graph_param(g, "w", LS_DTYPE_BF16, made_shape(), made_init),
                   x = ls_graph_input(g, "x", LS_DTYPE_BF16, made_shape()),
                   d = ls_graph_param(g, "d", LS_DTYPE_F64, made_shape(), made_init);
    assert_int_equal(ls_graph_grad_dtype(g, w), LS_DTYPE_F32);
    assert_int_equal(ls_graph_grad_dtype(g, x), LS_DTYPE_BF16);
    assert_int_equal(ls_graph_grad_dtype(g, d), LS_DTYPE_F64);
    ls_graph_destroy(g);
}

static void test_pieces(void **state) {
    (void)state;
    made_graph m;
    open_made(&m);
    const ls_shape whole = {.n_dims = 1, .dims = {24}};
    ls_graph_set_piece(m.g, m.w, 12, whole);
    ls_graph_set_piece(m.g, -1, 12, whole);
    ls_graph_set_piece(m.g, 700, 12, whole);
    assert_int_equal(ls_value_whole_type(&m.g->values[m.w]).shape.dims[0], 24);
    assert_int_equal(ls_value_whole_type(&m.g->values[m.b]).shape.n_dims, 2);
    ls_graph_destroy(m.g);
}

/* --- memory --- */

static ls_status build_all(void *user) {
    made_graph m;
    char name[32];
    (void)user;
    LS_TRY(ls_graph_create(&m.g));
    ls_status status = build_made(&m);
    for (int i = 0; status == LS_OK && i < 200; i++) {
        snprintf(name, sizeof name, "more.%d", i);
        ls_graph_input(m.g, name, LS_DTYPE_F32, made_shape());
        status = ls_graph_status(m.g);
    }
    if (status == LS_OK && ls_graph_find(m.g, "more.199") < 0) status = LS_ERR_INTERNAL;
    ls_graph_destroy(m.g);
    return status;
}

static void test_memory(void **state) {
    (void)state;
    assert_true(check_torture(build_all, NULL) > 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_failures_stay), cmocka_unit_test(test_own_failure),
        cmocka_unit_test(test_outputs),       cmocka_unit_test(test_find_many),
        cmocka_unit_test(test_invariant),     cmocka_unit_test(test_grad_dtype),
        cmocka_unit_test(test_pieces),        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
