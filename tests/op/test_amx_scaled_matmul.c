/* The AMX kernel of bytes on a model of the instructions.
 * labels: threads cost=15 */
#include "op/amx_cases.h"
#define ls_kernel_scaled_matmul_amx model_kernel
#define ls_gemm_engine_quads_amx    model_engine
#include "op/scaled_matmul/scaled_matmul_amx.c"
#undef ls_kernel_scaled_matmul_amx
#undef ls_gemm_engine_quads_amx

extern const ls_op_case_list ls_cases_scaled_matmul;

static void agrees_with_reference_over_cases(void **state) {
    (void)state;
    assert_true(check_cases(&model_kernel, &ls_cases_scaled_matmul) > 14);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(agrees_with_reference_over_cases)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
