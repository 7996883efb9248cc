/* The ops around the steps: norm, factor, counters; and what the steps refuse. */
#include "unit/optim/optim_run.h"

#include "op/clip_scale/clip_scale.h"
#include "op/loss_scale_step/loss_scale_step.h"
#include "op/sum_squares/sum_squares.h"

static const ls_type scalar = {LS_DTYPE_F32, {0, {0}}};

/* Runs an op of f32 scalars; in-place results are written to `in`, others to `out`. */
static void run_scalars(const ls_op *op, const void *attr, float *in, int n_in, float *out) {
    ls_type in_types[8], out_types[LS_MAX_OUT];
    ls_tensor tensors[8], results[LS_MAX_OUT];
    for (int i = 0; i < n_in; i++) {
        in_types[i] = scalar;
        tensors[i] = (ls_tensor){LS_DTYPE_F32, {0, {0}}, &in[i]};
    }
    ls_sig sig = {op, attr, n_in, 0, in_types, out_types};
    if (op->infer(attr, n_in, in_types, &sig.n_out, out_types) != LS_OK)
        fail_msg("%s", ls_error_message());
    for (int i = 0; i < sig.n_out; i++) {
        const int alias = op->alias ? op->alias(&sig, i) : -1;
        results[i] = alias >= 0 ? tensors[alias] : (ls_tensor){LS_DTYPE_F32, {0, {0}}, &out[i]};
    }
    const ls_launch launch = {.sig = &sig, .in = tensors, .out = results};
    assert_int_equal(ls_kernel_reference(op)->launch(&launch), LS_OK);
}

typedef struct clip_row {
    ls_clip_scale_attr attr;
    float in[3];
    double scale, norm;
} clip_row;

static void test_clip_scale(void **state) {
    (void)state;
    static const clip_row rows[] = {
        {{0, 1, 0, 0}, {7}, 1, 7},
        {{1, 1, 0, 0}, {0.5f}, 1, 0.5},
        {{1, 1, 0, 0}, {4}, 0.25, 4},
        {{1, 1, 0, 0}, {0}, 1, 0},
        {{0, 100, 1, 0}, {3, 50}, 2, 6},
        {{3, 100, 1, 0}, {3, 50}, 1, 6},
        {{0, 1, 0, 1}, {512, 1024}, 1.0 / 1024, 0.5},
        {{1, 100, 1, 1}, {2048, 50, 1024}, 2.0 / 1024 / 4, 4},
        {{1, 1, 0, 0}, {INFINITY}, -1, INFINITY},
        {{0, 1, 0, 0}, {NAN}, -1, NAN},
        {{0, 100, 1, 0}, {0, 0}, -1, NAN},
        {{0, 100, 1, 0}, {3, -50}, -1, -6},
        {{0, 100, 1, 0}, {3, NAN}, -1, NAN},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const clip_row *r = &rows[i];
        float in[3], out[2];
        memcpy(in, r->in, sizeof in);
        run_scalars(&ls_op_clip_scale, &r->attr, in, 1 + r->attr.has_count + r->attr.has_loss_scale,
                    out);
        const int same_norm = isnan(r->norm) ? isnan(out[1]) : (double)out[1] == r->norm;
        if (!(fabs(out[0] - r->scale) <= 1e-6 * fabs(r->scale)) || !same_norm)
            fail_msg("row %d: scale %g norm %g, want %g and %g", (int)i, out[0], out[1], r->scale,
                     r->norm);
    }
}

typedef struct loss_scale_row {
    float in[4];   /* loss scale, good steps, skipped, scale */
    float want[3]; /* the first three afterwards */
} loss_scale_row;

static void test_loss_scale_step(void **state) {
    (void)state;
    static const ls_loss_scale_attr attr = {3, 2, 4096};
    static const loss_scale_row rows[] = {
        {{1024, 0, 0, 1}, {1024, 1, 0}},  {{1024, 1, 5, 0}, {1024, 2, 5}},
        {{1024, 2, 5, 1}, {2048, 0, 5}},  {{4096, 2, 0, 1}, {4096, 0, 0}},
        {{1024, 2, 5, -1}, {512, 0, 6}},  {{2, 1, 8, -1}, {2, 0, 9}},
        {{1024, 1, 0, NAN}, {512, 0, 1}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        float in[4];
        memcpy(in, rows[i].in, sizeof in);
        run_scalars(&ls_op_loss_scale_step, &attr, in, 4, NULL);
        assert_memory_equal(in, rows[i].want, sizeof rows[i].want);
    }
    const ls_loss_scale_attr fixed = {0, 1, 4096};
    float in[4] = {8, 1e6f, 0, 1};
    run_scalars(&ls_op_loss_scale_step, &fixed, in, 4, NULL);
    assert_true(in[0] == 8);
}

static void test_step_count(void **state) {
    (void)state;
    static const float scales[] = {1, 0, -1, NAN, 2};
    static const float want[] = {1, 2, 2, 2, 3};
    float in[2] = {0};
    for (int i = 0; i < 5; i++) {
        in[1] = scales[i];
        run_scalars(&ls_op_step_count, NULL, in, 2, NULL);
        assert_true(in[0] == want[i]);
    }
}

/* Sums of squares of x, as `size` ranks make them: each from its own piece with zeros behind the end. */
static void sum_squares_at(ls_isa isa, ls_pool *pool, const float *x, ls_sum_squares_attr attr,
                           double *out) {
    const int64_t piece =
        attr.size == 1 ? attr.count : ls_shard_piece(attr.count, attr.lanes, attr.size);
    const ls_type type = {LS_DTYPE_F32, {1, {piece}}};
    const ls_type result = {LS_DTYPE_F64, {1, {attr.lanes / attr.size}}};
    const ls_sig sig = {&ls_op_sum_squares, &attr, 1, 1, &type, &result};
    const ls_kernel *kernel;
    assert_int_equal(ls_kernel_choose(&sig, LS_DEVICE_CPU, isa, &kernel), LS_OK);
    void *workspace = ls_alloc(kernel->workspace_bytes(&sig, 1));
    float *mine = ls_alloc(sizeof *mine * (size_t)(piece + 1));
    for (int q = 0; q < attr.size; q++) {
        const int64_t n = ls_shard_count(attr.count, piece, q);
        memset(mine, 0, sizeof *mine * (size_t)piece);
        memcpy(mine, x + (n ? q * piece : 0), sizeof *mine * (size_t)n);
        const ls_tensor in = {LS_DTYPE_F32, type.shape, mine};
        ls_tensor sums = {LS_DTYPE_F64, result.shape, out + q * (attr.lanes / attr.size)};
        const ls_launch launch = {
            .sig = &sig, .in = &in, .out = &sums, .workspace = workspace, .pool = pool};
        assert_int_equal(kernel->launch(&launch), LS_OK);
    }
    ls_free(mine);
    ls_free(workspace);
}

/* Norm of two tensors by the kernels of one level and a pool. */
static float norm_at(ls_isa isa, ls_pool *pool, const float *x, const int64_t counts[2]) {
    static const ls_type sums[] = {{LS_DTYPE_F64, {1, {1}}}, {LS_DTYPE_F64, {1, {1}}}};
    double squares[2];
    ls_tensor terms[2];
    for (int i = 0; i < 2; i++) {
        sum_squares_at(isa, pool, x + i * counts[0], (ls_sum_squares_attr){counts[i], 1, 1},
                       &squares[i]);
        terms[i] = (ls_tensor){LS_DTYPE_F64, {1, {1}}, &squares[i]};
    }
    float norm = -1;
    double scratch[2];
    ls_tensor out = {LS_DTYPE_F32, {0, {0}}, &norm};
    const ls_sig sig = {&ls_op_grad_norm, NULL, 2, 1, sums, &scalar};
    const ls_launch launch = {.sig = &sig, .in = terms, .out = &out, .workspace = scratch};
    assert_int_equal(ls_kernel_reference(&ls_op_grad_norm)->launch(&launch), LS_OK);
    return norm;
}

/* Ranks that hold pieces make the very numbers that one rank makes of the whole. */
static void test_sum_squares_of_pieces(void **state) {
    (void)state;
    enum { MOST = 9 * LS_STEP_BLOCK };
    static const int64_t counts[] = {1,   63,    64,   65,   511,          512,
                                     513, 10007, 4096, MOST, MOST - 12345, 8 * LS_STEP_BLOCK + 1};
    float *x = ls_alloc(MOST * sizeof *x);
    assert_non_null(x);
    for (int i = 0; i < MOST; i++) x[i] = sinf((float)i) * powf(10, (float)(i % 13) - 6);
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++)
        for (int lanes = 1; lanes <= 8; lanes *= 2) {
            double whole[8], pieces[8];
            sum_squares_at(ls_cpu_isa(), NULL, x, (ls_sum_squares_attr){counts[c], lanes, 1},
                           whole);
            for (int size = 2; size <= lanes; size *= 2) {
                sum_squares_at(LS_ISA_BASE, NULL, x, (ls_sum_squares_attr){counts[c], lanes, size},
                               pieces);
                assert_memory_equal(whole, pieces, sizeof(double) * (size_t)lanes);
            }
        }
    ls_free(x);
}

static void test_sum_squares_refusals(void **state) {
    (void)state;
    static const ls_sum_squares_attr bad[] = {{128, 3, 2}, {128, 0, 1}, {129, 1, 1}, {300, 4, 2}};
    static const char *const words[] = {"multiple of size, got lanes 3, size 2", "got lanes 0",
                                        "x has 129 elements, got 128",
                                        "x has 256 elements, got 128"};
    const ls_type x = {LS_DTYPE_F32, {1, {128}}};
    for (int i = 0; i < 4; i++) {
        int n_out;
        ls_type out[LS_MAX_OUT];
        assert_int_equal(ls_op_sum_squares.infer(&bad[i], 1, &x, &n_out, out), LS_ERR_INVALID);
        assert_non_null(strstr(ls_error_message(), words[i]));
    }
}

/* The sum is canonical: the same bits on every instruction-set level and with any number of threads. */
static void test_grad_norm_is_canonical(void **state) {
    (void)state;
    enum { COUNT = 5 * LS_STEP_BLOCK + 1234 };
    static const int64_t splits[][2] = {
        {COUNT, 0}, {1, COUNT - 1}, {3 * LS_STEP_BLOCK, 2 * LS_STEP_BLOCK + 1234}, {7, 9}};
    float *x = ls_alloc(COUNT * sizeof *x);
    assert_non_null(x);
    for (int i = 0; i < COUNT; i++) x[i] = sinf((float)i) * powf(10, (float)(i % 13) - 6);
    ls_pool *pool;
    assert_int_equal(ls_pool_create(3, -1, &pool), LS_OK);
    for (int s = 0; s < 4; s++) {
        double sum = 0;
        for (int64_t i = 0; i < splits[s][0] + splits[s][1]; i++) sum += (double)x[i] * x[i];
        const float base = norm_at(LS_ISA_BASE, NULL, x, splits[s]);
        assert_true(fabs(base - sqrt(sum)) <= 1e-7 * sqrt(sum));
        for (int isa = LS_ISA_BASE; isa <= LS_ISA_AVX512 && isa <= (int)ls_cpu_isa(); isa++)
            assert_true(norm_at((ls_isa)isa, pool, x, splits[s]) == base);
    }
    x[COUNT - 1] = NAN;
    assert_true(isnan(norm_at(ls_cpu_isa(), pool, x, splits[0])));
    x[COUNT - 1] = 3e38f;
    x[0] = -3e38f;
    assert_true(isinf(norm_at(ls_cpu_isa(), pool, x, splits[0])));
    ls_pool_destroy(pool);
    ls_free(x);
}

typedef struct infer_row {
    int changed; /* which input; -1: none */
    ls_type type;
    int n_in;
    ls_step_attr attr;
    const char *words;
} infer_row;

static void test_step_refusals(void **state) {
    (void)state;
    static const ls_step_attr good = {.beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8};
    const infer_row rows[] = {
        {0, {LS_DTYPE_BF16, {1, {8}}}, 7, good, "keep f32 master weights"},
        {1, {LS_DTYPE_F16, {1, {8}}}, 7, good, "got f16"},
        {1, {LS_DTYPE_F32, {1, {9}}}, 7, good, "same shape, got [8] and [9]"},
        {2, {LS_DTYPE_F32, {1, {8}}}, 7, good, "lr must be one f32 number, got f32[8]"},
        {3, {LS_DTYPE_I64, {0, {0}}}, 7, good, "t must be one f32 number, got i64"},
        {4, {LS_DTYPE_F32, {1, {2}}}, 7, good, "scale must be one"},
        {6, {LS_DTYPE_F32, {2, {2, 4}}}, 7, good, "same shape"},
        {-1, {0}, 6, good, "2 state tensors, got 6 inputs"},
        {-1, {0}, 7, {.beta1 = 1}, "beta1 must be in [0, 1), got 1"},
        {-1, {0}, 7, {.beta2 = -0.5}, "beta2 must be in"},
        {-1, {0}, 7, {.eps = NAN}, "eps and weight_decay must not be negative"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const ls_type vector = {LS_DTYPE_F32, {1, {8}}};
        ls_type in[] = {vector, vector, scalar, scalar, scalar, vector, vector}, out[LS_MAX_OUT];
        int n_out = 0;
        assert_int_equal(ls_op_adam_step.infer(&good, 7, in, &n_out, out), LS_OK);
        assert_int_equal(n_out, 3);
        if (rows[i].changed >= 0) in[rows[i].changed] = rows[i].type;
        assert_int_equal(ls_op_adam_step.infer(&rows[i].attr, rows[i].n_in, in, &n_out, out),
                         LS_ERR_INVALID);
        if (!strstr(ls_error_message(), rows[i].words))
            fail_msg("'%s' does not say '%s'", ls_error_message(), rows[i].words);
    }
}

static void test_shard_rules(void **state) {
    (void)state;
    const ls_sig adam = {&ls_op_adam_step, NULL, 7, 3, NULL, NULL};
    const ls_sig lamb = {&ls_op_lamb_step, NULL, 7, 3, NULL, NULL};
    const int rows[] = {0, 0, -1, -1, -1, 0, 0}, none[] = {-1, -1, -1, -1, -1, -1, -1};
    const int uneven[] = {0, -1, -1, -1, -1, 0, 0}, lr_split[] = {0, 0, 0, -1, -1, 0, 0};
    int out[3] = {9, 9, 9};
    assert_int_equal(ls_op_adam_step.shard(&adam, rows, out), LS_OK);
    assert_true(out[0] == 0 && out[1] == 0 && out[2] == 0);
    assert_int_equal(ls_op_adam_step.shard(&adam, none, out), LS_OK);
    assert_true(out[0] == LS_SHARD_REPLICATED);
    assert_int_equal(ls_op_adam_step.shard(&adam, uneven, out), LS_ERR_UNSUPPORTED);
    assert_int_equal(ls_op_adam_step.shard(&adam, lr_split, out), LS_ERR_UNSUPPORTED);
    assert_int_equal(ls_op_lamb_step.shard(&lamb, none, out), LS_OK);
    assert_int_equal(ls_op_lamb_step.shard(&lamb, rows, out), LS_ERR_UNSUPPORTED);
    assert_non_null(strstr(ls_error_message(), "norm of the whole parameter"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clip_scale),
        cmocka_unit_test(test_loss_scale_step),
        cmocka_unit_test(test_step_count),
        cmocka_unit_test(test_grad_norm_is_canonical),
        cmocka_unit_test(test_sum_squares_of_pieces),
        cmocka_unit_test(test_sum_squares_refusals),
        cmocka_unit_test(test_step_refusals),
        cmocka_unit_test(test_shard_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
