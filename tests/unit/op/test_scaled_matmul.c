/* scaled_matmul beyond its cases: the same bits by every kernel and at any number of rows, and what it refuses. */
#include "unit/op/matmul_run.h"

#include "op/scaled_matmul/scaled_matmul.h"

typedef struct refusal {
    const char *words;
    ls_scaled_matmul_attr attr;
    int n_in;
    ls_type in[6];
} refusal;

#define A(dtype, m, k)      \
    {                       \
        LS_DTYPE_##dtype, { \
            2, {            \
                m, k        \
            }               \
        }                   \
    }
#define V(dtype, n)         \
    {                       \
        LS_DTYPE_##dtype, { \
            1, {            \
                n           \
            }               \
        }                   \
    }
#define MAX_K LS_SCALED_MATMUL_MAX_K

static const refusal refusals[] = {
    {"a must be u8 or i8, got bf16",
     {1, 0, 0, LS_DTYPE_F32},
     4,
     {A(BF16, 2, 3), A(I8, 4, 3), V(F32, 2), V(F32, 4)}},
    {"b must be i8, got u8",
     {1, 0, 0, LS_DTYPE_F32},
     4,
     {A(U8, 2, 3), A(U8, 4, 3), V(F32, 2), V(F32, 4)}},
    {"inner dims differ: a [2, 3] has 3, b [3, 4] transposed has 4",
     {1, 0, 0, LS_DTYPE_F32},
     4,
     {A(I8, 2, 3), A(I8, 3, 4), V(F32, 2), V(F32, 3)}},
    {"inner dim 65794: sums of more than 65793 products may not fit s32",
     {1, 0, 0, LS_DTYPE_F32},
     4,
     {A(I8, 2, MAX_K + 1), A(I8, 4, MAX_K + 1), V(F32, 2), V(F32, 4)}},
    {"scale_a must be f32 [2], got f32 [3]",
     {1, 0, 0, LS_DTYPE_F32},
     4,
     {A(I8, 2, 3), A(I8, 4, 3), V(F32, 3), V(F32, 4)}},
    {"scale_b must be f32 [4], got bf16 [4]",
     {1, 0, 0, LS_DTYPE_F32},
     4,
     {A(I8, 2, 3), A(I8, 4, 3), V(F32, 2), V(BF16, 4)}},
    {"zero_a must be i32 [2], got u8 [2]",
     {1, 1, 0, LS_DTYPE_F32},
     5,
     {A(U8, 2, 3), A(I8, 4, 3), V(F32, 2), V(F32, 4), V(U8, 2)}},
    {"bias must be f32 [4], got f32 [2]",
     {1, 0, 1, LS_DTYPE_F32},
     5,
     {A(U8, 2, 3), A(I8, 4, 3), V(F32, 2), V(F32, 4), V(F32, 2)}},
    {"4 inputs given, attributes ask for 5",
     {1, 1, 0, LS_DTYPE_F32},
     4,
     {A(U8, 2, 3), A(I8, 4, 3), V(F32, 2), V(F32, 4)}},
    {"out_dtype must be f32 or bf16, got i32",
     {1, 0, 0, LS_DTYPE_I32},
     4,
     {A(U8, 2, 3), A(I8, 4, 3), V(F32, 2), V(F32, 4)}},
};

static void refuses_with_a_sentence(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        const refusal *r = &refusals[i];
        ls_type out[LS_MAX_OUT];
        int n_out;
        assert_int_not_equal(ls_op_scaled_matmul.infer(&r->attr, r->n_in, r->in, &n_out, out),
                             LS_OK);
        if (!strstr(ls_error_message(), r->words))
            fail_msg("wanted '%s', got '%s'", r->words, ls_error_message());
        ls_error_clear();
    }
}

enum { M = 50, N = 70, K = 2501 };
static const ls_scaled_matmul_attr plain[2] = {{0, 0, 0, LS_DTYPE_F32}, {1, 0, 0, LS_DTYPE_F32}};

/* b is [N, K] with transpose_b, else [K, N]. */
static void init_run(run *r, ls_dtype dtype, int64_t m, int transpose_b) {
    const ls_type types[4] = {{dtype, {2, {m, K}}},
                              {LS_DTYPE_I8, {2, {transpose_b ? N : K, transpose_b ? K : N}}},
                              {LS_DTYPE_F32, {1, {m}}},
                              V(F32, N)};
    uint32_t state = 11;
    run_init(r, &ls_op_scaled_matmul, &plain[transpose_b], 4, types);
    for (int i = 0; i < 2; i++)
        for (int64_t k = 0; k < ls_type_count(&types[i]); k++)
            ((uint8_t *)r->in[i].data)[k] = (uint8_t)(128 + 127 * run_draw(&state));
}

static void check_kernels(ls_dtype dtype, int64_t m, int transpose_b) {
    run got, want;
    init_run(&got, dtype, m, transpose_b);
    init_run(&want, dtype, m, transpose_b);
    run_kernel(&want, ls_kernel_reference(&ls_op_scaled_matmul), 1);
    for (const ls_kernel *const *k = ls_op_scaled_matmul.kernels; *k; k++) {
        if ((*k)->isa > ls_cpu_isa()) continue;
        run_kernel(&got, *k, 2);
        if (memcmp(got.out[0].data, want.out[0].data, ls_type_bytes(&want.out_types[0])) != 0)
            fail_msg("%s, %d rows, transpose_b %d: not the reference's bits", (*k)->name, (int)m,
                     transpose_b);
    }
    run_deinit(&got);
    run_deinit(&want);
}

/* Sums are whole numbers: kernels differ in nothing, as there is no bias to add. Few rows go another way than many. */
static void every_kernel_gives_the_same_bits(void **state) {
    (void)state;
    static const int64_t rows[] = {1, 2, 3, 4, 5, 8, 9, 12, M};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (int kind = 0; kind < 4; kind++)
            check_kernels(kind / 2 ? LS_DTYPE_U8 : LS_DTYPE_I8, rows[i], kind % 2);
}

static void a_row_does_not_see_the_others(void **state) {
    (void)state;
    const ls_kernel *kernel;
    run few, many;
    init_run(&few, LS_DTYPE_I8, 1, 1);
    init_run(&many, LS_DTYPE_I8, 3 * M, 1);
    memcpy(few.in[0].data, many.in[0].data, K);
    memcpy(few.in[1].data, many.in[1].data, (size_t)N * K);
    memcpy(few.in[2].data, many.in[2].data, sizeof(float));
    memcpy(few.in[3].data, many.in[3].data, N * sizeof(float));
    assert_int_equal(ls_kernel_choose(&few.sig, LS_DEVICE_CPU, ls_cpu_isa(), &kernel), LS_OK);
    run_kernel(&few, kernel, 1);
    run_kernel(&many, kernel, 3);
    assert_memory_equal(few.out[0].data, many.out[0].data, N * sizeof(float));
    run_deinit(&few);
    run_deinit(&many);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_with_a_sentence),
        cmocka_unit_test(every_kernel_gives_the_same_bits),
        cmocka_unit_test(a_row_does_not_see_the_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
