/* Products with a weight packed ahead on the model of the AMX instructions: the bits of the product that packs for itself.
 * labels: threads */
#include "op/amx_cases.h"
#define ls_kernel_matmul_fwd_amx model_matmul
#define ls_gemm_engine_pairs_amx model_engine
#include "op/matmul/matmul_amx.c"
#undef ls_kernel_matmul_fwd_amx
#undef ls_gemm_engine_pairs_amx

typedef struct shape {
    int64_t m, n, k;
    int w_is_NK, n_threads;
} shape;

static void *take(size_t bytes) {
    void *p = ls_alloc(bytes + 64);
    assert_non_null(p);
    memset(p, 0xff, bytes); /* NaN */
    return p;
}

/* The weight of the case, packed; each way to run the product on it and on the weight itself. */
static void check_shape(const shape *s) {
    const ls_matmul_attr attr = {.transpose_b = s->w_is_NK, .out_dtype = LS_DTYPE_F32, .alpha = 1};
    const ls_case_in in[2] = {
        {LS_CASE_T, {2, {s->m, s->k}}, 0, 0, 1, 0},
        {LS_CASE_T, {2, {s->w_is_NK ? s->n : s->k, s->w_is_NK ? s->k : s->n}}, 0, 0, 1, 0}};
    const ls_op_case c = {"packed", &attr, 2, in, LS_CASE_BF16, 0, 0, 0, 0, 0};
    applied a;
    ls_pool *pool = NULL;
    if (s->n_threads > 1) assert_int_equal(ls_pool_create(s->n_threads, -1, &pool), LS_OK);
    assert_int_equal(op_applied_init(&a, &ls_op_matmul, &c, LS_DTYPE_BF16, 0), LS_OK);
    model_reset();
    run_plainly(&a, &model_matmul);
    void *packed = take(ls_gemm_packed_bytes(&model_engine, s->n, s->k));
    void *workspace = take(ls_gemm_pack_workspace_bytes(&model_engine, s->k, s->n_threads));
    const ls_gemm_operand b = {a.in[1].data, LS_DTYPE_BF16, s->w_is_NK ? s->k : s->n, s->w_is_NK};
    assert_int_equal(ls_gemm_pack_b(&model_engine, &b, s->n, s->k, packed, workspace, pool), LS_OK);
    ls_free(workspace);
    workspace = take(ls_matmul_packed_workspace_bytes(&model_engine, &a.sig, s->n_threads));
    const size_t bytes = ls_tensor_bytes(&a.out[0]);
    ls_tensor operands[2] = {a.in[0], {LS_DTYPE_BF16, a.in[1].shape, packed}};
    ls_tensor out = {a.out[0].dtype, a.out[0].shape, take(bytes)};
    const ls_launch launch = {
        .sig = &a.sig, .in = operands, .out = &out, .workspace = workspace, .pool = pool};
    assert_int_equal(ls_matmul_packed_launch(&model_engine, &launch), LS_OK);
    assert_no_fault("packed");
    assert_memory_equal(out.data, a.out[0].data, bytes);
    ls_free(out.data);
    ls_free(workspace);
    ls_free(packed);
    ls_pool_destroy(pool);
    op_applied_deinit(&a);
}

static void test_same_bits(void **state) {
    static const shape shapes[] = {{40, 33, 70, 1, 1},    {40, 33, 70, 0, 2},
                                   {70, 100, 1100, 1, 2}, {70, 100, 1100, 0, 1},
                                   {130, 65, 600, 1, 3},  {33, 200, 1, 0, 1}};
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) check_shape(&shapes[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_bits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
