/* The AMX matmul kernel's own source on a model of the instructions, and the model itself.
 * labels: threads cost=15 */
#include "op/amx_cases.h"
#define ls_kernel_matmul_fwd_amx model_matmul
#define ls_gemm_engine_pairs_amx model_engine
#include "op/matmul/matmul_amx.c"
#undef ls_kernel_matmul_fwd_amx
#undef ls_gemm_engine_pairs_amx

extern const ls_op_case_list ls_cases_matmul;

static void agrees_with_reference_over_cases(void **state) {
    (void)state;
    assert_true(check_cases(&model_matmul, &ls_cases_matmul) > 24);
}

/* The ways to share the work, and any number of threads, give a row the same bits. */
static void a_row_keeps_its_bits(void **state) {
    (void)state;
    enum { K = 1100, N = 40, FEW = 3, MANY = 90 };
    const ls_matmul_attr attr = {.transpose_b = 1, .out_dtype = LS_DTYPE_F32, .alpha = 1};
    const ls_case_in few_in[2] = {{LS_CASE_T, {2, {FEW, K}}, 0, 0, 1, 0},
                                  {LS_CASE_T, {2, {N, K}}, 0, 0, 1, 0}};
    const ls_case_in many_in[2] = {{LS_CASE_T, {2, {MANY, K}}, 0, 0, 1, 0}, few_in[1]};
    const ls_op_case few_case = {"few", &attr, 2, few_in, LS_CASE_BF16, 0, 0, 0, 0, 0};
    const ls_op_case many_case = {"many", &attr, 2, many_in, LS_CASE_BF16, 0, 0, 0, 0, 0};
    applied few, many;
    assert_int_equal(op_applied_init(&few, &ls_op_matmul, &few_case, LS_DTYPE_BF16, 0), LS_OK);
    assert_int_equal(op_applied_init(&many, &ls_op_matmul, &many_case, LS_DTYPE_BF16, 0), LS_OK);
    memcpy(few.in[0].data, many.in[0].data, ls_tensor_bytes(&few.in[0]));
    memcpy(few.in[1].data, many.in[1].data, ls_tensor_bytes(&few.in[1]));
    model_reset();
    run_plainly(&few, &model_matmul);
    run_plainly(&many, &model_matmul);
    assert_memory_equal(few.out[0].data, many.out[0].data, ls_tensor_bytes(&few.out[0]));
    check_fenced(&many, &model_matmul, 2);
    assert_no_fault("rows");
    op_applied_deinit(&few);
    op_applied_deinit(&many);
}

/* A task configures its tiles once, however many products it makes. */
static void configures_once_a_task(void **state) {
    (void)state;
    const ls_matmul_attr attr = {.transpose_b = 1, .out_dtype = -1, .alpha = 1};
    const ls_case_in in[2] = {{LS_CASE_T, {2, {64, 512}}, 0, 0, 1, 0},
                              {LS_CASE_T, {2, {320, 512}}, 0, 0, 1, 0}};
    const ls_op_case c = {"configs", &attr, 2, in, LS_CASE_BF16, 0, 0, 0, 0, 0};
    applied a;
    assert_int_equal(op_applied_init(&a, &ls_op_matmul, &c, LS_DTYPE_BF16, 0), LS_OK);
    model_reset();
    run_plainly(&a, &model_matmul);
    assert_int_equal(atomic_load(&model_n_products), 64 * 320 * 512 / (16 * 16 * 32));
    assert_int_equal(atomic_load(&model_n_configs), 4); /* 10 panels, 3 a task */
    assert_no_fault("configs");
    op_applied_deinit(&a);
}

/* --- the model ------------------------------------------------------------------------------------------------------- */

static void config_has_the_layout_of_ldtilecfg(void **state) {
    (void)state;
    const amx_config config = amx_full_config();
    const unsigned char *bytes = (const unsigned char *)&config;
    assert_int_equal(sizeof config, 64);
    assert_int_equal(bytes[0], 1);                    /* palette */
    assert_int_equal(bytes[16] | bytes[17] << 8, 64); /* bytes a row, tile 0 */
    assert_int_equal(bytes[48 + 7], 16);              /* rows, tile 7 */
    assert_int_equal(bytes[48 + 8], 0);               /* there is no tile 8 */
}

/* Products rounded once into two sums, which meet before c is added; subnormals flushed. */
static void multiplies_bf16_as_the_processor(void **state) {
    (void)state;
    uint16_t a[16 * 32] = {0}, b[16 * 32] = {0};
    float c[16 * 16] = {0};
    a[0] = ls_f32_to_bf16(1.5f);
    a[1] = ls_f32_to_bf16(2.0f);
    a[2] = 0x0040;               /* subnormal: zero */
    b[0] = ls_f32_to_bf16(3.0f); /* pair (k 0, k 1) of column 0 */
    b[1] = ls_f32_to_bf16(-1.0f);
    b[32] = ls_f32_to_bf16(0x1p100f);     /* k 2 of column 0 */
    a[32] = a[33] = ls_f32_to_bf16(1.0f); /* row 1: 2^-24 and 1 into c = 1 */
    b[2] = ls_f32_to_bf16(0x1p-24f);
    b[3] = ls_f32_to_bf16(0x1p-24f);
    c[16 + 1] = 1.0f;
    model_reset();
    amx_begin();
    amx_load(0, c, 64);
    amx_load(1, a, 64);
    amx_load(2, b, 64);
    amx_multiply(0, 1, 2);
    amx_store(0, c, 64);
    amx_end();
    assert_true(c[0] == 2.5f);
    assert_true(c[16 + 1] == 1.0f + 0x1p-23f); /* one after the other they would be lost */
    assert_true(c[2] == 0 && c[32] == 0);
    assert_no_fault("products");
}

static void multiplies_bytes_as_the_processor(void **state) {
    (void)state;
    uint8_t a[16 * 64] = {0}, b[16 * 64] = {0};
    int32_t c[16 * 16] = {0};
    for (int i = 0; i < 4; i++) {
        a[i] = 255; /* -1 when signed */
        b[i] = 0x80;
    }
    c[0] = 7;
    model_reset();
    amx_begin();
    _tile_loadd(0, c, 64);
    _tile_loadd(1, a, 64);
    _tile_loadd(2, b, 64);
    _tile_dpbusd(0, 1, 2);
    _tile_stored(0, c, 64);
    assert_int_equal(c[0], 7 - 4 * 255 * 128);
    _tile_dpbssd(0, 1, 2);
    _tile_stored(0, c, 64);
    assert_int_equal(c[0], 7 - 4 * 255 * 128 + 4 * 128);
    amx_end();
    assert_no_fault("bytes");
}

/* What each kind of misuse is called. */
static void expect_fault(const char *words) {
    if (!strstr(model_fault_text, words))
        fail_msg("wanted a fault '%s', got '%s'", words, model_fault_text);
    model_reset();
}

static void notes_a_missing_configuration(void **state) {
    (void)state;
    static uint32_t a[32 * 16], b[16 * 32];
    static float c[32 * 32];
    model_reset();
    run_tile(16, 32, a, b, c);
    expect_fault("without configuration");
    assert_true(isnan(c[0]));
    amx_begin();
    assert_int_equal(atomic_load(&model_live), 1);
    run_tile(16, 32, a, b, c);
    amx_end();
    assert_no_fault("configured");
    assert_true(c[0] == 0 && c[32 * 32 - 1] == 0);
}

static void notes_bad_configurations(void **state) {
    (void)state;
    amx_config config = amx_full_config();
    model_reset();
    config.palette = 2;
    _tile_loadconfig(&config);
    expect_fault("palette");
    config = amx_full_config();
    config.rows[0] = 17;
    _tile_loadconfig(&config);
    expect_fault("too large");
    config = amx_full_config();
    config.rows[3] = 0;
    _tile_loadconfig(&config);
    expect_fault("bytes without rows");
    config = amx_full_config();
    config.rows[9] = 1;
    _tile_loadconfig(&config);
    expect_fault("8 tiles");
    config = amx_full_config();
    config.reserved[3] = 1;
    _tile_loadconfig(&config);
    expect_fault("reserved");
    assert_int_equal(atomic_load(&model_live), 0);
}

static void notes_tiles_that_do_not_fit(void **state) {
    (void)state;
    amx_config config = amx_full_config();
    config.rows[1] = 8;       /* a: 8 rows */
    config.row_bytes[2] = 32; /* b: 8 columns */
    config.rows[4] = 8;       /* b: 8 words */
    model_reset();
    _tile_loadconfig(&config);
    _tile_dpbf16ps(0, 1, 3);
    expect_fault("rows of a");
    _tile_dpbf16ps(0, 3, 2);
    expect_fault("columns of b");
    _tile_dpbf16ps(0, 3, 4);
    expect_fault("words of a");
    _tile_dpbf16ps(0, 3, 3);
    expect_fault("distinct");
    _tile_release();
    assert_no_fault("released");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(config_has_the_layout_of_ldtilecfg),
        cmocka_unit_test(multiplies_bf16_as_the_processor),
        cmocka_unit_test(multiplies_bytes_as_the_processor),
        cmocka_unit_test(notes_a_missing_configuration),
        cmocka_unit_test(notes_bad_configurations),
        cmocka_unit_test(notes_tiles_that_do_not_fit),
        cmocka_unit_test(agrees_with_reference_over_cases),
        cmocka_unit_test(a_row_keeps_its_bits),
        cmocka_unit_test(configures_once_a_task),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
