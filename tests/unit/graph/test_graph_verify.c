/* The verifier finds each kind of damage and names the node. */
#include "unit/graph/graph_build.h"

static void break_input(made_graph *m) {
    m->g->nodes[1].in[0] = 70;
}
static void break_order(made_graph *m) {
    m->g->nodes[0].in[1] = m->y;
}
static void break_self(made_graph *m) {
    m->g->nodes[0].in[1] = m->product;
}
static void break_type(made_graph *m) {
    m->g->values[m->y].type.dtype = LS_DTYPE_BF16;
}
static void break_shape(made_graph *m) {
    m->g->values[m->y].type.shape.dims[0] = 2;
}
static void break_operand(made_graph *m) {
    m->g->values[m->b].type.shape.dims[0] = 2;
}
static void break_sum_read(made_graph *m) {
    m->g->nodes[2].phase = LS_PHASE_BACKWARD;
}
static void break_forward(made_graph *m) {
    m->g->nodes[0].phase = LS_PHASE_BACKWARD;
}
static void break_input_read(made_graph *m) {
    m->g->nodes[0].phase = LS_PHASE_PREPARE;
}
static void break_update_read(made_graph *m) {
    m->g->nodes[2].in[1] = m->y;
}
static void break_writer(made_graph *m) {
    m->g->nodes[2].in[1] = m->b;
    m->g->nodes[2].phase = LS_PHASE_FORWARD;
}
static void break_reader(made_graph *m) {
    ls_graph_set_phase(m->g, LS_PHASE_UPDATE);
    ls_add(m->g, m->w, m->b);
}
static void break_writers(made_graph *m) {
    ls_graph_set_phase(m->g, LS_PHASE_UPDATE);
    ls_graph_node(m->g, &made_op_update, NULL, (ls_value[]){m->w, m->sum}, 2, NULL);
}
static void break_sum(made_graph *m) {
    m->g->values[m->sum].source = m->w;
}
static void break_sum_shape(made_graph *m) {
    m->g->nodes[2].in[1] = m->b;
    m->g->values[m->sum].type.shape.dims[0] = 2;
}

static const struct {
    void (*damage)(made_graph *m);
    const char *message;
} cases[] = {
    {break_input, "node 1 (add in h.1): input 0 does not exist"},
    {break_order, "node 0 (mul in h.0): input 1 is made later, by node 1"},
    {break_self, "node 0 (mul in h.0): input 1 is made later, by node 0"},
    {break_type, "node 1 (add in h.1): stored result types differ"},
    {break_shape, "node 1 (add in h.1): stored result types differ"},
    {break_operand, "node 1: op add: operands must have the same shape"},
    {break_sum_read, "node 2 (made_step in h.1): a BACKWARD node may not read input 1 (sum/y)"},
    {break_forward, "node 1 (add in h.1): a FORWARD node may not read input 0"},
    {break_input_read, "node 0 (mul in h.0): a PREPARE node may not read input 1 (x)"},
    {break_update_read, "node 2 (made_step in h.1): a UPDATE node may not read input 1"},
    {break_writer, "node 2 (made_step in h.1): updates 'w' in phase FORWARD; only UPDATE may"},
    {break_reader, "node 3 (add in h.1): reads 'w' after it was updated in place"},
    {break_writers, "node 3 (made_step in h.1): reads 'w' after it was updated in place"},
    {break_sum, "lane sum 'sum/y' must have a FORWARD or BACKWARD result"},
    {break_sum_shape, "lane sum 'sum/y' must have a FORWARD or BACKWARD result of its own shape"},
};

static void test_damage(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        made_graph m;
        open_made(&m);
        check_ok(ls_graph_verify(m.g));
        cases[i].damage(&m);
        check_ok(ls_graph_status(m.g));
        ls_error_clear();
        const ls_status status = ls_graph_verify(m.g);
        if (status == LS_OK || !strstr(ls_error_message(), cases[i].message) ||
            !strstr(ls_error_message(), "graph verify: "))
            fail_msg("case %d: %s, wanted %s", (int)i, ls_error_message(), cases[i].message);
        ls_graph_destroy(m.g);
    }
}

static ls_status verify(void *user) {
    return ls_graph_verify(user);
}

static void test_memory(void **state) {
    (void)state;
    made_graph m;
    open_made(&m);
    assert_true(check_torture(verify, m.g) >= 1);
    ls_graph_destroy(m.g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
