/* The AMX attention kernels' own source on a model of the instructions.
 * labels: threads cost=15 */
#include "op/amx_cases.h"
#define ls_kernel_attention_fwd_amx  model_fwd
#define ls_kernel_attention_grad_amx model_grad
#include "op/attention/attention_amx.c"
#undef ls_kernel_attention_fwd_amx
#undef ls_kernel_attention_grad_amx

extern const ls_op_case_list ls_cases_attention, ls_cases_attention_grad;

static void forward_agrees_with_reference(void **state) {
    (void)state;
    assert_true(check_cases(&model_fwd, &ls_cases_attention) > 12);
}

static void gradient_agrees_with_reference(void **state) {
    (void)state;
    assert_true(check_cases(&model_grad, &ls_cases_attention_grad) > 8);
}

static void other_dtypes_are_refused(void **state) {
    (void)state;
    const ls_attention_attr attr = {2, 1};
    const ls_type in = {LS_DTYPE_F16, {3, {1, 4, 12}}};
    ls_type out[2] = {{LS_DTYPE_F16, {3, {1, 4, 4}}}, {LS_DTYPE_F32, {3, {1, 2, 4}}}};
    const ls_sig sig = {&ls_op_attention, &attr, 1, 2, &in, out};
    assert_string_equal(model_fwd.refuses(&sig), "an input is not bf16");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_agrees_with_reference),
        cmocka_unit_test(gradient_agrees_with_reference),
        cmocka_unit_test(other_dtypes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
