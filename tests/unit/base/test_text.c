#include "unit/base/check.h"

static void test_appends_add_up(void **state) {
    (void)state;
    ls_text text = {0};
    for (int i = 0; i < 1000; i++) ls_text_append(&text, "%d,", i % 10);
    assert_int_equal(text.status, LS_OK);
    assert_int_equal(text.size, 2000);
    assert_int_equal(strlen(text.data), 2000);
    assert_memory_equal(text.data + 1980, "0,1,2,3,4,5,6,7,8,9,", 20);
    ls_text_append_bytes(&text, "a\0b", 3);
    assert_int_equal(text.size, 2003);
    assert_memory_equal(text.data + 2000, "a\0b", 4);
    ls_text_deinit(&text);
    assert_null(text.data);
    ls_text_append_bytes(&text, NULL, 0);
    assert_string_equal(text.data, "");
    ls_text_deinit(&text);
}

static void test_failure_is_sticky(void **state) {
    (void)state;
    ls_text text = {0};
    ls_text_append(&text, "abc");
    ls_alloc_fail_at(1, 0);
    char big[300];
    memset(big, 'x', sizeof big);
    ls_text_append_bytes(&text, big, sizeof big);
    assert_int_equal(text.status, LS_ERR_NO_MEMORY);
    ls_text_append(&text, "d");
    assert_int_equal(text.status, LS_ERR_NO_MEMORY);
    assert_string_equal(text.data, "abc");
    ls_text_append_bytes(&text, big, (size_t)-1);
    ls_text_deinit(&text);
    assert_int_equal(text.status, LS_OK);
    ls_text_append_bytes(&text, big, (size_t)-1);
    assert_int_equal(text.status, LS_ERR_NO_MEMORY);
    ls_text_deinit(&text);
}

static ls_status build_text(void *user) {
    (void)user;
    ls_text text = {0};
    for (int i = 0; i < 100; i++) ls_text_append(&text, "%d and more, ", i);
    const ls_status status = text.status;
    ls_text_deinit(&text);
    return status;
}

static void test_torture(void **state) {
    (void)state;
    assert_true(check_torture(build_text, NULL) > 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_appends_add_up),
        cmocka_unit_test(test_failure_is_sticky),
        cmocka_unit_test(test_torture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
