/* The AMX convolution kernels' own source on a model of the instructions.
 * labels: threads cost=15 */
#include "op/amx_cases.h"
#define ls_kernel_matmul_fwd_amx        model_matmul
#define ls_gemm_engine_pairs_amx        model_engine
#define ls_kernel_conv2d_fwd_amx        model_fwd
#define ls_kernel_conv2d_bwd_input_amx  model_input
#define ls_kernel_conv2d_bwd_weight_amx model_weight
#include "op/matmul/matmul_amx.c"

#include "op/conv2d/conv2d_amx.c"

extern const ls_op_case_list ls_cases_conv2d, ls_cases_conv2d_grad_input,
    ls_cases_conv2d_grad_weight;

static void forward_agrees_with_reference(void **state) {
    (void)state;
    assert_true(check_cases(&model_fwd, &ls_cases_conv2d) > 8);
}

static void input_gradient_agrees_with_reference(void **state) {
    (void)state;
    assert_true(check_cases(&model_input, &ls_cases_conv2d_grad_input) > 4);
}

static void weight_gradient_agrees_with_reference(void **state) {
    (void)state;
    assert_true(check_cases(&model_weight, &ls_cases_conv2d_grad_weight) > 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_agrees_with_reference),
        cmocka_unit_test(input_gradient_agrees_with_reference),
        cmocka_unit_test(weight_gradient_agrees_with_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
