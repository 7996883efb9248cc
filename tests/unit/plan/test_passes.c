/* The passes one by one, on small graphs: what each moves, drops or adds, and what it leaves alone. */
#include "op/add/add.h"
#include "op/matmul/matmul.h"
#include "op/mean_squared_error/mean_squared_error.h"
#include "op/relu/relu.h"
#include "op/scale/scale.h"
#include "plan/pass/pass.h"
#include "unit/exec/small_program.h"

static ls_graph *make_graph(void) {
    ls_graph *graph = NULL;
    check_ok(ls_graph_create(&graph));
    ls_graph_set_phase(graph, LS_PHASE_FORWARD);
    return graph;
}

static int count_nodes(const ls_graph *g, const char *op, ls_phase phase) {
    int n = 0;
    for (int64_t i = 0; i < g->n_nodes; i++)
        n += strcmp(g->nodes[i].op->name, op) == 0 && g->nodes[i].phase == phase;
    return n;
}

static ls_value param(ls_graph *g, const char *name, int64_t rows, int64_t columns) {
    return ls_graph_param(g, name, LS_DTYPE_F32, (ls_shape){2, {rows, columns}},
                          (ls_init){LS_INIT_ZERO, 0, 0});
}

/* loss = mse(relu(x W) + x W', relu(y)), W' = 2 W; one dead node beside it */
static ls_graph *make_model(void) {
    ls_graph *g = make_graph();
    const ls_value x = ls_graph_input(g, "x", LS_DTYPE_F32, (ls_shape){2, {4, 8}});
    const ls_value w = param(g, "w", 8, 6);
    ls_graph_set_unit(g, 0);
    const ls_value twice = ls_scale(g, w, 2);
    const ls_value a = ls_relu(g, ls_matmul(g, x, w, 0, 0));
    const ls_value b = ls_matmul(g, x, twice, 0, 0);
    const ls_value sum = ls_add(g, a, b);
    (void)ls_scale(g, sum, 3); /* nobody reads it */
    const ls_value y = ls_relu(g, ls_graph_input(g, "y", LS_DTYPE_F32, (ls_shape){2, {4, 6}}));
    check_ok(ls_graph_output(g, "loss", ls_mean_squared_error(g, sum, y, 1)));
    check_ok(ls_graph_status(g));
    return g;
}

static void test_prune(void **state) {
    (void)state;
    ls_graph *g = make_model();
    assert_int_equal(count_nodes(g, "scale", LS_PHASE_FORWARD), 2);
    const int64_t n = g->n_nodes;
    check_ok(ls_pass_prune(&g));
    check_ok(ls_graph_verify(g));
    assert_int_equal(g->n_nodes, n - 1);
    assert_int_equal(count_nodes(g, "scale", LS_PHASE_FORWARD), 1);
    check_ok(ls_pass_prune(&g));
    assert_int_equal(g->n_nodes, n - 1);
    ls_graph_destroy(g);
}

static void test_hoist(void **state) {
    (void)state;
    ls_graph *g = make_model();
    check_ok(ls_pass_hoist(g));
    check_ok(ls_graph_verify(g));
    /* the doubled weight is made once a step; what reads x stays in the lane */
    assert_int_equal(count_nodes(g, "scale", LS_PHASE_PREPARE), 1);
    assert_int_equal(count_nodes(g, "matmul", LS_PHASE_FORWARD), 2);
    assert_int_equal(count_nodes(g, "matmul", LS_PHASE_PREPARE), 0);
    ls_graph_destroy(g);
}

static void test_precision(void **state) {
    (void)state;
    static const ls_dtype dtypes[] = {LS_DTYPE_F32, LS_DTYPE_BF16, LS_DTYPE_F16};
    for (int precision = 0; precision < 3; precision++) {
        ls_graph *g = make_model();
        check_ok(ls_pass_precision(&g, (ls_precision)precision));
        check_ok(ls_graph_verify(g));
        /* one copy of w, x and y each, however many read them; the master stays f32 */
        assert_int_equal(count_nodes(g, "cast", LS_PHASE_FORWARD), precision ? 3 : 0);
        assert_int_equal(ls_graph_dtype(g, ls_graph_find(g, "w")), LS_DTYPE_F32);
        for (int64_t i = 0; i < g->n_nodes; i++) {
            const ls_node *node = &g->nodes[i];
            if (strcmp(node->op->name, "matmul") != 0) continue;
            assert_int_equal(ls_graph_dtype(g, node->in[0]), dtypes[precision]);
        }
        ls_graph_destroy(g);
    }
}

static void test_sums_and_deposit(void **state) {
    (void)state;
    ls_graph *g = make_model();
    ls_grad_parts parts = {0};
    check_ok(ls_pass_backward(g, &parts));
    assert_true(parts.n_parts >= 1);
    check_ok(ls_pass_lane_sums(g));
    const ls_value sum = ls_graph_find(g, "sum/loss");
    assert_int_equal(g->values[sum].kind, LS_VALUE_ACCUM);
    assert_int_equal(ls_graph_find(g, "sum/correct"), LS_VALUE_NONE);
    const ls_value grad = ls_graph_accumulate(g, "grad/w", parts.parts[0].grad);
    check_ok(ls_pass_deposit(g, 1, 0));
    check_ok(ls_graph_verify(g));
    /* the loss is made in the forward pass and also fetched: its sum gets an f32 copy of its own, in the lane's last segment */
    const ls_node *copy = &g->nodes[g->values[g->values[sum].source].node];
    assert_string_equal(copy->op->name, "cast");
    assert_int_equal(copy->phase, LS_PHASE_BACKWARD);
    assert_int_equal(ls_graph_dtype(g, g->values[grad].source), LS_DTYPE_F32);
    ls_graph_destroy(g);
}

static void test_backward_needs_a_loss(void **state) {
    (void)state;
    ls_graph *g = make_graph();
    ls_grad_parts parts;
    (void)param(g, "w", 2, 2);
    check_fails(ls_pass_backward(g, &parts), LS_ERR_INVALID, "no output 'loss'");
    ls_graph_destroy(g);
}

/* A 4-layer GPT with its gradient. */
static ls_graph *make_gpt(void) {
    ls_graph *g = small_graph(4);
    ls_grad_parts parts = {0};
    check_ok(ls_pass_backward(g, &parts));
    check_ok(ls_pass_lane_sums(g));
    for (int i = 0; i < parts.n_parts; i++) {
        char name[32];
        snprintf(name, sizeof name, "g/%d", i);
        (void)ls_graph_accumulate(g, name, parts.parts[i].grad);
    }
    check_ok(ls_graph_status(g));
    return g;
}

static int count_recomputed(ls_recompute kind, int64_t bytes, const char *op) {
    ls_graph *g = make_gpt();
    const int before = count_nodes(g, op, LS_PHASE_BACKWARD);
    const ls_plan_options options = {.recompute = kind, .recompute_bytes = bytes};
    ls_recompute_report report;
    check_ok(ls_pass_recompute(&g, &options, &report));
    check_ok(ls_graph_verify(g));
    const int n = count_nodes(g, op, LS_PHASE_BACKWARD) - before;
    ls_graph_destroy(g);
    return n;
}

/* Bytes in the refusal of a budget of one byte: what a lane keeps with every layer recomputed. */
static int64_t least_bytes(void) {
    ls_graph *g = make_gpt();
    const ls_plan_options options = {.recompute = LS_RECOMPUTE_BYTES, .recompute_bytes = 1};
    ls_recompute_report report;
    check_fails(ls_pass_recompute(&g, &options, &report), LS_ERR_CONFIG,
                "less than one lane needs");
    const char *at = strstr(ls_error_message(), "recomputed (");
    assert_non_null(at);
    const int64_t bytes = strtoll(at + strlen("recomputed ("), NULL, 10);
    check_ok(ls_graph_verify(g)); /* as it was */
    ls_graph_destroy(g);
    return bytes;
}

static void test_recompute(void **state) {
    (void)state;
    assert_int_equal(count_recomputed(LS_RECOMPUTE_NONE, 0, "layernorm"), 0);
    assert_int_equal(count_recomputed(LS_RECOMPUTE_ATTENTION, 0, "attention"), 4);
    assert_int_equal(count_recomputed(LS_RECOMPUTE_ATTENTION, 0, "layernorm"), 0);
    /* cheap: two norms a layer, the activation out of its product's other result, nothing that multiplies matrices */
    assert_int_equal(count_recomputed(LS_RECOMPUTE_CHEAP, 0, "layernorm"), 8);
    assert_int_equal(count_recomputed(LS_RECOMPUTE_CHEAP, 0, "gelu"), 4);
    assert_int_equal(count_recomputed(LS_RECOMPUTE_CHEAP, 0, "matmul"), 0);
    assert_int_equal(count_recomputed(LS_RECOMPUTE_CHEAP, 0, "attention"), 0);
    const int all = count_recomputed(LS_RECOMPUTE_LAYER, 0, "attention");
    assert_int_equal(all, 4);
    /* a budget takes as few layers as it needs */
    const int64_t least = least_bytes();
    assert_int_equal(count_recomputed(LS_RECOMPUTE_BYTES, least, "attention"), 4);
    assert_int_equal(count_recomputed(LS_RECOMPUTE_BYTES, INT64_MAX, "attention"), 0);
    int last = 4, seen = 0;
    for (int64_t bytes = least; last > 0; bytes += 512, seen++) {
        const int n = count_recomputed(LS_RECOMPUTE_BYTES, bytes, "attention");
        assert_in_range(n, last - 1, last); /* more bytes never cost more layers, one at a time */
        last = n;
    }
    assert_true(seen > 4);
}

typedef struct pass_run {
    int which;
} pass_run;

static ls_status run_pass(void *user) {
    const pass_run *r = user;
    ls_graph *g = NULL;
    LS_TRY(ls_graph_create(&g));
    ls_graph_set_phase(g, LS_PHASE_FORWARD);
    ls_graph_set_unit(g, 0);
    const ls_value x = ls_graph_input(g, "x", LS_DTYPE_F32, (ls_shape){2, {4, 8}});
    const ls_value y = ls_matmul(g, x, param(g, "w", 8, 6), 0, 0);
    const ls_value target = ls_relu(g, ls_graph_input(g, "y", LS_DTYPE_F32, (ls_shape){2, {4, 6}}));
    ls_status status = ls_graph_output(g, "loss", ls_mean_squared_error(g, y, target, 1));
    ls_grad_parts parts = {0};
    const ls_plan_options options = {.recompute = LS_RECOMPUTE_LAYER};
    ls_recompute_report report;
    if (status == LS_OK) status = ls_pass_precision(&g, LS_PRECISION_BF16);
    if (status == LS_OK) status = ls_pass_backward(g, &parts);
    if (status == LS_OK) status = ls_pass_lane_sums(g);
    if (status == LS_OK && parts.n_parts < 1) status = LS_FAIL(LS_ERR_INTERNAL, "no gradient");
    if (status == LS_OK) (void)ls_graph_accumulate(g, "grad/w", parts.parts[0].grad);
    if (status == LS_OK) status = ls_graph_status(g);
    if (status == LS_OK) status = ls_pass_prune(&g);
    if (status == LS_OK) status = ls_pass_hoist(g);
    if (status == LS_OK) status = ls_pass_recompute(&g, &options, &report);
    if (status == LS_OK) status = ls_pass_deposit(g, 1, r->which);
    if (status == LS_OK) status = ls_graph_verify(g);
    ls_graph_destroy(g);
    return status;
}

static void test_out_of_memory(void **state) {
    (void)state;
    for (int which = 0; which < 2; which++) {
        pass_run run = {which};
        assert_true(check_torture(run_pass, &run) > 10);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prune),
        cmocka_unit_test(test_hoist),
        cmocka_unit_test(test_precision),
        cmocka_unit_test(test_sums_and_deposit),
        cmocka_unit_test(test_backward_needs_a_loss),
        cmocka_unit_test(test_recompute),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
