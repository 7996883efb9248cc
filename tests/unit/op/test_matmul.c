/* matmul beyond its cases: what it refuses, bits of a row, its gradient's nodes, sharding, cost, print. */
#include "unit/op/matmul_run.h"

#include "op/cast/cast.h"
#include "op/matmul/matmul.h"

#define TYPE(dtype, ...)                                                                   \
    {                                                                                      \
        LS_DTYPE_##dtype, {                                                                \
            .n_dims = (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), .dims = { \
                __VA_ARGS__                                                                \
            }                                                                              \
        }                                                                                  \
    }

typedef struct refusal {
    const char *words;
    ls_matmul_attr attr;
    int n_in;
    ls_type in[4];
} refusal;

#define ATTR(...) \
    { .out_dtype = -1, .alpha = 1, __VA_ARGS__ }

static const refusal refusals[] = {
    {"inner dims differ", ATTR(.transpose_a = 0), 2, {TYPE(F32, 2, 3), TYPE(F32, 4, 5)}},
    {"b [5, 4] transposed has 4", ATTR(.transpose_b = 1), 2, {TYPE(F32, 2, 3), TYPE(F32, 5, 4)}},
    {"at least 2 dims", ATTR(.transpose_a = 0), 2, {TYPE(F32, 3), TYPE(F32, 3, 5)}},
    {"a must be a float", ATTR(.transpose_a = 0), 2, {TYPE(I32, 2, 3), TYPE(F32, 3, 5)}},
    {"lead dims of a", ATTR(.transpose_a = 0), 2, {TYPE(F32, 2, 3, 4), TYPE(F32, 3, 4, 5)}},
    {"transpose a first", ATTR(.transpose_a = 1), 2, {TYPE(F32, 2, 4, 3), TYPE(F32, 4, 5)}},
    {"sum_lead takes", ATTR(.sum_lead = 1), 2, {TYPE(F32, 2, 4, 3), TYPE(F32, 2, 4, 5)}},
    {"bias must be [5]", ATTR(.has_bias = 1), 3, {TYPE(F32, 2, 3), TYPE(F32, 3, 5), TYPE(F32, 4)}},
    {"the same shape",
     ATTR(.has_residual = 1),
     3,
     {TYPE(F32, 2, 3), TYPE(F32, 3, 5), TYPE(F32, 2, 4)}},
    {"residual must be f32",
     ATTR(.has_residual = 1),
     3,
     {TYPE(F32, 2, 3), TYPE(F32, 3, 5), TYPE(BF16, 2, 5)}},
    {"attributes ask for 3", ATTR(.has_bias = 1), 2, {TYPE(F32, 2, 3), TYPE(F32, 3, 5)}},
    {"alpha is 0", {.out_dtype = -1}, 2, {TYPE(F32, 2, 3), TYPE(F32, 3, 5)}},
    {"activation 77", ATTR(.activation = (ls_activation)77), 2, {TYPE(F32, 2, 3), TYPE(F32, 3, 5)}},
    {"float dtype or -1",
     {.out_dtype = LS_DTYPE_I32, .alpha = 1},
     2,
     {TYPE(F32, 2, 3), TYPE(F32, 3, 5)}},
};

static void refuses_what_does_not_fit(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        const refusal *r = &refusals[i];
        ls_type out[LS_MAX_OUT];
        int n_out;
        assert_int_equal(ls_op_matmul.infer(&r->attr, r->n_in, r->in, &n_out, out), LS_ERR_INVALID);
        if (!strstr(ls_error_message(), r->words))
            fail_msg("'%s' is not in '%s'", r->words, ls_error_message());
    }
}

/* The first rows of a product of 300, alone: few rows go other ways (B unpacked, 1 to 12 at a time; A packed once), many share B. */
static void check_few_rows(const run *all, const ls_kernel *kernel, int64_t rows, int threads) {
    const ls_type in[2] = {{all->in_types[0].dtype, {2, {rows, all->in_types[0].shape.dims[1]}}},
                           all->in_types[1]};
    run r;
    run_init(&r, &ls_op_matmul, all->sig.attr, 2, in);
    for (int i = 0; i < 2; i++) memcpy(r.in[i].data, all->in[i].data, ls_type_bytes(&in[i]));
    run_kernel(&r, kernel, threads);
    if (memcmp(all->out[0].data, r.out[0].data, ls_type_bytes(&r.out_types[0])) != 0)
        fail_msg("%s, k %d: %d rows and %d threads have other bits than in a product of 300",
                 kernel->name, (int)in[0].shape.dims[1], (int)rows, threads);
    run_deinit(&r);
}

static void check_row_bits(const ls_kernel *kernel, ls_dtype dtype, int64_t k, int transpose_b) {
    static const int64_t rows[] = {1, 2, 3, 4, 5, 8, 9, 12, 13, 16, 17, 70, 300};
    const ls_matmul_attr attr = {.transpose_b = transpose_b, .out_dtype = -1, .alpha = 1};
    const ls_type in[2] = {{dtype, {2, {300, k}}},
                           {dtype, {2, {transpose_b ? 397 : k, transpose_b ? k : 397}}}};
    run all;
    run_init(&all, &ls_op_matmul, &attr, 2, in);
    run_kernel(&all, kernel, 1);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        check_few_rows(&all, kernel, rows[i], 1 + (int)i % 3);
    run_deinit(&all);
}

static void a_row_keeps_its_bits(void **state) {
    (void)state;
    for (const ls_kernel *const *kernel = ls_op_matmul.kernels; kernel[1]; kernel++) {
        if ((*kernel)->isa > ls_cpu_isa()) continue;
        const int pairs = strstr((*kernel)->name, "bf16") || strstr((*kernel)->name, "amx");
        check_row_bits(*kernel, LS_DTYPE_BF16, 97, 1);
        check_row_bits(*kernel, LS_DTYPE_BF16, 1301, 0);
        if (pairs) continue;
        check_row_bits(*kernel, LS_DTYPE_F32, 600, 1);
        check_row_bits(*kernel, LS_DTYPE_F32, 515, 0);
        check_row_bits(*kernel, LS_DTYPE_F16, 77, 1);
        check_row_bits(*kernel, LS_DTYPE_F16, 530, 0);
    }
}

/* A large gradient of a weight goes past the caches where its rows are aligned, and has the bits it has elsewhere. */
static void a_result_does_not_see_its_address(void **state) {
    (void)state;
    enum { ROWS = 521, COLS = 1040, DEPTH = 36, LINE = 64 };
    const ls_matmul_attr attr = {.transpose_a = 1, .out_dtype = LS_DTYPE_F32, .alpha = 1};
    const ls_type in[2] = {TYPE(BF16, DEPTH, ROWS), TYPE(BF16, DEPTH, COLS)};
    run r;
    run_init(&r, &ls_op_matmul, &attr, 2, in);
    const size_t bytes = ls_type_bytes(&r.out_types[0]);
    char *memory = ls_alloc(2 * bytes + 3 * LINE), *own = r.out[0].data;
    assert_non_null(memory);
    char *aligned = memory + (LINE - (uintptr_t)memory % LINE) % LINE;
    char *shifted = aligned + (bytes + LINE - 1) / LINE * LINE + 4;
    for (const ls_kernel *const *kernel = ls_op_matmul.kernels; kernel[1]; kernel++) {
        if ((*kernel)->isa > ls_cpu_isa()) continue;
        memset(memory, 0xff, 2 * bytes + 3 * LINE);
        r.out[0].data = aligned;
        run_kernel(&r, *kernel, 2);
        r.out[0].data = shifted;
        run_kernel(&r, *kernel, 1);
        if (memcmp(aligned, shifted, bytes) != 0)
            fail_msg("%s: the result's address changes its bits", (*kernel)->name);
    }
    r.out[0].data = own;
    ls_free(memory);
    run_deinit(&r);
}

/* The epilogue of a fully dressed product, written out. */
static void epilogue_is_in_order(void **state) {
    (void)state;
    const ls_matmul_attr attr = {
        .has_bias = 1, .has_residual = 1, .activation = LS_ACT_RELU, .out_dtype = -1, .alpha = 2};
    const ls_type in[4] = {TYPE(F32, 1, 1), TYPE(F32, 1, 2), TYPE(F32, 2), TYPE(F32, 1, 2)};
    run r;
    run_init(&r, &ls_op_matmul, &attr, 4, in);
    const float a = 3, b[2] = {5, -5}, bias[2] = {1, 1}, residual[2] = {-7, -7};
    memcpy(r.in[0].data, &a, sizeof a);
    memcpy(r.in[1].data, b, sizeof b);
    memcpy(r.in[2].data, bias, sizeof bias);
    memcpy(r.in[3].data, residual, sizeof residual);
    const ls_kernel *kernel;
    assert_int_equal(ls_kernel_choose(&r.sig, LS_DEVICE_CPU, ls_cpu_isa(), &kernel), LS_OK);
    run_kernel(&r, kernel, 1);
    const float *out = r.out[0].data, *pre = r.out[1].data;
    assert_true(pre[0] == 31 && pre[1] == -29); /* alpha a b + bias */
    assert_true(out[0] == 24 && out[1] == -7);  /* max(pre, 0) + residual */
    run_deinit(&r);
}

/* A bf16 copy of an f32 weight gets its gradient in f32, summed over all lead dims by one node. */
static void weight_gradient_is_one_f32_node(void **state) {
    (void)state;
    ls_graph *graph;
    assert_int_equal(ls_graph_create(&graph), LS_OK);
    const ls_init init = {LS_INIT_NORMAL, 0, 1};
    const ls_value x = ls_graph_input(graph, "x", LS_DTYPE_BF16, (ls_shape){3, {2, 3, 8}});
    const ls_value w = ls_graph_param(graph, "w", LS_DTYPE_F32, (ls_shape){2, {5, 8}}, init);
    const ls_value bias = ls_graph_param(graph, "bias", LS_DTYPE_F32, (ls_shape){1, {5}}, init);
    const ls_value y = ls_linear(graph, x, ls_cast(graph, w, LS_DTYPE_BF16), 1, bias);
    const ls_value seed = ls_graph_input(graph, "dy", LS_DTYPE_BF16, (ls_shape){3, {2, 3, 5}});
    assert_int_equal(ls_graph_dtype(graph, y), LS_DTYPE_BF16);
    ls_grad_parts parts;
    assert_int_equal(ls_graph_differentiate(graph, &y, &seed, 1, (ls_value[]){w, bias}, 2, &parts),
                     LS_OK);
    assert_int_equal(parts.n_parts, 2);
    assert_int_equal(ls_graph_dtype(graph, parts.parts[0].grad), LS_DTYPE_F32);
    assert_int_equal(ls_graph_dtype(graph, parts.parts[1].grad), LS_DTYPE_F32);
    const ls_shape shape = ls_graph_shape(graph, parts.parts[0].grad);
    assert_true(shape.n_dims == 2 && shape.dims[0] == 5 && shape.dims[1] == 8);
    assert_int_equal(ls_graph_verify(graph), LS_OK);
    ls_graph_destroy(graph);
}

typedef struct split_case {
    ls_matmul_attr attr;
    int in[2];
    int out; /* or 99: refused */
} split_case;

enum { WHOLE = LS_SHARD_REPLICATED, PART = LS_SHARD_PARTIAL, REFUSED = 99 };

/* a[4, 6, 8] (or its transpose) times a shared b[8, 10], or sums over lead dims. */
static const split_case split_cases[] = {
    {ATTR(.sum_lead = 0), {WHOLE, WHOLE}, WHOLE},
    {ATTR(.sum_lead = 0), {0, WHOLE}, 0},
    {ATTR(.sum_lead = 0), {1, WHOLE}, 1},
    {ATTR(.sum_lead = 0), {WHOLE, 1}, 2},
    {ATTR(.sum_lead = 0), {2, 0}, PART},
    {ATTR(.sum_lead = 0), {2, WHOLE}, REFUSED},
    {ATTR(.sum_lead = 0), {PART, WHOLE}, REFUSED},
    {ATTR(.transpose_b = 1), {WHOLE, 0}, 2},
    {ATTR(.transpose_b = 1), {2, 1}, PART},
    {ATTR(.activation = LS_ACT_RELU), {2, 0}, REFUSED},
    {ATTR(.activation = LS_ACT_RELU), {0, WHOLE}, 0},
};

static void sharding_follows_the_sum(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof split_cases / sizeof split_cases[0]; i++) {
        const split_case *c = &split_cases[i];
        const ls_type in[2] = {
            TYPE(F32, 4, 6, 8),
            {LS_DTYPE_F32, {2, {c->attr.transpose_b ? 10 : 8, c->attr.transpose_b ? 8 : 10}}}};
        ls_type out[LS_MAX_OUT];
        int n_out, got[LS_MAX_OUT];
        assert_int_equal(ls_op_matmul.infer(&c->attr, 2, in, &n_out, out), LS_OK);
        const ls_sig sig = {&ls_op_matmul, &c->attr, 2, n_out, in, out};
        const ls_status status = ls_op_matmul.shard(&sig, c->in, got);
        if (status != (c->out == REFUSED ? LS_ERR_UNSUPPORTED : LS_OK) ||
            (c->out != REFUSED && got[0] != c->out))
            fail_msg("split case %d: status %d, split %d", (int)i, (int)status, got[0]);
    }
}

static void cost_and_print(void **state) {
    (void)state;
    const ls_matmul_attr attr = {
        .transpose_b = 1, .activation = LS_ACT_GELU_TANH, .out_dtype = LS_DTYPE_F32, .alpha = 0.5f};
    const ls_type in[2] = {TYPE(BF16, 4, 6, 8), TYPE(BF16, 10, 8)};
    ls_type out[LS_MAX_OUT];
    int n_out;
    assert_int_equal(ls_op_matmul.infer(&attr, 2, in, &n_out, out), LS_OK);
    assert_int_equal(n_out, 2);
    const ls_sig sig = {&ls_op_matmul, &attr, 2, n_out, in, out};
    ls_cost cost;
    ls_op_matmul.cost(&sig, &cost);
    assert_true(cost.flops == 2.0 * 24 * 8 * 10);
    assert_true(cost.bytes_read == (4 * 6 * 8 + 80) * 2.0 && cost.bytes_written == 2 * 240 * 4.0);
    ls_text text = {0};
    ls_op_matmul.print(&attr, &text);
    assert_string_equal(text.data,
                        "transpose_a=0 transpose_b=1 activation=gelu_tanh out=f32 alpha=0.5");
    ls_text_deinit(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_what_does_not_fit),
        cmocka_unit_test(a_row_keeps_its_bits),
        cmocka_unit_test(a_result_does_not_see_its_address),
        cmocka_unit_test(epilogue_is_in_order),
        cmocka_unit_test(weight_gradient_is_one_f32_node),
        cmocka_unit_test(sharding_follows_the_sum),
        cmocka_unit_test(cost_and_print),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
