#include "data/byte_level.h"
#include "data/utf8.h"
#include "unit/base/check.h"

static void test_first_bad_byte(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t bytes, bad; /* bad == bytes: well-formed */
    } cases[] = {
        {"", 0, 0},
        {"plain ASCII of more than eight bytes", 36, 36},
        {"\xC3\xA9t\xC3\xA9", 5, 5},
        {"\xE2\x82\xAC\xF0\x9F\x98\x80", 7, 7},
        {"\xF4\x8F\xBF\xBF", 4, 4},
        {"\xEF\xBF\xBF", 3, 3},
        {"12345678\x80", 9, 8},
        {"1234567\xC3\xA9 9012345\xFF", 18, 17},
        {"\xC0\x80", 2, 0},         /* overlong NUL */
        {"\xC1\xBF", 2, 0},         /* overlong */
        {"\xE0\x9F\xBF", 3, 0},     /* overlong */
        {"\xF0\x8F\xBF\xBF", 4, 0}, /* overlong */
        {"\xED\xA0\x80", 3, 0},     /* surrogate */
        {"\xED\x9F\xBF", 3, 3},
        {"\xF4\x90\x80\x80", 4, 0}, /* above U+10FFFF */
        {"\xF5\x80\x80\x80", 4, 0},
        {"ab\xE2\x82", 4, 2}, /* cut off */
        {"a\xC3", 2, 1},
        {"\xE2\x28\xA1", 3, 0},
        {"\xF0\x9F\x98 ", 4, 0},
        {"\xBF", 1, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (ls_utf8_check(cases[i].text, cases[i].bytes) != cases[i].bad)
            fail_msg("case %zu: %zu", i, ls_utf8_check(cases[i].text, cases[i].bytes));
}

static void test_every_code_point(void **state) {
    (void)state;
    for (uint32_t code = 0; code < 0x110000; code++) {
        unsigned char text[4];
        const size_t n = ls_utf8_encode(code, text);
        const int surrogate = code >= 0xD800 && code < 0xE000;
        if (ls_utf8_char(text, n) != (surrogate ? 0 : n)) fail_msg("U+%04X", code);
        if (!surrogate && ls_utf8_decode(text, n) != code) fail_msg("U+%04X", code);
        if (n > 1 && ls_utf8_char(text, n - 1) != 0) fail_msg("U+%04X cut", code);
    }
}

static void test_byte_alphabet(void **state) {
    (void)state;
    int seen[256] = {0};
    for (int byte = 0; byte < 256; byte++) {
        assert_int_equal(ls_byte_from_char(ls_byte_to_char(byte)), byte);
        seen[ls_byte_gpt2_id(byte)]++;
    }
    for (int i = 0; i < 256; i++) assert_int_equal(seen[i], 1);
    /* GPT-2's vocabulary: "!" is 0, the space U+0120 is 220, the newline U+010A is 198 */
    assert_int_equal(ls_byte_gpt2_id('!'), 0);
    assert_int_equal(ls_byte_gpt2_id('~'), 93);
    assert_int_equal(ls_byte_gpt2_id(0xA1), 94);
    assert_int_equal(ls_byte_gpt2_id(0xFF), 187);
    assert_int_equal(ls_byte_gpt2_id(' '), 220);
    assert_int_equal(ls_byte_gpt2_id('\n'), 198);
    assert_int_equal(ls_byte_gpt2_id(0xAD), 255);
    assert_int_equal(ls_byte_to_char(' '), 0x120);
    assert_int_equal(ls_byte_from_char(0xAD), -1);
    assert_int_equal(ls_byte_from_char(0x144), -1);
    assert_int_equal(ls_byte_from_char(' '), -1);
    assert_int_equal(ls_byte_from_char(0x10FFFF), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_bad_byte),
        cmocka_unit_test(test_every_code_point),
        cmocka_unit_test(test_byte_alphabet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
