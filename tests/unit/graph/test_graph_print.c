/* What is printed of a graph, and the hash of its structure. */
#include "unit/graph/graph_build.h"
#include "unit/observe/markup.h"

static const char printed[] = "%0 = input \"x\" f32[3, 4]\n"
                              "%1 = param \"w\" f32[3, 4]\n"
                              "%2 = state \"b\" f32[3, 4]\n"
                              "%5 = accum \"sum/y\" f32[3, 4] of %4\n"
                              "%3 = mul(%1, %0) : f32[3, 4]  # forward unit 1 h.0\n"
                              "%4 = add(%3, %2) : f32[3, 4]  # forward unit 2 h.1\n"
                              "%6 = made_step(%1, %5) : f32[3, 4]  # update unit 2 h.1\n"
                              "output \"y\" %4\n";

static void test_text(void **state) {
    (void)state;
    made_graph m;
    char *text = NULL;
    open_made(&m);
    check_ok(ls_graph_print(m.g, &text));
    assert_string_equal(text, printed);
    ls_free(text);
    const made_attr attr = {9};
    ls_graph_set_scope(m.g, "");
    ls_graph_node(m.g, &made_op_two, &attr, (ls_value[]){m.x, m.y}, 2, NULL);
    check_ok(ls_graph_print(m.g, &text));
    assert_non_null(
        strstr(text, "%7, %8 = two(%0, %4) {number=9} : f32[3, 4], i32[3, 4]  # forward unit 2\n"));
    ls_free(text);
    ls_graph_destroy(m.g);
}

/* Braces and quotes are closed in their order. */
static void check_dot(const char *text) {
    int depth = 0, is_quoted = 0;
    for (const char *at = text; *at; at++) {
        if (is_quoted && *at == '\\' && at[1]) {
            at++;
            continue;
        }
        if (*at == '"') is_quoted = !is_quoted;
        if (is_quoted) continue;
        depth += (*at == '{' || *at == '[') - (*at == '}' || *at == ']');
        assert_true(depth >= 0);
    }
    assert_int_equal(depth, 0);
    assert_false(is_quoted);
}

static void test_pictures(void **state) {
    (void)state;
    made_graph m;
    char *text = NULL;
    open_made(&m);
    check_ok(ls_graph_print_dot(m.g, &text));
    check_dot(text);
    assert_int_equal(count_text(text, " -> "), 5 + 1 + 1); /* of leaves, of results, of the sum */
    assert_non_null(strstr(text, "n1 -> v5 [style=dashed"));
    ls_free(text);
    check_ok(ls_graph_print_svg(m.g, &text));
    check_markup(text);
    assert_int_equal(count_text(text, "<g>"), 3);
    assert_int_equal(count_text(text, "class=\"edge\""), 1);
    assert_int_equal(count_text(text, "class=\"sum\""), 1);
    ls_free(text);
    ls_graph_destroy(m.g);
}

/* Names are anybody's. */
static void test_hostile_names(void **state) {
    (void)state;
    static const char *const names[] = {"a\"];x", "<b>&", "back\\", "\\\"", "'q'", "100 %s %n"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        made_graph m;
        char *text = NULL;
        open_made(&m);
        ls_graph_set_scope(m.g, names[i]);
        const ls_value v = ls_graph_input(m.g, names[i], LS_DTYPE_F32, made_shape());
        ls_add(m.g, v, m.y);
        check_ok(ls_graph_print_dot(m.g, &text));
        check_dot(text);
        assert_int_equal(count_text(text, ";\n") >= 10, 1);
        ls_free(text);
        check_ok(ls_graph_print_svg(m.g, &text));
        check_markup(text);
        ls_free(text);
        ls_graph_destroy(m.g);
    }
}

static void test_empty(void **state) {
    (void)state;
    ls_graph *g = NULL;
    char *text = NULL;
    uint64_t hash;
    check_ok(ls_graph_create(&g));
    check_ok(ls_graph_verify(g));
    check_ok(ls_graph_hash(g, &hash));
    check_ok(ls_graph_print(g, &text));
    assert_true(!text || !*text);
    ls_free(text);
    check_ok(ls_graph_print_dot(g, &text));
    check_dot(text);
    ls_free(text);
    check_ok(ls_graph_print_svg(g, &text));
    check_markup(text);
    ls_free(text);
    ls_graph_destroy(g);
}

/* --- the hash --- */

enum { N_CHANGES = 9 };

static void change(made_graph *m, int i) {
    ls_graph *g = m->g;
    switch (i) {
    case 0: /* nothing */
        break;
    case 1:
        g->values[m->w].init.b = 0.25;
        break;
    case 2:
        g->values[m->w].name = "v";
        break;
    case 3:
        g->values[m->y].type.dtype = LS_DTYPE_F64;
        break;
    case 4:
        g->values[m->x].type.shape.dims[0] = 4;
        break;
    case 5:
        g->nodes[0].in[0] = m->x;
        break;
    case 6:
        g->nodes[1].unit = 3;
        break;
    case 7:
        g->nodes[2].phase = LS_PHASE_BACKWARD;
        break;
    default:
        g->nodes[1].op = g->nodes[0].op;
    }
}

static void test_hash(void **state) {
    (void)state;
    uint64_t hashes[N_CHANGES], again;
    for (int i = 0; i < N_CHANGES; i++) {
        made_graph m;
        open_made(&m);
        change(&m, i);
        check_ok(ls_graph_hash(m.g, &hashes[i]));
        for (int k = 0; k < i; k++)
            if (hashes[k] == hashes[i]) fail_msg("changes %d and %d have one hash", k, i);
        /* Where in the model a result is called is no structure. */
        m.g->nodes[0].scope = "elsewhere";
        check_ok(ls_graph_hash(m.g, &again));
        assert_true(again == hashes[i]);
        ls_graph_destroy(m.g);
    }
}

static ls_status print_all(void *user) {
    ls_status (*const prints[])(const ls_graph *, char **) = {ls_graph_print, ls_graph_print_dot,
                                                              ls_graph_print_svg};
    uint64_t hash;
    for (int i = 0; i < 3; i++) {
        char *text = NULL;
        LS_TRY(prints[i](user, &text));
        ls_free(text);
    }
    return ls_graph_hash(user, &hash);
}

static void test_memory(void **state) {
    (void)state;
    made_graph m;
    open_made(&m);
    assert_true(check_torture(print_all, m.g) >= 5);
    ls_graph_destroy(m.g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),          cmocka_unit_test(test_pictures),
        cmocka_unit_test(test_hostile_names), cmocka_unit_test(test_empty),
        cmocka_unit_test(test_hash),          cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
