/* The AMX kernel's own source on emulated tiles, over the cases of matmul, against the reference. */
#pragma GCC diagnostic ignored "-Wpsabi"
#define LS_AMX_EMULATE
#define ls_kernel_matmul_fwd_amx emulated_matmul
#define ls_gemm_engine_pairs_amx emulated_engine
#include "op/matmul/matmul_amx.c"
#undef ls_kernel_matmul_fwd_amx
#undef ls_gemm_engine_pairs_amx

#define ls_cases_matmul own_cases
#include "op/matmul/matmul_cases.c"
#undef ls_cases_matmul

#include "unit/op/matmul_run.h"
#include <stdio.h>

static const double bf16_step = 0x1p-7;

static void check_case(const ls_op_case *c) {
    ls_type in[RUN_MAX_IN] = {0};
    for (int i = 0; i < c->n_in; i++)
        in[i] = (ls_type){c->in[i].dtype == LS_CASE_T ? LS_DTYPE_BF16 : (ls_dtype)c->in[i].dtype,
                          c->in[i].shape};
    run got, want;
    run_init(&got, &ls_op_matmul, c->attr, c->n_in, in);
    if (emulated_matmul.refuses(&got.sig)) {
        run_deinit(&got);
        return;
    }
    run_init(&want, &ls_op_matmul, c->attr, c->n_in, in);
    run_kernel(&got, &emulated_matmul, 2);
    run_kernel(&want, ls_kernel_reference(&ls_op_matmul), 1);
    for (int i = 0; i < got.sig.n_out; i++) {
        const double worst = run_worst(&got, &want, i);
        const double step = got.out_types[i].dtype == LS_DTYPE_F32 ? 0 : bf16_step;
        if (worst > 1e-4 + step) fail_msg("case %s, result %d: off by %g", c->name, i, worst);
    }
    run_deinit(&got);
    run_deinit(&want);
}

static void agrees_with_reference_over_cases(void **state) {
    (void)state;
    int n_checked = 0;
    for (int i = 0; i < own_cases.n_cases; i++) {
        if (own_cases.cases[i].bench) continue;
        check_case(&own_cases.cases[i]);
        n_checked++;
    }
    assert_true(n_checked > 20);
}

/* The two ways to share the work, and any number of threads, give a row the same bits. */
static void a_row_keeps_its_bits(void **state) {
    (void)state;
    const ls_matmul_attr attr = {.transpose_b = 1, .out_dtype = LS_DTYPE_F32, .alpha = 1};
    const int64_t k = 1100, n = 40;
    run small, large;
    const ls_type b = {LS_DTYPE_BF16, {2, {n, k}}};
    run_init(&small, &ls_op_matmul, &attr, 2, (ls_type[]){{LS_DTYPE_BF16, {2, {3, k}}}, b});
    run_init(&large, &ls_op_matmul, &attr, 2, (ls_type[]){{LS_DTYPE_BF16, {2, {90, k}}}, b});
    memcpy(small.in[0].data, large.in[0].data, ls_type_bytes(&small.in_types[0]));
    memcpy(small.in[1].data, large.in[1].data, ls_type_bytes(&b));
    run_kernel(&small, &emulated_matmul, 1);
    for (int threads = 1; threads <= 3; threads++) {
        run_kernel(&large, &emulated_matmul, threads);
        assert_memory_equal(small.out[0].data, large.out[0].data,
                            ls_type_bytes(&small.out_types[0]));
    }
    run_deinit(&small);
    run_deinit(&large);
}

/* Every worker must load the tile configuration itself; the emulation gives NaN where one did not. */
static void tiles_need_a_configuration(void **state) {
    (void)state;
    static uint32_t a[32 * 16], b[16 * 32];
    static float c[32 * 32];
    run_tile(16, 32, a, b, c);
    assert_true(isnan(c[0]));
    amx_begin();
    run_tile(16, 32, a, b, c);
    amx_end();
    assert_true(c[0] == 0 && c[32 * 32 - 1] == 0);
}

/* Bits as published: products rounded once into two sums, subnormals flushed. */
static void multiplies_as_the_processor(void **state) {
    (void)state;
    uint16_t a[16 * 32] = {0}, b[16 * 32] = {0};
    float c[16 * 16];
    a[0] = ls_f32_to_bf16(1.5f);
    a[1] = ls_f32_to_bf16(2.0f);
    a[2] = ls_f32_to_bf16(0x1p-127f); /* subnormal: zero */
    b[0] = ls_f32_to_bf16(3.0f);      /* pair (k 0, k 1) of column 0 */
    b[1] = ls_f32_to_bf16(-1.0f);
    b[32] = ls_f32_to_bf16(0x1p100f); /* k 2 of column 0 */
    amx_begin();
    amx_zero(0);
    amx_load(1, a, 64);
    amx_load(2, b, 64);
    amx_multiply(0, 1, 2);
    amx_store(0, c, 64);
    amx_end();
    assert_true(c[0] == 2.5f);
    assert_true(c[1] == 0 && c[16] == 0);
}

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(config_has_the_layout_of_ldtilecfg),
        cmocka_unit_test(multiplies_as_the_processor),
        cmocka_unit_test(tiles_need_a_configuration),
        cmocka_unit_test(agrees_with_reference_over_cases),
        cmocka_unit_test(a_row_keeps_its_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
