#pragma GCC diagnostic ignored \
    "-Wpsabi" /* vectors are passed between functions of this file only */
/* The vector layer (compiled here at the baseline level): accuracy of the functions against double, special values, conversions
 * against the scalar ones for every bit pattern, tails, and that a lane's result does not depend on its place. */
#include "op/exp_row.h"
#include "op/simd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

typedef v16 (*vector_fn)(v16);
typedef double (*scalar_fn)(double);
static v16 vector_exp(v16 x) {
    return v16_exp(x);
}
static v16 vector_log(v16 x) {
    return v16_log(x);
}
static v16 vector_tanh(v16 x) {
    return v16_tanh(x);
}
static v16 vector_erf(v16 x) {
    return v16_erf(x);
}
static v16 vector_sigmoid(v16 x) {
    return v16_sigmoid(x);
}
static v16 vector_sqrt(v16 x) {
    return v16_sqrt(x);
}

/* Largest error in units of the last place of the f32 result over n points of [low, high]. */
static double worst_error(vector_fn fn, scalar_fn want, double low, double high) {
    const int n = 1 << 18;
    double worst = 0;
    for (int i = 0; i < n; i += V16_LANES) {
        v16 x;
        for (int k = 0; k < V16_LANES; k++) x[k] = (float)(low + (high - low) * (i + k) / n);
        const v16 y = fn(x);
        for (int k = 0; k < V16_LANES; k++) {
            const double exact = want((double)x[k]);
            const float size = fabsf((float)exact);
            const double error =
                fabs((double)y[k] - exact) / (double)(nextafterf(size, INFINITY) - size);
            worst = error > worst ? error : worst;
        }
    }
    return worst;
}

static void test_accuracy(void **state) {
    static const struct {
        const char *name;
        vector_fn fn;
        scalar_fn want;
        double low, high, ulp;
    } table[] = {
        {"exp", vector_exp, exp, -103, 88.7, 1.2},
        {"exp near 0", vector_exp, exp, -1, 1, 1.0},
        {"log", vector_log, log, 1e-3, 1e6, 1.0},
        {"log near 1", vector_log, log, 0.5, 2, 1.0},
        {"log small", vector_log, log, 1e-40, 1e-37, 1.0},
        {"tanh", vector_tanh, tanh, -10, 10, 1.6},
        {"tanh near 0", vector_tanh, tanh, -1, 1, 1.6},
        {"erf", vector_erf, erf, -5, 5, 1.7},
        {"erf near 0", vector_erf, erf, -1, 1, 1.7},
        {"sigmoid", vector_sigmoid, sigmoid, -80, 80, 2.7},
        {"sqrt", vector_sqrt, sqrt, 0, 1e9, 0.51},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const double worst = worst_error(table[i].fn, table[i].want, table[i].low, table[i].high);
        if (!(worst <= table[i].ulp)) fail_msg("%s: %.3f ulp", table[i].name, worst);
    }
}

static int same(float got, float want) {
    return isnan(want) ? isnan(got) : memcmp(&got, &want, sizeof got) == 0;
}

static void test_special_values(void **state) {
    static const struct {
        const char *name;
        vector_fn fn;
        float x, want;
    } table[] = {
        {"exp", vector_exp, NAN, NAN},
        {"exp", vector_exp, INFINITY, INFINITY},
        {"exp", vector_exp, -INFINITY, 0},
        {"exp", vector_exp, 0, 1},
        {"exp", vector_exp, 89, INFINITY},
        {"exp", vector_exp, -104, 0},
        {"log", vector_log, NAN, NAN},
        {"log", vector_log, 0, -INFINITY},
        {"log", vector_log, -0.0f, -INFINITY},
        {"log", vector_log, -1, NAN},
        {"log", vector_log, -INFINITY, NAN},
        {"log", vector_log, INFINITY, INFINITY},
        {"log", vector_log, 1, 0},
        {"tanh", vector_tanh, NAN, NAN},
        {"tanh", vector_tanh, INFINITY, 1},
        {"tanh", vector_tanh, -INFINITY, -1},
        {"tanh", vector_tanh, 0, 0},
        {"erf", vector_erf, NAN, NAN},
        {"erf", vector_erf, INFINITY, 1},
        {"erf", vector_erf, -INFINITY, -1},
        {"erf", vector_erf, 0, 0},
        {"sigmoid", vector_sigmoid, NAN, NAN},
        {"sigmoid", vector_sigmoid, 1000, 1},
        {"sigmoid", vector_sigmoid, -1000, 0},
        {"sigmoid", vector_sigmoid, 0, 0.5f},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const float got = table[i].fn(v16_set(table[i].x))[7];
        if (!same(got, table[i].want))
            fail_msg("%s(%g): got %g, want %g", table[i].name, (double)table[i].x, (double)got,
                     (double)table[i].want);
    }
}

static void test_maximum_keeps_nan(void **state) {
    (void)state;
    assert_true(isnan(v16_max(v16_set(NAN), v16_set(1))[3]));
    assert_true(isnan(v16_max(v16_set(1), v16_set(NAN))[3]));
    assert_true(isnan(v16_min(v16_set(1), v16_set(NAN))[3]));
    assert_true(isnan(v16_clamp(v16_set(NAN), -1, 1)[0]));
    for (int lane = 0; lane < V16_LANES; lane++) {
        v16 x = v16_set(-2);
        x[lane] = 5;
        assert_true(v16_max_of(x) == 5);
        assert_true(v16_sum(x) == 5 - 15 * 2);
        x[lane] = NAN;
        assert_true(isnan(v16_max_of(x)));
        assert_true(isnan(v16_sum(x)));
    }
    assert_true(v16_clamp(v16_set(7), -1, 1)[0] == 1 && v16_clamp(v16_set(-7), -1, 1)[0] == -1);
}

/* All 65,536 patterns up, and all of them with neighbours between them down. */
static void test_half_conversions(void **state) {
    (void)state;
    for (uint32_t first = 0; first < 65536; first += V16_LANES) {
        v16h bits;
        for (int k = 0; k < V16_LANES; k++) bits[k] = (uint16_t)(first + (uint32_t)k);
        const v16 bf16 = v16_from_bf16(bits), f16 = v16_from_f16(bits);
        for (int k = 0; k < V16_LANES; k++) {
            assert_true(same(bf16[k], ls_bf16_to_f32(bits[k])));
            assert_true(same(f16[k], ls_f16_to_f32(bits[k])));
        }
    }
    for (uint64_t first = 0; first < 1ull << 32; first += 0x7ff1 * V16_LANES) {
        v16 x;
        for (int k = 0; k < V16_LANES; k++) {
            const uint32_t bits = (uint32_t)(first + (uint64_t)k * 0x7ff1);
            float value;
            memcpy(&value, &bits, sizeof value);
            x[k] = value;
        }
        const v16h bf16 = v16_to_bf16(x), f16 = v16_to_f16(x);
        for (int k = 0; k < V16_LANES; k++) {
            assert_true(same(ls_bf16_to_f32(bf16[k]), ls_bf16_to_f32(ls_f32_to_bf16(x[k]))));
            assert_true(same(ls_f16_to_f32(f16[k]), ls_f16_to_f32(ls_f32_to_f16(x[k]))));
        }
    }
    const v16h tie =
        v16_to_bf16(v16_set(1.00390625f)); /* 1 + 2^-8: between 1 and 1 + 2^-7, to even */
    assert_int_equal(tie[0], 0x3f80);
}

static void test_rows(void **state) {
    static const ls_dtype dtypes[] = {LS_DTYPE_F32, LS_DTYPE_BF16, LS_DTYPE_F16};
    (void)state;
    for (int d = 0; d < 3; d++)
        for (int64_t n = 0; n <= 40; n++) {
            unsigned char data[64 * 4], copy[64 * 4];
            float row[64];
            const size_t bytes = ls_dtype_bytes(dtypes[d]);
            ls_tensor x = {dtypes[d], {1, {64}}, data};
            for (int i = 0; i < 64; i++) ls_tensor_set(&x, i, i - 11.5);
            row_load(row, data, dtypes[d], 3, n, -7);
            for (int64_t i = 0; i < (n + 15) / 16 * 16; i++)
                assert_true(row[i] == (i < n ? (float)(i + 3) - 11.5f : -7.0f));
            memset(copy, 0xee, sizeof copy);
            row_store(copy, dtypes[d], 5, row, n);
            assert_memory_equal(copy + 5 * bytes, data + 3 * bytes, (size_t)n * bytes);
            assert_int_equal(copy[5 * bytes - 1], 0xee);
            assert_int_equal(copy[(5 + (size_t)n) * bytes], 0xee);
        }
}

/* The same value in every lane of a mixed vector gives the same bits. */
static void test_lanes_are_alike(void **state) {
    static const vector_fn fns[] = {vector_exp, vector_log, vector_tanh, vector_erf,
                                    vector_sigmoid};
    (void)state;
    for (size_t f = 0; f < sizeof fns / sizeof fns[0]; f++)
        for (int i = 0; i < 1000; i++) {
            const float value = -20.0f + 0.0401f * (float)i;
            const float want = fns[f](v16_set(value))[0];
            v16 x = v16_set(0.3f);
            x[i % V16_LANES] = value;
            assert_true(same(fns[f](x)[i % V16_LANES], want));
        }
}

/* The bounds that op/exp_row.h and docs/numerics.md give. */
static void test_exponential_of_rows(void **state) {
    static const struct {
        ls_dtype dtype;
        double least;
    } table[] = {{LS_DTYPE_F32, 2e-7}, {LS_DTYPE_F16, 2e-7}, {LS_DTYPE_BF16, 3.1e-6}};
    (void)state;
    for (size_t d = 0; d < sizeof table / sizeof table[0]; d++) {
        double worst = 0;
        for (int i = 0; i < 1 << 18; i++) {
            const float x = -87.0f + 130.0f * (float)i / (float)(1 << 18);
            const double want = exp((double)x);
            const double got = (double)exp_row_one(v16_set(x), table[d].dtype)[5];
            const double error = fabs(got / want - 1) - 8e-8 * fabs((double)x);
            worst = error > worst ? error : worst;
        }
        if (!(worst <= table[d].least && worst > table[d].least / 4))
            fail_msg("%s: %g", ls_dtype_name(table[d].dtype), worst);
        assert_true(exp_row_one(v16_set(0), table[d].dtype)[0] == 1);
        assert_true(exp_row_one(v16_set(-INFINITY), table[d].dtype)[1] == 0);
        assert_true(isnan(exp_row_one(v16_set(NAN), table[d].dtype)[2]));
        assert_true(exp_row_one(v16_set(-200), table[d].dtype)[3] < 1e-38f);
        assert_true(exp_row_one(v16_set(1e30f), table[d].dtype)[3] > 0x1p120f);
    }
}

static void test_exponentials_of_rows(void **state) {
    (void)state;
    for (int64_t n = 1; n <= 70; n++) {
        float x[96], e[96];
        double want = 0;
        for (int64_t i = 0; i < 96; i++) x[i] = i < n ? (float)(i * 29 % 17) - 20 : 1e9f;
        const float m = exp_row_max(x, LS_DTYPE_F32, 0, n);
        for (int64_t i = 0; i < n; i++) {
            assert_true(x[i] <= m);
            want += exp((double)x[i] - (double)m);
        }
        const float sum = exp_row(e, x, LS_DTYPE_F32, 0, n, m, (exp_row_next){n, x});
        assert_true(fabs((double)sum - want) < 1e-6 * want);
        for (int64_t i = n; i < (n + 15) / 16 * 16; i++) assert_true(e[i] == 0);
        memset(x, 0xee, sizeof x);
        exp_row_store(x, LS_DTYPE_F32, 0, e, n, 2, 1, 0);
        for (int64_t i = 0; i < n; i++) assert_true(x[i] == e[i] * 2 - 1);
        unsigned char after;
        memcpy(&after, x + n, 1);
        assert_int_equal(after, 0xee);
        assert_true(isnan(
            exp_row(e, (const float[]){NAN, 1}, LS_DTYPE_F32, 0, 2, 1, (exp_row_next){0, NULL})));
    }
}

/* A row of two tiles is written while another takes its place: what exp_row and exp_row_store make one after the other, wherever the
 * result begins in a cache line. */
enum { TURN_TILE = 96, TURN_MOST = 2 * TURN_TILE };

static void turn_rows(int64_t n, int64_t at, int stream) {
    static float x[TURN_MOST], e[TURN_MOST], want_e[TURN_MOST];
    static float y[TURN_MOST + 64] __attribute__((aligned(64))), want[TURN_MOST + 64];
    const int64_t first = n < TURN_TILE ? n : TURN_TILE;
    exp_row_walk walk = {.e = e, .x = x, .m = 1, .read = (const char *)x};
    exp_row_old old = {.y = y, .at = at, .n = n, .factor = 2, .next_factor = 3, .less = 1};
    for (int64_t i = 0; i < TURN_MOST; i++) x[i] = (float)(i % 7), e[i] = (float)i;
    memset(y, 0xee, sizeof y);
    memset(want, 0xee, sizeof want);
    for (int64_t i = 0; i < n; i++) want[at + i] = (float)i * (i < first ? 2 : 3) - 1;
    exp_row_turn(&walk, LS_DTYPE_F32, stream, 0, first, &old);
    old.factor = 3;
    if (n > first) exp_row_turn(&walk, LS_DTYPE_F32, stream, first, n, &old);
    v16_stream_end();
    assert_int_equal(old.done, n);
    assert_memory_equal(y, want, sizeof y);
    const float sum = exp_row(want_e, x, LS_DTYPE_F32, 0, n, 1, (exp_row_next){0, NULL});
    assert_true(v16_sum(walk.first + walk.second) == sum);
    assert_memory_equal(e, want_e, (size_t)n * sizeof *e);
}

static void test_rows_in_turn(void **state) {
    (void)state;
    for (int64_t n = 1; n <= TURN_MOST; n++)
        for (int64_t at = 0; at < 33; at++) {
            turn_rows(n, at, 0);
            turn_rows(n, at, 1);
        }
}

/* The largest of 16-bit numbers, with either sign, where there is a whole vector and where there is not. */
static void test_largest_of_rows(void **state) {
    static const ls_dtype dtypes[] = {LS_DTYPE_BF16, LS_DTYPE_F16};
    (void)state;
    for (int64_t n = 1; n <= 70; n++)
        for (int k = 0; k < 4; k++) {
            const float less = (float)k * 20; /* some, half, all of them negative */
            uint16_t x[96];
            float want = -INFINITY;
            for (int64_t i = 0; i < 96; i++) {
                const float value = i < n ? (float)(i * 29 % 53) - less : 1000;
                x[i] = k % 2 ? ls_f32_to_bf16(value) : ls_f32_to_f16(value);
                if (i < n && value > want) want = value;
            }
            assert_true(exp_row_max(x, dtypes[k % 2 ? 0 : 1], 0, n) == want);
        }
}

/* The same bits as the general conversions, whatever instruction there is. */
static void test_narrow_and_widen(void **state) {
    (void)state;
    for (uint64_t first = 0; first < 1ull << 32; first += 0x7ff1 * V16_LANES) {
        v16u bits;
        for (int k = 0; k < V16_LANES; k++) bits[k] = (uint32_t)(first + (uint64_t)k * 0x7ff1);
        const v16h want = v16_to_bf16((v16)bits), got = v16_narrow_bf16((v16)bits);
        assert_memory_equal(&got, &want, sizeof got);
        const v16 wide = v16_from_bf16(want), back = v16_widen_bf16(got);
        assert_memory_equal(&back, &wide, sizeof back);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exponential_of_rows), cmocka_unit_test(test_exponentials_of_rows),
        cmocka_unit_test(test_narrow_and_widen),    cmocka_unit_test(test_accuracy),
        cmocka_unit_test(test_special_values),      cmocka_unit_test(test_maximum_keeps_nan),
        cmocka_unit_test(test_half_conversions),    cmocka_unit_test(test_rows),
        cmocka_unit_test(test_lanes_are_alike),     cmocka_unit_test(test_rows_in_turn),
        cmocka_unit_test(test_largest_of_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
