/* The pass `fuse` on small graphs: what becomes one node and what stays, and what op fused and the norms refuse. */
#include "lockstep/plan.h"
#include "op/add/add.h"
#include "op/batchnorm/batchnorm.h"
#include "op/cast/cast.h"
#include "op/dropout/dropout.h"
#include "op/fused/fused.h"
#include "op/gelu/gelu.h"
#include "op/layernorm/layernorm.h"
#include "op/matmul/matmul.h"
#include "op/mul/mul.h"
#include "op/op.h"
#include "op/reduce_rows/reduce_rows.h"
#include "op/relu/relu.h"
#include "op/rmsnorm/rmsnorm.h"
#include "op/scale/scale.h"
#include "plan/pass/pass.h"
#include "unit/base/check.h"

static ls_graph *make_graph(void) {
    ls_graph *g = NULL;
    check_ok(ls_graph_create(&g));
    ls_graph_set_unit(g, 0);
    return g;
}

static ls_value input(ls_graph *g, const char *name, int64_t rows, int64_t columns) {
    return ls_graph_input(g, name, LS_DTYPE_F32, (ls_shape){2, {rows, columns}});
}

static void output(ls_graph *g, const char *name, ls_value v) {
    check_ok(ls_graph_output(g, name, v));
}

typedef struct fused_graph {
    ls_graph *g;
    ls_arena *arena;
    ls_fuse_report report;
} fused_graph;

/* Runs the pass; takes the graph. */
static fused_graph fuse(ls_graph *g, int one_stage, int zero_bubble) {
    fused_graph f = {.g = g};
    check_ok(ls_arena_create(&f.arena));
    check_ok(ls_graph_verify(g));
    const ls_fuse_options options = {
        .one_stage = one_stage, .zero_bubble = zero_bubble, .arena = f.arena};
    check_ok(ls_pass_fuse(&f.g, &options, &f.report));
    check_ok(ls_graph_verify(f.g));
    return f;
}

static void free_fused(fused_graph *f) {
    ls_graph_destroy(f->g);
    ls_arena_destroy(f->arena);
}

static const ls_node *find_node(const ls_graph *g, const char *op) {
    for (int64_t n = 0; n < g->n_nodes; n++)
        if (strcmp(g->nodes[n].op->name, op) == 0) return &g->nodes[n];
    return NULL;
}

/* "add scale matmul": the graph's ops in order. */
static void check_ops(const ls_graph *g, const char *want) {
    char got[512] = "";
    for (int64_t n = 0; n < g->n_nodes; n++) {
        if (n) strcat(got, " ");
        strcat(got, g->nodes[n].op->name);
    }
    assert_string_equal(got, want);
}

static void check_attr(const ls_node *node, const char *want) {
    ls_text text = {0};
    node->op->print(node->attr, &text);
    check_ok(text.status);
    assert_string_equal(text.data, want);
    ls_text_deinit(&text);
}

static void test_chain(void **state) {
    (void)state;
    ls_graph *g = make_graph();
    const ls_value a = input(g, "a", 4, 6), b = input(g, "b", 4, 6);
    const ls_value s = ls_graph_input(g, "s", LS_DTYPE_F32, (ls_shape){0});
    const ls_value sum = ls_add(g, a, b);
    const ls_value low = ls_cast(g, ls_mul(g, sum, s), LS_DTYPE_BF16);
    output(g, "y", ls_scale(g, low, 2));
    fused_graph f = fuse(g, 1, 0);
    check_ops(f.g, "fused");
    check_attr(&f.g->nodes[0], "3=add(0,1) 4=mul(3,2) 5=cast(4){dtype=bf16} 6=scale(5){factor=2} "
                               "out=6");
    assert_int_equal(f.report.n_taken, 4);
    assert_int_equal(f.report.n_made, 1);
    /* sum and product, written and read (24 of 4 bytes, 4 times), the cast's result (24 of 2, twice) */
    assert_true(f.report.bytes_saved == 4 * 24 * 4 + 2 * 24 * 2);
    assert_non_null(strstr(f.report.text, "add + mul + cast + scale: 480 bytes less"));
    free_fused(&f);
}

/* What others read leaves as a result of its own; what comes later may wait. */
static void test_results(void **state) {
    (void)state;
    ls_graph *g = make_graph();
    const ls_value a = input(g, "a", 4, 4), b = input(g, "b", 4, 4);
    const ls_value sum = ls_add(g, a, b), y = ls_relu(g, sum);
    output(g, "m", ls_matmul(g, sum, y, 0, 0));
    fused_graph f = fuse(g, 1, 0);
    check_ops(f.g, "fused matmul");
    assert_int_equal(f.g->nodes[0].n_out, 2);
    free_fused(&f);
}

/* A matmul between two adds reads the first: the first cannot wait for the second. */
static void test_order(void **state) {
    (void)state;
    ls_graph *g = make_graph();
    const ls_value a = input(g, "a", 4, 4), b = input(g, "b", 4, 4);
    const ls_value sum = ls_add(g, a, b), m = ls_matmul(g, sum, a, 0, 0);
    output(g, "y", ls_relu(g, ls_add(g, sum, m)));
    fused_graph f = fuse(g, 1, 0);
    check_ops(f.g, "add matmul fused");
    free_fused(&f);
    g = make_graph(); /* but one that reads something else does not hold it up */
    const ls_value c = input(g, "c", 4, 4), d = input(g, "d", 4, 4);
    const ls_value first = ls_add(g, c, d), other = ls_matmul(g, c, d, 0, 0);
    output(g, "y", ls_add(g, first, other));
    f = fuse(g, 1, 0);
    check_ops(f.g, "matmul fused");
    free_fused(&f);
}

static void test_lane_sums_and_leaves(void **state) {
    (void)state;
    ls_graph *g = make_graph();
    const ls_value a = input(g, "a", 4, 4);
    const ls_value twice = ls_scale(g, a, 2);
    (void)ls_graph_accumulate(g, "sum/twice", twice);
    output(g, "y", ls_relu(g, twice));
    fused_graph f = fuse(g, 1, 0);
    /* the sum stands before what would make its source */
    check_ops(f.g, "scale relu");
    assert_int_equal(f.report.n_made, 0);
    assert_null(f.report.text);
    free_fused(&f);
    g = make_graph();
    const ls_value b = input(g, "b", 4, 4);
    const ls_value half = ls_scale(g, b, 0.5), y = ls_relu(g, half);
    (void)ls_graph_accumulate(g, "sum/half", half);
    output(g, "y", y);
    f = fuse(g, 1, 0);
    check_ops(f.g, "fused");
    assert_int_equal(f.g->nodes[0].n_out, 2);
    free_fused(&f);
}

/* Phases, shapes, kernels without tiles and, in a pipeline, units keep nodes apart. */
static void test_borders(void **state) {
    (void)state;
    for (int one_stage = 0; one_stage < 2; one_stage++) {
        ls_graph *g = make_graph();
        const ls_value x = ls_scale(g, input(g, "x", 4, 4), 2);
        ls_graph_set_unit(g, 1);
        const ls_value y = ls_relu(g, x);
        ls_graph_set_phase(g, LS_PHASE_BACKWARD);
        output(g, "y", ls_gelu(g, y, 1));
        fused_graph f = fuse(g, one_stage, 0);
        check_ops(f.g, one_stage ? "fused gelu" : "scale relu gelu");
        free_fused(&f);
    }
    ls_graph *g = make_graph();
    const ls_value wide = ls_graph_input(g, "w", LS_DTYPE_F64, (ls_shape){1, {4}});
    output(g, "y", ls_relu(g, ls_scale(g, wide, 2)));
    const ls_value s = ls_graph_input(g, "s", LS_DTYPE_F32, (ls_shape){0});
    output(g, "z", ls_relu(g, ls_scale(g, s, 2)));
    fused_graph f = fuse(g, 1, 0);
    check_ops(f.g, "scale relu scale relu");
    free_fused(&f);
}

/* A long chain becomes several nodes. */
static void test_long_chain(void **state) {
    (void)state;
    ls_graph *g = make_graph();
    ls_value x = input(g, "x", 4, 4);
    for (int i = 0; i < 2 * LS_FUSED_STEPS; i++) x = ls_scale(g, x, 0.5);
    output(g, "y", x);
    fused_graph f = fuse(g, 1, 0);
    check_ops(f.g, "fused fused");
    free_fused(&f);
    g = make_graph(); /* a sum of many: no more operands than a node takes */
    x = input(g, "x", 4, 4);
    for (int i = 0; i < 2 * LS_FUSED_IN; i++) {
        char name[16];
        snprintf(name, sizeof name, "x%d", i);
        x = ls_add(g, x, input(g, name, 4, 4));
    }
    output(g, "y", x);
    f = fuse(g, 1, 0);
    for (int64_t n = 0; n < f.g->n_nodes; n++)
        assert_true(f.g->nodes[n].n_in <= LS_FUSED_IN && f.g->nodes[n].op == &ls_op_fused);
    free_fused(&f);
}

static void test_zero_bubble_has_one_exit(void **state) {
    (void)state;
    for (int zero_bubble = 0; zero_bubble < 2; zero_bubble++) {
        ls_graph *g = make_graph();
        const ls_value a = input(g, "a", 4, 4), b = input(g, "b", 4, 4);
        ls_graph_set_phase(g, LS_PHASE_BACKWARD);
        const ls_value sum = ls_add(g, a, b), y = ls_relu(g, sum);
        output(g, "m", ls_matmul(g, sum, ls_scale(g, y, 2), 0, 0));
        fused_graph f = fuse(g, 1, zero_bubble);
        check_ops(f.g, zero_bubble ? "add fused matmul" : "fused matmul");
        free_fused(&f);
    }
}

/* A bias gradient beside the chain; not of what would be written for it alone, not of narrow rows, not under zero bubble. */
static void test_column_sums(void **state) {
    static const struct {
        int64_t columns;
        int is_read, zero_bubble;
        const char *want;
    } cases[] = {{128, 1, 0, "fused matmul"},
                 {128, 0, 0, "fused reduce_rows matmul"},
                 {127, 1, 0, "fused reduce_rows matmul"},
                 {128, 1, 1, "fused reduce_rows matmul"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const int64_t n = cases[i].columns;
        ls_graph *g = make_graph();
        const ls_value a = input(g, "a", 4, n), b = input(g, "b", 4, n), w = input(g, "w", n, n);
        ls_graph_set_phase(g, LS_PHASE_BACKWARD);
        const ls_value dy = ls_relu(g, ls_add(g, a, b));
        output(g, "db", ls_reduce_rows(g, dy, LS_DTYPE_F32));
        output(g, "dx", ls_matmul(g, cases[i].is_read ? dy : a, w, 0, 0));
        fused_graph f = fuse(g, 1, cases[i].zero_bubble);
        check_ops(f.g, cases[i].want);
        if (i == 0) check_attr(&f.g->nodes[0], "2=add(0,1) 3=relu(2) out=3 sum=3:f32");
        free_fused(&f);
    }
}

/* x -> norm -> * 3; its gradient with a residual branch beside it. Returns the graph before the pass. */
static ls_graph *make_norm(int is_rms, int n_branches) {
    ls_graph *g = make_graph();
    const ls_init one = {LS_INIT_CONSTANT, 1, 0};
    const ls_value x = ls_graph_param(g, "x", LS_DTYPE_F32, (ls_shape){2, {4, 8}}, one);
    const ls_value gamma = ls_graph_param(g, "gamma", LS_DTYPE_F32, (ls_shape){1, {8}}, one);
    const ls_value y =
        is_rms ? ls_rmsnorm(g, x, gamma, 1e-5) : ls_layernorm(g, x, gamma, LS_VALUE_NONE, 1e-5);
    ls_value sum = x;
    for (int i = 0; i < n_branches; i++) {
        char name[16];
        snprintf(name, sizeof name, "w%d", i);
        const ls_value w = ls_graph_param(g, name, LS_DTYPE_F32, (ls_shape){2, {8, 8}}, one);
        sum = ls_add(g, sum, ls_matmul(g, y, w, 0, 0));
    }
    const ls_value seed = input(g, "seed", 4, 8), wrt[2] = {x, gamma};
    ls_grad_parts parts;
    check_ok(ls_graph_differentiate(g, &sum, &seed, 1, wrt, 2, &parts));
    output(g, "dx", parts.parts[0].grad);
    output(g, "dgamma", parts.parts[1].grad);
    return g;
}

static void test_norm_gradients(void **state) {
    static const char *const names[] = {"layernorm_grad", "rmsnorm_grad"};
    (void)state;
    for (int is_rms = 0; is_rms < 2; is_rms++)
        for (int n = 1; n <= 6; n++) {
            fused_graph f = fuse(make_norm(is_rms, n), 1, 0);
            const ls_node *node = find_node(f.g, names[is_rms]);
            const int n_terms = n < 4 ? n : 4;
            assert_int_equal(node->n_in, (is_rms ? 3 : 4) + n_terms + 1);
            char want[64] = "";
            snprintf(want, sizeof want, "terms=%d residual=1", n_terms);
            ls_text text = {0};
            node->op->print(node->attr, &text);
            assert_non_null(strstr(text.data, n > 1 ? want : "residual=1"));
            ls_text_deinit(&text);
            assert_true(f.report.bytes_saved >= 2 * 128.0 * n);
            free_fused(&f);
        }
}

static void test_batchnorm(void **state) {
    (void)state;
    ls_graph *g = make_graph();
    const ls_init one = {LS_INIT_CONSTANT, 1, 0};
    const ls_value x = ls_graph_param(g, "x", LS_DTYPE_F32, (ls_shape){4, {4, 4, 2, 3}}, one);
    const ls_value gamma = ls_graph_param(g, "g", LS_DTYPE_F32, (ls_shape){1, {3}}, one);
    const ls_value beta = ls_graph_param(g, "b", LS_DTYPE_F32, (ls_shape){1, {3}}, one);
    const ls_value first = ls_relu(g, ls_batchnorm(g, x, gamma, beta, 1e-5));
    const ls_value second = ls_batchnorm(g, ls_scale(g, first, 2), gamma, beta, 1e-5);
    const ls_value y = ls_relu(g, ls_add(g, second, first));
    const ls_value seed = ls_graph_input(g, "seed", LS_DTYPE_F32, (ls_shape){4, {4, 4, 2, 3}});
    ls_grad_parts parts;
    check_ok(ls_graph_differentiate(g, &y, &seed, 1, &x, 1, &parts));
    output(g, "dx", parts.parts[0].grad);
    fused_graph f = fuse(g, 1, 0);
    check_ops(f.g, "batchnorm scale batchnorm relu_grad batchnorm_grad scale batchnorm_grad");
    check_attr(&f.g->nodes[0], "eps=1.0000000000000001e-05 relu=1");
    check_attr(&f.g->nodes[2], "eps=1.0000000000000001e-05 residual=1 relu=1");
    check_attr(&f.g->nodes[6], "dgamma=f32 dbeta=f32 terms=2 relu=1");
    free_fused(&f);
}

/* --- what is refused ------------------------------------------------------------------------------------------------- */

static void test_fused_refuses(void **state) {
    static const struct {
        ls_fused_attr attr;
        int n_in;
        const char *says;
    } wrongs[] = {
        {{2, 1, 1, {2}, {0, 0}, {{&ls_op_add, {0}, 2, 1, {0, 1}}}}, 1, "made for 2 inputs"},
        {{1, 0, 1, {1}, {0, 0}, {{0}}}, 1, "1 to 8 steps, got 0"},
        {{1, 1, 0, {0}, {0, 0}, {{&ls_op_relu, {0}, 1, 1, {0}}}}, 1, "1 to 4 results, got 0"},
        {{1, 1, 1, {1}, {0, 0}, {{&ls_op_relu, {0}, 1, 1, {1}}}}, 1, "step 0 (relu) reads value 1"},
        {{1, 1, 1, {0}, {0, 0}, {{&ls_op_relu, {0}, 1, 1, {0}}}}, 1, "result 0 is value 0"},
        {{1, 1, 2, {1, 1}, {0, 0}, {{&ls_op_relu, {0}, 1, 1, {0}}}},
         1,
         "results 0 and 1 are both value 1"},
        {{1, 1, 1, {1}, {0, 0}, {{&ls_op_relu, {0}, 1, 2, {0}}}}, 1, "has 1 results, got 2"},
        {{1, 1, 1, {1}, {2, 0}, {{&ls_op_relu, {0}, 1, 1, {0}}}},
         1,
         "value 2 is summed but does not leave"},
        {{1, 1, 1, {1}, {1, LS_DTYPE_I32}, {{&ls_op_relu, {0}, 1, 1, {0}}}},
         1,
         "the sum must be a float tensor, got i32"},
        {{1, 1, 1, {1}, {0, 0}, {{&ls_op_add, {0}, 1, 1, {0}}}},
         1,
         "op add takes 2 to 2 inputs, got 1"},
        {{2, 1, 1, {2}, {0, 0}, {{&ls_op_matmul, {0}, 2, 1, {0, 0}}}},
         2,
         "op matmul cannot be a step"},
        {{2, 1, 1, {2}, {0, 0}, {{&ls_op_add, {0}, 2, 1, {0, 1}}}}, 2, "same shape"},
        {{2, 1, 1, {2}, {0, 0}, {{&ls_op_relu, {0}, 1, 1, {1}}}}, 2, "works on a scalar"},
        {{1, 1, 1, {1}, {0, 0}, {{&ls_op_dropout, {0x4000000000000000ull}, 1, 1, {0}}}},
         1,
         "probability must be in [0, 1), got 2"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof wrongs / sizeof wrongs[0]; i++) {
        const ls_type in[2] = {{LS_DTYPE_F32, {2, {4, 4}}}, {LS_DTYPE_F32, {0}}};
        ls_type out[LS_MAX_OUT];
        int n_out;
        check_fails(ls_op_fused.infer(&wrongs[i].attr, wrongs[i].n_in, in, &n_out, out),
                    LS_ERR_INVALID, wrongs[i].says);
    }
}

/* Steps say how splits pass; dropout wants to know where its elements are. */
static void test_fused_shard(void **state) {
    static const ls_fused_attr sum = {
        2, 2, 1, {3}, {0, 0}, {{&ls_op_add, {0}, 2, 1, {0, 1}}, {&ls_op_relu, {0}, 1, 1, {2}}}};
    static const ls_fused_attr drops = {
        2,   2,      1,
        {3}, {0, 0}, {{&ls_op_add, {0}, 2, 1, {0, 1}}, {&ls_op_dropout, {0, 1}, 1, 1, {2}}}};
    const ls_type in[2] = {{LS_DTYPE_F32, {2, {4, 4}}}, {LS_DTYPE_F32, {2, {4, 4}}}};
    const ls_type out[1] = {in[0]};
    const int rows[2] = {0, 0}, partial[2] = {LS_SHARD_PARTIAL, LS_SHARD_PARTIAL},
              whole[2] = {LS_SHARD_REPLICATED, LS_SHARD_REPLICATED};
    int split[1] = {7};
    (void)state;
    const ls_sig sig = {&ls_op_fused, &sum, 2, 1, in, out};
    check_ok(ls_op_fused.shard(&sig, rows, split));
    assert_int_equal(split[0], 0);
    check_fails(ls_op_fused.shard(&sig, partial, split), LS_ERR_UNSUPPORTED, "not linear");
    const ls_sig random = {&ls_op_fused, &drops, 2, 1, in, out};
    check_ok(ls_op_fused.shard(&random, whole, split));
    assert_int_equal(split[0], LS_SHARD_REPLICATED);
    check_fails(ls_op_fused.shard(&random, rows, split), LS_ERR_UNSUPPORTED,
                "op dropout takes whole operands only");
}

static void test_norms_refuse(void **state) {
    static const ls_layernorm_grad_attr five = {LS_DTYPE_F32, -1, {4, 0}};
    static const ls_layernorm_grad_attr residual = {LS_DTYPE_F32, -1, {0, 1}};
    static const ls_rmsnorm_grad_attr terms = {LS_DTYPE_F32, {1, 0}};
    static const ls_batchnorm_attr both = {1e-5, 1, 1};
    static const ls_batchnorm_grad_attr masked = {LS_DTYPE_F32, LS_DTYPE_F32, 0, 1};
    const ls_type x = {LS_DTYPE_F32, {2, {4, 8}}}, v = {LS_DTYPE_F32, {1, {8}}};
    const ls_type rows = {LS_DTYPE_F32, {1, {4}}}, low = {LS_DTYPE_BF16, {2, {4, 8}}};
    const struct {
        const ls_op *op;
        const void *attr;
        int n_in;
        ls_type in[9];
        const char *says;
    } wrongs[] = {
        {&ls_op_layernorm_grad, &five, 9, {x, v, rows, rows, x, x, x, x, x}, "0 to 3"},
        {&ls_op_layernorm_grad, &residual, 5, {x, v, rows, rows, x}, "a residual it takes 6"},
        {&ls_op_layernorm_grad,
         &residual,
         6,
         {x, v, rows, rows, x, low},
         "the residual must be f32[4, 8], got bf16[4, 8]"},
        {&ls_op_rmsnorm_grad,
         &terms,
         5,
         {x, v, rows, x, low},
         "every term of dy must be f32[4, 8], got bf16[4, 8]"},
        {&ls_op_batchnorm, &both, 3, {x, v, v}, "with a residual it takes 4 inputs, got 3"},
        {&ls_op_batchnorm, &both, 4, {x, v, v, v}, "the residual must be f32[4, 8], got f32[8]"},
        {&ls_op_batchnorm_eval, &both, 5, {x, v, v, v, v}, "it takes 6 inputs, got 5"},
        {&ls_op_batchnorm_grad, &masked, 5, {x, v, v, v, x}, "it takes 6 inputs, got 5"},
        {&ls_op_batchnorm_grad,
         &masked,
         6,
         {x, v, v, v, x, low},
         "relu's result must be f32[4, 8], got bf16[4, 8]"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof wrongs / sizeof wrongs[0]; i++) {
        ls_type out[LS_MAX_OUT];
        int n_out;
        check_fails(wrongs[i].op->infer(wrongs[i].attr, wrongs[i].n_in, wrongs[i].in, &n_out, out),
                    LS_ERR_INVALID, wrongs[i].says);
    }
}

/* Every allocation of the pass may fail: the graph is as it was. */
static void test_out_of_memory(void **state) {
    (void)state;
    ls_graph *g = make_norm(0, 3);
    uint64_t before, after;
    check_ok(ls_graph_hash(g, &before));
    int refused = 1;
    for (int n = 1; refused; n++) {
        fused_graph f = {.g = g};
        check_ok(ls_arena_create(&f.arena));
        const ls_fuse_options options = {.one_stage = 1, .arena = f.arena};
        ls_alloc_fail_at(n, 0);
        const ls_status status = ls_pass_fuse(&f.g, &options, &f.report);
        ls_alloc_fail_at(0, 0);
        refused = status != LS_OK;
        g = f.g;
        if (refused) {
            assert_int_equal(status, LS_ERR_NO_MEMORY);
            check_ok(ls_graph_hash(g, &after));
            assert_true(before == after);
        }
        ls_arena_destroy(f.arena);
        assert_true(n < 1000);
    }
    ls_graph_destroy(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chain),
        cmocka_unit_test(test_results),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_lane_sums_and_leaves),
        cmocka_unit_test(test_borders),
        cmocka_unit_test(test_long_chain),
        cmocka_unit_test(test_zero_bubble_has_one_exit),
        cmocka_unit_test(test_column_sums),
        cmocka_unit_test(test_norm_gradients),
        cmocka_unit_test(test_batchnorm),
        cmocka_unit_test(test_fused_refuses),
        cmocka_unit_test(test_fused_shard),
        cmocka_unit_test(test_norms_refuse),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
