/* What the cases of cross_entropy do not hold: rows whose first logits say nothing of the others, infinities and NaN, the gradient in the
 * logits' own place. Every kernel that this machine runs, against the reference. */
#include "op/cross_entropy/cross_entropy.h"

#include "op/op.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { V = 5003, ROWS = 2 }; /* several tiles of a row, the last one cut */

typedef struct loss_run {
    ls_type in_type[2], out_type[4];
    ls_cross_entropy_attr attr;
    ls_sig sig;
    ls_tensor in[2], out[4];
} loss_run;

static void free_run(loss_run *r) {
    for (int i = 0; i < 2; i++) free(r->in[i].data);
    for (int i = 0; i < 4; i++) free(r->out[i].data);
}

static ls_tensor make_tensor(const ls_type *type) {
    const ls_tensor t = {type->dtype, type->shape, calloc(1, ls_type_bytes(type))};
    assert_non_null(t.data);
    return t;
}

static void make_run(loss_run *r, ls_dtype dtype, float smoothing) {
    int n_out = 0;
    *r = (loss_run){.attr = {smoothing, -100, 1},
                    .in_type = {{dtype, {2, {ROWS, V}}}, {LS_DTYPE_I32, {1, {ROWS}}}}};
    assert_int_equal(ls_op_cross_entropy.infer(&r->attr, 2, r->in_type, &n_out, r->out_type),
                     LS_OK);
    r->sig = (ls_sig){&ls_op_cross_entropy, &r->attr, 2, n_out, r->in_type, r->out_type};
    for (int i = 0; i < 2; i++) r->in[i] = make_tensor(&r->in_type[i]);
    for (int i = 0; i < 4; i++) r->out[i] = make_tensor(&r->out_type[i]);
}

static void launch(loss_run *r, const ls_kernel *kernel, int in_place) {
    ls_tensor out[4];
    memcpy(out, r->out, sizeof out);
    if (in_place) out[2] = r->in[0];
    const size_t bytes = kernel->workspace_bytes ? kernel->workspace_bytes(&r->sig, 1) : 0;
    void *workspace = ls_alloc(bytes + 1);
    const ls_launch l = {.sig = &r->sig, .in = r->in, .out = out, .workspace = workspace};
    assert_int_equal(kernel->launch(&l), LS_OK);
    ls_free(workspace);
}

/* Logit i of the row. */
typedef double (*logit_fn)(int i);
static double small(int i) {
    return (i * 37 % 101) * 0.05;
}
static double
rising(int i) { /* every tile far above what came before, also above what e^x can hold */
    return small(i) + i / 1000 * 120.0;
}
static double falling(int i) {
    return small(i) - i / 1000 * 120.0;
}
static double late(int i) { /* nothing to begin with, then little */
    return i < 3000 ? -INFINITY : small(i) - 300;
}
static double alone(int i) {
    return i == 4999 ? -250 : -INFINITY;
}
static double spike(int i) {
    return i == 2500 ? 500 : small(i);
}
static double not_a_number(int i) {
    return i == 4000 ? NAN : small(i);
}
static double infinite(int i) {
    return i == 300 ? INFINITY : small(i);
}

static const struct {
    const char *name;
    logit_fn logit;
    int target;
} rows[] = {{"small", small, 77},          {"rising", rising, 4700},  {"falling", falling, 10},
            {"late", late, 3001},          {"alone", alone, 4999},    {"spike", spike, 2500},
            {"nan", not_a_number, 3},      {"infinite", infinite, 4}, {"spike apart", spike, 5002},
            {"late in a tile", late, 4500}};

static int is_near(double got, double want, ls_dtype dtype) {
    const double step = dtype == LS_DTYPE_BF16 ? 0x1p-7 : dtype == LS_DTYPE_F16 ? 0x1p-10 : 0;
    if (isnan(want) || isinf(want)) return !isfinite(got);
    return fabs(got - want) <= 2e-5 * (1 + fabs(want)) + step * fabs(want);
}

static void check_kernel(loss_run *r, const loss_run *want, const ls_kernel *kernel,
                         const char *what) {
    const ls_dtype dtype = r->in_type[0].dtype;
    launch(r, kernel, 0);
    for (int i = 0; i < 4; i++)
        for (int64_t k = 0; k < ls_type_count(&r->out_type[i]); k++) {
            const double g = ls_tensor_get(&r->out[i], k), w = ls_tensor_get(&want->out[i], k);
            if (!is_near(g, w, i == 2 ? dtype : LS_DTYPE_F32))
                fail_msg("%s, %s, %s: result %d, index %lld: got %g, want %g", what, kernel->name,
                         ls_dtype_name(dtype), i, (long long)k, g, w);
        }
    const size_t bytes = ls_tensor_bytes(&r->in[0]);
    void *logits = malloc(bytes);
    assert_non_null(logits);
    memcpy(logits, r->in[0].data, bytes);
    launch(r, kernel, 1);
    assert_memory_equal(r->in[0].data, r->out[2].data, bytes);
    memcpy(r->in[0].data, logits, bytes);
    free(logits);
}

static void check_row(int row, ls_dtype dtype, float smoothing) {
    loss_run r, want;
    make_run(&r, dtype, smoothing);
    make_run(&want, dtype, smoothing);
    for (int k = 0; k < ROWS; k++) {
        for (int i = 0; i < V; i++)
            ls_tensor_set(&r.in[0], k * V + i, k ? small(i) : rows[row].logit(i));
        ((int32_t *)r.in[1].data)[k] = rows[row].target;
    }
    memcpy(want.in[0].data, r.in[0].data, ls_tensor_bytes(&r.in[0]));
    memcpy(want.in[1].data, r.in[1].data, ls_tensor_bytes(&r.in[1]));
    const ls_kernel *reference = ls_kernel_reference(&ls_op_cross_entropy);
    launch(&want, reference, 0);
    for (const ls_kernel *const *k = ls_op_cross_entropy.kernels; *k != reference; k++)
        if ((*k)->isa <= ls_cpu_isa() && !(*k)->refuses(&r.sig))
            check_kernel(&r, &want, *k, rows[row].name);
    free_run(&r);
    free_run(&want);
}

static void test_rows_of_all_kinds(void **state) {
    static const ls_dtype dtypes[] = {LS_DTYPE_F32, LS_DTYPE_BF16, LS_DTYPE_F16};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (int d = 0; d < 3; d++) check_row((int)i, dtypes[d], 0);
}

static void test_smoothed(void **state) {
    (void)state;
    check_row(0, LS_DTYPE_F32, 0.1f);
    check_row(0, LS_DTYPE_BF16, 0.1f);
    check_row(1, LS_DTYPE_BF16, 0.1f);
}

/* The kernel for bf16 is one of the machine's level, and takes nothing else. */
static void test_bf16_kernel(void **state) {
    const ls_kernel *chosen = NULL;
    loss_run r;
    (void)state;
    if (ls_cpu_isa() < LS_ISA_AVX512BF16) skip();
    make_run(&r, LS_DTYPE_BF16, 0);
    assert_int_equal(ls_kernel_choose(&r.sig, LS_DEVICE_CPU, ls_cpu_isa(), &chosen), LS_OK);
    assert_string_equal(chosen->name, "cross_entropy_fwd_cpu_avx512bf16");
    free_run(&r);
    make_run(&r, LS_DTYPE_F32, 0);
    assert_string_equal(chosen->refuses(&r.sig), "logits are not bf16");
    free_run(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_of_all_kinds),
        cmocka_unit_test(test_smoothed),
        cmocka_unit_test(test_bf16_kernel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
