#include "lockstep/tensor.h"
#include "unit/base/check.h"
#include <math.h>

static ls_tensor make(ls_dtype dtype, int64_t n, void *data) {
    ls_tensor tensor = {dtype, {1, {n}}, data};
    return tensor;
}

static void test_set_then_get(void **state) {
    (void)state;
    static const struct {
        ls_dtype dtype;
        double given, wanted;
    } cases[] = {
        {LS_DTYPE_F64, 0.1, 0.1},
        {LS_DTYPE_F32, 0.1, (double)0.1f},
        {LS_DTYPE_BF16, 1.00390625, 1}, /* a tie goes to even */
        {LS_DTYPE_BF16, 1.01171875, 1.015625},
        {LS_DTYPE_BF16, 1.003906251, 1.0078125}, /* past the tie in a bit that f32 drops */
        {LS_DTYPE_BF16, 1.01171874999999, 1.0078125},
        {LS_DTYPE_F16, 2049, 2048},
        {LS_DTYPE_F16, 2049.0000001, 2050},
        {LS_DTYPE_F16, 2050.9999999, 2050},
        {LS_DTYPE_F16, 1e9, INFINITY},
        {LS_DTYPE_F16, -1e300, -INFINITY},
        {LS_DTYPE_BF16, 1e300, INFINITY},
        {LS_DTYPE_F16, 1e-300, 0},
        {LS_DTYPE_BF16, -1e-300, 0},
        {LS_DTYPE_I64, -9007199254740993.0, -9007199254740992.0},
        {LS_DTYPE_I64, 1e30, 9223372036854775808.0},
        {LS_DTYPE_I64, -1e30, -9223372036854775808.0},
        {LS_DTYPE_I32, 2.5, 2},
        {LS_DTYPE_I32, 3.5, 4},
        {LS_DTYPE_I32, 1e10, 2147483647},
        {LS_DTYPE_I32, -1e10, -2147483648.0},
        {LS_DTYPE_I8, -200, -128},
        {LS_DTYPE_I8, 127.4, 127},
        {LS_DTYPE_U8, 300, 255},
        {LS_DTYPE_U8, -1, 0},
        {LS_DTYPE_U8, 254.5, 254},
        {LS_DTYPE_BOOL, 0.001, 1},
        {LS_DTYPE_BOOL, 0, 0},
        {LS_DTYPE_I32, NAN, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double room[3] = {0};
        ls_tensor tensor = make(cases[i].dtype, 3, room);
        ls_tensor_set(&tensor, 1, cases[i].given);
        const double got = ls_tensor_get(&tensor, 1);
        if (got != cases[i].wanted)
            fail_msg("%s: %.17g became %.17g, wanted %.17g", ls_dtype_name(cases[i].dtype),
                     cases[i].given, got, cases[i].wanted);
        assert_true(ls_tensor_get(&tensor, 0) == 0 && ls_tensor_get(&tensor, 2) == 0);
    }
}

static void test_nan_stays_nan_in_floats(void **state) {
    (void)state;
    for (int d = 0; d < LS_DTYPE_COUNT; d++) {
        double room[1] = {0};
        ls_tensor tensor = make((ls_dtype)d, 1, room);
        ls_tensor_set(&tensor, 0, NAN);
        if (ls_dtype_is_float((ls_dtype)d)) assert_true(isnan(ls_tensor_get(&tensor, 0)));
    }
}

static void test_bytes(void **state) {
    (void)state;
    const ls_tensor a = {LS_DTYPE_BF16, {2, {3, 5}}, NULL}, b = {LS_DTYPE_F64, {0, {0}}, NULL};
    assert_int_equal(ls_tensor_bytes(&a), 30);
    assert_int_equal(ls_tensor_bytes(&b), 8);
}

/* Every pair of dtypes agrees with get and set, element by element. */
static void test_convert_agrees_with_get_and_set(void **state) {
    (void)state;
    enum { N = 101 };
    static double source_room[N], converted_room[N], wanted_room[N];
    for (int s = 0; s < LS_DTYPE_COUNT; s++)
        for (int d = 0; d < LS_DTYPE_COUNT; d++) {
            ls_tensor source = make((ls_dtype)s, N, source_room);
            ls_tensor wanted = make((ls_dtype)d, N, wanted_room);
            memset(converted_room, 0xee, sizeof converted_room);
            memset(wanted_room, 0xee, sizeof wanted_room);
            for (int i = 0; i < N; i++) {
                ls_tensor_set(&source, i, (i - 50) * 1.37 * (i % 7 ? 1 : 1000));
                ls_tensor_set(&wanted, i, ls_tensor_get(&source, i));
            }
            ls_convert(converted_room, (ls_dtype)d, source_room, (ls_dtype)s, N);
            assert_memory_equal(converted_room, wanted_room, sizeof wanted_room);
        }
}

static void test_convert_of_large_integers(void **state) {
    (void)state;
    /* Just above a tie of f32: through a double, which drops the last 1, it would round down. */
    const int64_t value[1] = {((int64_t)1 << 60) + ((int64_t)1 << 36) + 1};
    float narrow;
    int64_t same;
    ls_convert(&narrow, LS_DTYPE_F32, value, LS_DTYPE_I64, 1);
    assert_true(narrow == 0x1.000002p60f);
    ls_convert(&same, LS_DTYPE_I64, value, LS_DTYPE_I64, 1);
    assert_true(same == value[0]);
    ls_convert(&same, LS_DTYPE_I64, value, LS_DTYPE_F32, 0);
    assert_true(same == value[0]);
}

/* The vector loops handle specials as the single conversions do. */
static void test_fast_loops_agree_with_single_conversions(void **state) {
    (void)state;
    static uint16_t half[65536], back[65536];
    static float wide[65536];
    for (unsigned i = 0; i < 65536; i++) half[i] = (uint16_t)i;
    ls_convert(wide, LS_DTYPE_F32, half, LS_DTYPE_F16, 65536);
    ls_convert(back, LS_DTYPE_F16, wide, LS_DTYPE_F32, 65536);
    for (unsigned i = 0; i < 65536; i++) {
        const float one = ls_f16_to_f32((uint16_t)i);
        assert_memory_equal(&one, &wide[i], 4);
        assert_int_equal(back[i], ls_f32_to_f16(one));
    }
    ls_convert(wide, LS_DTYPE_F32, half, LS_DTYPE_BF16, 65536);
    ls_convert(back, LS_DTYPE_BF16, wide, LS_DTYPE_F32, 65536);
    for (unsigned i = 0; i < 65536; i++) {
        const float one = ls_bf16_to_f32((uint16_t)i);
        assert_memory_equal(&one, &wide[i], 4);
        assert_int_equal(back[i], ls_f32_to_bf16(one));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_then_get),
        cmocka_unit_test(test_nan_stays_nan_in_floats),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_convert_agrees_with_get_and_set),
        cmocka_unit_test(test_convert_of_large_integers),
        cmocka_unit_test(test_fast_loops_agree_with_single_conversions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
