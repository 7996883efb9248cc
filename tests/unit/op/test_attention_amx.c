/* The AMX kernels' own source on emulated tiles, over the cases of attention, against the reference. */
#pragma GCC diagnostic ignored "-Wpsabi"
#define LS_AMX_EMULATE
#define ls_kernel_attention_fwd_amx  emulated_fwd
#define ls_kernel_attention_grad_amx emulated_grad
#include "op/attention/attention_amx.c"
#undef ls_kernel_attention_fwd_amx
#undef ls_kernel_attention_grad_amx

#define ls_cases_attention      own_cases
#define ls_cases_attention_grad own_grad_cases
#include "op/attention/attention_cases.c"
#undef ls_cases_attention
#undef ls_cases_attention_grad

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { MAX_INPUTS = 6 };

static void make(ls_tensor *t, const ls_type *type) {
    *t = (ls_tensor){type->dtype, type->shape, ls_alloc(ls_type_bytes(type) + 1)};
    assert_non_null(t->data);
}

/* Roughly normal numbers: a sum of four uniform ones. */
static void fill(ls_tensor *t, const ls_case_in *in, uint32_t *state) {
    for (int64_t k = 0; k < ls_shape_count(&t->shape); k++) {
        double sum = 0;
        for (int i = 0; i < 4; i++) {
            *state = *state * 1664525u + 1013904223u;
            sum += (double)(*state >> 8) / (1 << 24);
        }
        if (in->fill == LS_FILL_UNIFORM)
            ls_tensor_set(t, k, in->a + (in->b - in->a) * sum / 4);
        else
            ls_tensor_set(t, k, in->a + (in->b == 0 ? 1 : in->b) * (sum - 2) * 1.7);
    }
}

static void run(const ls_sig *sig, const ls_kernel *kernel, const ls_tensor *in, ls_tensor *out,
                int n_threads) {
    ls_pool *pool = NULL;
    if (n_threads > 1) assert_int_equal(ls_pool_create(n_threads, -1, &pool), LS_OK);
    const size_t bytes = kernel->workspace_bytes(sig, n_threads);
    void *workspace = ls_alloc(bytes);
    assert_non_null(workspace);
    memset(workspace, 0xff, bytes); /* NaN */
    const ls_launch launch = {
        .sig = sig, .in = in, .out = out, .workspace = workspace, .pool = pool};
    assert_int_equal(kernel->launch(&launch), LS_OK);
    ls_free(workspace);
    ls_pool_destroy(pool);
}

static void compare(const ls_op_case *c, const ls_tensor *got, const ls_tensor *want) {
    const int64_t n = ls_shape_count(&want->shape);
    double squares = 0;
    for (int64_t i = 0; i < n; i++) squares += ls_tensor_get(want, i) * ls_tensor_get(want, i);
    const double scale = n ? sqrt(squares / (double)n) : 0;
    const double step = want->dtype == LS_DTYPE_BF16 ? 0x1p-7 : 0;
    for (int64_t i = 0; i < n; i++) {
        const double w = ls_tensor_get(want, i), size = fabs(w) > scale ? fabs(w) : scale;
        const double error = fabs(ls_tensor_get(got, i) - w);
        if (!(error <= c->tolerance * (1 + size) + step * size))
            fail_msg("case %s, element %lld: got %g, want %g", c->name, (long long)i,
                     ls_tensor_get(got, i), w);
    }
}

static void check_case(const ls_op *op, const ls_kernel *kernel, const ls_op_case *c) {
    ls_type in_types[MAX_INPUTS], out_types[LS_MAX_OUT];
    ls_tensor in[MAX_INPUTS], got[LS_MAX_OUT], again[LS_MAX_OUT], want[LS_MAX_OUT];
    uint32_t state = 7;
    ls_sig sig = {op, c->attr, c->n_in, 0, in_types, out_types};
    for (int i = 0; i < c->n_in; i++) {
        const int dtype = c->in[i].dtype == LS_CASE_T ? LS_DTYPE_BF16 : c->in[i].dtype;
        in_types[i] = (ls_type){(ls_dtype)dtype, c->in[i].shape};
        make(&in[i], &in_types[i]);
        fill(&in[i], &c->in[i], &state);
    }
    assert_int_equal(op->infer(c->attr, c->n_in, in_types, &sig.n_out, out_types), LS_OK);
    assert_null(kernel->refuses(&sig));
    for (int i = 0; i < sig.n_out; i++) {
        make(&got[i], &out_types[i]);
        make(&again[i], &out_types[i]);
        make(&want[i], &out_types[i]);
    }
    run(&sig, kernel, in, got, 1);
    run(&sig, kernel, in, again, 2);
    run(&sig, ls_kernel_reference(op), in, want, 1);
    for (int i = 0; i < sig.n_out; i++) {
        compare(c, &got[i], &want[i]);
        assert_memory_equal(got[i].data, again[i].data, ls_type_bytes(&out_types[i]));
        ls_free(got[i].data);
        ls_free(again[i].data);
        ls_free(want[i].data);
    }
    for (int i = 0; i < c->n_in; i++) ls_free(in[i].data);
}

static int check_list(const ls_op *op, const ls_kernel *kernel, const ls_op_case_list *list) {
    int n_checked = 0;
    for (int i = 0; i < list->n_cases; i++) {
        const ls_op_case *c = &list->cases[i];
        if (c->bench || !(c->dtypes & LS_CASE_BF16)) continue;
        check_case(op, kernel, c);
        n_checked++;
    }
    return n_checked;
}

static void forward_agrees_with_reference(void **state) {
    (void)state;
    assert_true(check_list(&ls_op_attention, &emulated_fwd, &own_cases) > 12);
}

static void gradient_agrees_with_reference(void **state) {
    (void)state;
    assert_true(check_list(&ls_op_attention_grad, &emulated_grad, &own_grad_cases) > 8);
}

static void other_dtypes_are_refused(void **state) {
    (void)state;
    const ls_attention_attr attr = {2, 1};
    const ls_type in = {LS_DTYPE_F16, {3, {1, 4, 12}}};
    ls_type out[2] = {{LS_DTYPE_F16, {3, {1, 4, 4}}}, {LS_DTYPE_F32, {3, {1, 2, 4}}}};
    const ls_sig sig = {&ls_op_attention, &attr, 1, 2, &in, out};
    assert_string_equal(emulated_fwd.refuses(&sig), "an input is not bf16");
    assert_int_equal(emulated_fwd.isa, LS_ISA_AMX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_agrees_with_reference),
        cmocka_unit_test(gradient_agrees_with_reference),
        cmocka_unit_test(other_dtypes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
