#include "lockstep/tensor.h"
#include "unit/base/check.h"
#include <math.h>

static void test_names_and_sizes(void **state) {
    (void)state;
    static const struct {
        const char *lower, *upper;
        ls_dtype dtype;
        size_t bytes;
        int is_float;
    } cases[] = {
        {"f64", "F64", LS_DTYPE_F64, 8, 1},    {"f32", "F32", LS_DTYPE_F32, 4, 1},
        {"f16", "F16", LS_DTYPE_F16, 2, 1},    {"bf16", "BF16", LS_DTYPE_BF16, 2, 1},
        {"i64", "I64", LS_DTYPE_I64, 8, 0},    {"i32", "I32", LS_DTYPE_I32, 4, 0},
        {"i8", "I8", LS_DTYPE_I8, 1, 0},       {"u8", "U8", LS_DTYPE_U8, 1, 0},
        {"bool", "BOOL", LS_DTYPE_BOOL, 1, 0},
    };
    assert_int_equal(sizeof cases / sizeof cases[0], LS_DTYPE_COUNT);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ls_dtype dtype = LS_DTYPE_COUNT;
        check_ok(ls_dtype_parse(cases[i].lower, &dtype));
        assert_int_equal(dtype, cases[i].dtype);
        check_ok(ls_dtype_parse(cases[i].upper, &dtype));
        assert_int_equal(dtype, cases[i].dtype);
        assert_string_equal(ls_dtype_name(dtype), cases[i].lower);
        assert_int_equal(ls_dtype_bytes(dtype), cases[i].bytes);
        assert_int_equal(ls_dtype_is_float(dtype), cases[i].is_float);
    }
    ls_dtype dtype;
    check_fails(ls_dtype_parse("f8", &dtype), LS_ERR_UNSUPPORTED,
                "dtype 'f8' is not supported; f64");
    check_fails(ls_dtype_parse("", &dtype), LS_ERR_UNSUPPORTED, "''");
    assert_int_equal(ls_dtype_bytes(LS_DTYPE_COUNT), 0);
    assert_string_equal(ls_dtype_name(LS_DTYPE_COUNT), "unknown");
}

/* What 16 bits mean, by the definition of the formats: sign, exponent, fraction. */
static double decode(unsigned bits, int exponent_bits, int fraction_bits) {
    const int exponent = (int)(bits >> fraction_bits) & ((1 << exponent_bits) - 1);
    const int fraction = (int)bits & ((1 << fraction_bits) - 1);
    const int bias = (1 << (exponent_bits - 1)) - 1;
    const double sign = bits >> 15 ? -1 : 1;
    if (exponent == (1 << exponent_bits) - 1) return fraction ? NAN : sign * INFINITY;
    if (exponent == 0) return sign * ldexp(fraction, 1 - bias - fraction_bits);
    return sign * ldexp(fraction + (1 << fraction_bits), exponent - bias - fraction_bits);
}

static void test_every_16_bit_pattern_decodes_and_comes_back(void **state) {
    (void)state;
    for (unsigned bits = 0; bits < 65536; bits++) {
        const double bf16 = decode(bits, 8, 7), f16 = decode(bits, 5, 10);
        const float bf16_is = ls_bf16_to_f32((uint16_t)bits),
                    f16_is = ls_f16_to_f32((uint16_t)bits);
        if (isnan(bf16)) {
            assert_true(isnan(bf16_is) && isnan(ls_bf16_to_f32(ls_f32_to_bf16(bf16_is))));
        } else {
            assert_true(bf16_is == bf16 && !signbit(bf16_is) == !signbit(bf16));
            assert_int_equal(ls_f32_to_bf16(bf16_is), bits);
        }
        if (isnan(f16)) {
            assert_true(isnan(f16_is) && isnan(ls_f16_to_f32(ls_f32_to_f16(f16_is))));
        } else {
            assert_true(f16_is == f16 && !signbit(f16_is) == !signbit(f16));
            assert_int_equal(ls_f32_to_f16(f16_is), bits);
        }
    }
}

/* Between each two neighbours: the middle goes to the even one, a hair beside it to the nearer one. */
static void check_rounding(uint16_t (*narrow)(float), float (*widen)(uint16_t), unsigned largest) {
    for (unsigned bits = 0; bits < largest; bits++) {
        const float low = widen((uint16_t)bits), high = widen((uint16_t)(bits + 1));
        const float middle = (float)(((double)low + (double)high) / 2);
        const unsigned even = bits % 2 ? bits + 1 : bits;
        if ((double)middle * 2 != (double)low + (double)high) continue; /* no f32 lies there */
        assert_int_equal(narrow(middle), even);
        assert_int_equal(narrow(nextafterf(middle, -INFINITY)), bits);
        assert_int_equal(narrow(nextafterf(middle, INFINITY)), bits + 1);
        assert_int_equal(narrow(-middle), even | 0x8000u);
    }
}

static void test_rounding_is_to_nearest_even(void **state) {
    (void)state;
    check_rounding(ls_f32_to_bf16, ls_bf16_to_f32, 0x7f7f);
    check_rounding(ls_f32_to_f16, ls_f16_to_f32, 0x7bff);
}

static void test_overflow_and_special_values(void **state) {
    (void)state;
    assert_int_equal(ls_f32_to_f16(65504), 0x7bff);
    assert_int_equal(ls_f32_to_f16(65519.99f), 0x7bff);
    assert_int_equal(ls_f32_to_f16(65520), 0x7c00);
    assert_int_equal(ls_f32_to_f16(-1e30f), 0xfc00);
    assert_int_equal(ls_f32_to_f16(INFINITY), 0x7c00);
    assert_int_equal(ls_f32_to_f16(0x1p-25f), 0);
    assert_int_equal(ls_f32_to_f16(0x1.000002p-25f), 1);
    assert_int_equal(ls_f32_to_f16(-0.0f), 0x8000);
    assert_int_equal(ls_f32_to_f16(1e-40f), 0);
    assert_int_equal(ls_f32_to_bf16(3.4e38f), 0x7f80);
    assert_int_equal(ls_f32_to_bf16(-INFINITY), 0xff80);
    assert_int_equal(ls_f32_to_bf16(-0.0f), 0x8000);
    /* A NaN whose payload lies in the dropped bits must not become an infinity. */
    uint32_t bits = 0x7f800001u;
    float quiet;
    memcpy(&quiet, &bits, sizeof quiet);
    assert_true(isnan(ls_bf16_to_f32(ls_f32_to_bf16(quiet))));
    assert_true(isnan(ls_f16_to_f32(ls_f32_to_f16(quiet))));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_and_sizes),
        cmocka_unit_test(test_every_16_bit_pattern_decodes_and_comes_back),
        cmocka_unit_test(test_rounding_is_to_nearest_even),
        cmocka_unit_test(test_overflow_and_special_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
