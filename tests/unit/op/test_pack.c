/* pack and matmul_packed against matmul: the same bits in every form that this machine runs, for every way to share the work; and what
 * the two ops refuse. */
#include "op/pack/pack.h"
#include "unit/base/check.h"
#include "unit/op/matmul_run.h"

typedef struct product {
    int64_t m, n, k;
    int w_is_NK, n_threads;
    ls_dtype a, out;
    ls_matmul_attr epilogue;
} product;

static ls_dtype w_dtype(int form, ls_dtype a) {
    return ls_pack_form_engine(form)->k_word == 2 ? LS_DTYPE_BF16 : a;
}

/* The plain product's operands: a, w, then bias [n] and residual [m, n]. */
static int make_types(const product *p, int form, ls_type *in) {
    int n = 2;
    in[0] = (ls_type){w_dtype(form, p->a), {2, {p->m, p->k}}};
    in[1] = (ls_type){in[0].dtype, {2, {p->k, p->n}}};
    if (p->w_is_NK) in[1].shape = (ls_shape){2, {p->n, p->k}};
    if (p->epilogue.has_bias) in[n++] = (ls_type){LS_DTYPE_F32, {1, {p->n}}};
    if (p->epilogue.has_residual) in[n++] = (ls_type){p->out, {2, {p->m, p->n}}};
    return n;
}

/* The kernel of matmul that packs in this form, when there are rows enough. */
static const ls_kernel *find_kernel(int form, const ls_sig *sig) {
    ls_type in[4];
    ls_sig many = *sig;
    memcpy(in, sig->in, sizeof *in * (size_t)sig->n_in);
    in[0].shape.dims[0] = 100;
    many.in = in;
    for (const ls_kernel *const *k = ls_op_matmul.kernels; *k; k++)
        if (ls_pack_form_of(&many, *k) == form) return *k;
    fail_msg("no kernel of matmul packs as %s", ls_pack_form_name(form));
    return NULL;
}

static int
    n_packing; /* products compared; those of a few rows pack nothing and have the same bits all the same */

static void check_product(const product *p, int form) {
    ls_type in[4], packed_in[4];
    run plain, pack, packed;
    const ls_pack_attr layout = {form, p->w_is_NK};
    ls_matmul_packed_attr attr = {.n = p->n, .product = p->epilogue, .form = form};
    attr.product.transpose_b = p->w_is_NK;
    attr.product.out_dtype = (int)p->out;
    attr.product.alpha = 0.5f;
    const int n = make_types(p, form, in);
    run_init(&plain, &ls_op_matmul, &attr.product, n, in);
    run_init(&pack, &ls_op_pack, &layout, 1, &in[1]);
    memcpy(pack.in[0].data, plain.in[1].data, ls_tensor_bytes(&plain.in[1]));
    const ls_kernel *kernel = find_kernel(form, &plain.sig);
    run_kernel(&plain, kernel, p->n_threads);
    n_packing += ls_pack_form_of(&plain.sig, kernel) == form;
    run_kernel(&pack, ls_op_pack.kernels[0], p->n_threads);
    assert_int_equal(ls_pack_form_bytes(form, &plain.sig), ls_tensor_bytes(&pack.out[0]));
    memcpy(packed_in, in, sizeof in);
    packed_in[1] = pack.out_types[0];
    run_init(&packed, &ls_op_matmul_packed, &attr, n, packed_in);
    for (int i = 0; i < n; i++)
        memcpy(packed.in[i].data, i == 1 ? pack.out[0].data : plain.in[i].data,
               ls_tensor_bytes(&packed.in[i]));
    run_kernel(&packed, ls_op_matmul_packed.kernels[0], p->n_threads);
    for (int i = 0; i < plain.sig.n_out; i++)
        if (memcmp(plain.out[i].data, packed.out[i].data, ls_tensor_bytes(&plain.out[i])) != 0)
            fail_msg("form %s, m %lld n %lld k %lld, w_is_NK %d, %d threads, result %d: other bits "
                     "than matmul",
                     ls_pack_form_name(form), (long long)p->m, (long long)p->n, (long long)p->k,
                     p->w_is_NK, p->n_threads, i);
    run_deinit(&plain);
    run_deinit(&pack);
    run_deinit(&packed);
}

static void check_forms(const product *p) {
    int n_run = 0;
    for (int form = 0; form < LS_PACK_FORM_COUNT; form++) {
        if (ls_pack_form_refuses(form)) continue;
        check_product(p, form);
        n_run++;
    }
    assert_true(n_run >= 1);
}

/* Few rows, A in the cache, B shared by the threads; blocks of k, chunks of columns, edges everywhere. */
static void test_same_bits(void **state) {
    static const int64_t shapes[][3] = {{1, 1, 1},      {1, 300, 70},    {5, 33, 1201},
                                        {64, 1100, 40}, {65, 1100, 513}, {200, 97, 1100},
                                        {700, 2100, 17}};
    (void)state;
    n_packing = 0;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (int w_is_NK = 0; w_is_NK < 2; w_is_NK++)
            for (int n_threads = 1; n_threads <= 3; n_threads += 2) {
                const product p = {.m = shapes[i][0],
                                   .n = shapes[i][1],
                                   .k = shapes[i][2],
                                   .w_is_NK = w_is_NK,
                                   .n_threads = n_threads,
                                   .a = i % 2 ? LS_DTYPE_BF16 : LS_DTYPE_F32,
                                   .out = i % 3 ? LS_DTYPE_F32 : LS_DTYPE_BF16};
                check_forms(&p);
            }
    assert_true(n_packing >= 20);
}

static void test_epilogues(void **state) {
    (void)state;
    n_packing = 0;
    for (int i = 0; i < 8; i++) {
        const product p = {.m = i % 2 ? 90 : 7,
                           .n = 45,
                           .k = 600,
                           .w_is_NK = i / 4,
                           .n_threads = 2,
                           .a = LS_DTYPE_F32,
                           .out = i % 3 ? LS_DTYPE_F32 : LS_DTYPE_F16,
                           .epilogue = {.activation = i & 2 ? LS_ACT_GELU_TANH : LS_ACT_NONE,
                                        .has_bias = i & 1,
                                        .has_residual = (i >> 1) & 1}};
        check_forms(&p);
    }
    assert_true(n_packing >= 4);
}

/* --- refusals ------------------------------------------------------------------------------------------------------- */

static void check_infer(const ls_op *op, const void *attr, int n_in, const ls_type *in,
                        const char *words) {
    int n_out = 0;
    ls_type out[LS_MAX_OUT];
    check_fails(op->infer(attr, n_in, in, &n_out, out), LS_ERR_INVALID, words);
}

static void test_pack_refusals(void **state) {
    const ls_type matrix = {LS_DTYPE_F64, {2, {4, 4}}}, vector = {LS_DTYPE_F32, {1, {4}}};
    const ls_pack_attr base = {LS_PACK_WIDE_BASE, 0}, none = {LS_PACK_FORM_COUNT, 0};
    (void)state;
    check_infer(&ls_op_pack, &base, 1, &matrix, "takes a weight of f32, bf16 or f16, got f64");
    check_infer(&ls_op_pack, &base, 1, &vector, "2 dim");
    check_infer(&ls_op_pack, &none, 1, &matrix, "not one of this build's");
    assert_string_equal(ls_pack_form_name(99), "unknown");
    assert_non_null(ls_pack_form_refuses(-1));
#ifdef LS_X86
    const ls_pack_attr pairs = {LS_PACK_PAIRS_AMX, 0};
    const ls_type f16 = {LS_DTYPE_F16, {2, {4, 4}}};
    check_infer(&ls_op_pack, &pairs, 1, &f16, "form pairs_amx takes a weight of bf16, got f16");
#endif
}

static void test_product_refusals(void **state) {
    ls_matmul_packed_attr attr = {.n = 3, .product = {.out_dtype = -1, .alpha = 1}};
    const ls_type in[2] = {{LS_DTYPE_F32, {2, {5, 7}}}, {LS_DTYPE_F32, {4, {1, 1, 7, 16}}}};
    const ls_type wrong[2] = {in[0], {LS_DTYPE_F32, {4, {1, 2, 7, 16}}}};
    int n_out = 0;
    ls_type out[LS_MAX_OUT];
    (void)state;
    check_ok(ls_op_matmul_packed.infer(&attr, 2, in, &n_out, out));
    assert_int_equal(out[0].shape.dims[1], 3);
    check_infer(&ls_op_matmul_packed, &attr, 2, wrong,
                "lays a w of 3 columns out as f32 [1, 1, 7, 16]");
    check_infer(&ls_op_matmul_packed, &attr, 3, (ls_type[3]){in[0], in[1], in[0]},
                "attributes ask for 2");
    attr.product.transpose_a = 1;
    check_infer(&ls_op_matmul_packed, &attr, 2, in, "transposed a");
}

/* Operands that are packed: a weight that rows enough share. */
static void test_form_of(void **state) {
    static const struct {
        int64_t rows;
        int transpose_a, batched, packs;
    } cases[] = {{100, 0, 0, 1}, {1, 0, 0, 0}, {100, 1, 0, 0}, {100, 0, 1, 0}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const int t = cases[i].transpose_a;
        const ls_matmul_attr attr = {.transpose_a = t, .out_dtype = -1, .alpha = 1};
        ls_type in[2] = {{LS_DTYPE_F32, {2, {t ? 40 : cases[i].rows, t ? cases[i].rows : 40}}},
                         {LS_DTYPE_F32, {2, {40, 30}}}};
        if (cases[i].batched)
            for (int k = 0; k < 2; k++)
                in[k].shape = (ls_shape){3, {2, in[k].shape.dims[0], in[k].shape.dims[1]}};
        ls_type out[LS_MAX_OUT];
        int n_out;
        const ls_kernel *kernel;
        check_ok(ls_op_matmul.infer(&attr, 2, in, &n_out, out));
        const ls_sig sig = {&ls_op_matmul, &attr, 2, 1, in, out};
        check_ok(ls_kernel_choose(&sig, LS_DEVICE_CPU, ls_cpu_isa(), &kernel));
        const int form = ls_pack_form_of(&sig, kernel);
        assert_int_equal(form != LS_PACK_FORM_NONE, cases[i].packs);
        assert_int_equal(ls_pack_form_of(&sig, ls_kernel_reference(&ls_op_matmul)),
                         LS_PACK_FORM_NONE);
        if (form >= 0) assert_int_equal(ls_pack_form_refuses(form) == NULL, 1);
    }
}

/* A form of a level that the machine lacks is left to the reference kernel. */
static void test_levels(void **state) {
    const ls_isa best = ls_cpu_isa();
    const ls_type w = {LS_DTYPE_BF16, {2, {4, 4}}};
    ls_type out[LS_MAX_OUT];
    int n_out;
    (void)state;
    ls_cpu_limit_isa(LS_ISA_BASE);
    for (int form = 0; form < LS_PACK_FORM_COUNT && ls_pack_form_engine(form); form++) {
        const ls_pack_attr attr = {form, 0};
        const ls_kernel *kernel;
        check_ok(ls_op_pack.infer(&attr, 1, &w, &n_out, out));
        const ls_sig sig = {&ls_op_pack, &attr, 1, 1, &w, out};
        check_ok(ls_kernel_choose(&sig, LS_DEVICE_CPU, ls_cpu_isa(), &kernel));
        assert_string_equal(kernel->name,
                            form == LS_PACK_WIDE_BASE ? "pack_cpu_panels" : "pack_ref");
    }
    ls_cpu_limit_isa(best);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bits),     cmocka_unit_test(test_epilogues),
        cmocka_unit_test(test_pack_refusals), cmocka_unit_test(test_product_refusals),
        cmocka_unit_test(test_levels),        cmocka_unit_test(test_form_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
