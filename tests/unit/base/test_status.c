#include "unit/base/check.h"
#include <pthread.h>

static void test_every_code_has_words_and_exit_status(void **state) {
    (void)state;
    for (int code = 0; code < LS_STATUS_COUNT; code++) {
        assert_true(strlen(ls_status_words((ls_status)code)) > 3);
        assert_int_equal(ls_status_exit_code((ls_status)code) == 0, code == LS_OK);
    }
    assert_int_equal(ls_status_exit_code(LS_ERR_NO_MEMORY), 5);
    assert_string_equal(ls_status_words((ls_status)1000), "unknown status");
    assert_int_equal(ls_status_exit_code((ls_status)1000), 70);
}

static void test_message_is_recorded_prefixed_and_cleared(void **state) {
    (void)state;
    ls_error_clear();
    assert_string_equal(ls_error_message(), "");
    assert_int_equal(LS_FAIL(LS_ERR_DATA, "token %d of %d", 7, 5), LS_ERR_DATA);
    assert_string_equal(ls_error_message(), "token 7 of 5");
    assert_int_equal(ls_error_prefix(LS_ERR_DATA, "shard %s", "a.bin"), LS_ERR_DATA);
    assert_string_equal(ls_error_message(), "shard a.bin: token 7 of 5");
    ls_error_clear();
    (void)ls_error_prefix(LS_ERR_DATA, "alone");
    assert_string_equal(ls_error_message(), "alone");
}

static void test_message_may_quote_the_message_before_it(void **state) {
    (void)state;
    (void)LS_FAIL(LS_ERR_IO, "inner");
    (void)LS_FAIL(LS_ERR_CONFIG, "outer (%s)", ls_error_message());
    assert_string_equal(ls_error_message(), "outer (inner)");
}

static void test_internal_errors_name_the_place(void **state) {
    (void)state;
    (void)LS_FAIL(LS_ERR_INTERNAL, "broken");
    assert_non_null(strstr(ls_error_message(), "broken ("));
    assert_non_null(strstr(ls_error_message(), "test_status.c:"));
}

static void test_long_message_is_cut_with_dots(void **state) {
    (void)state;
    char *text = malloc(5000);
    memset(text, 'x', 4999);
    text[4999] = '\0';
    (void)LS_FAIL(LS_ERR_INTERNAL, "%s", text);
    const size_t n = strlen(ls_error_message());
    assert_in_range(n, 1000, 4000);
    assert_string_equal(ls_error_message() + n - 3, "...");
    (void)ls_error_prefix(LS_ERR_INTERNAL, "short");
    assert_memory_equal(ls_error_message(), "short: xxx", 10);
    assert_int_equal(strlen(ls_error_message()), n);
    free(text);
}

static void *fail_in_thread(void *argument) {
    (void)LS_FAIL(LS_ERR_IO, "other thread");
    assert_string_equal(ls_error_message(), "other thread");
    return argument;
}

static void test_record_belongs_to_the_thread(void **state) {
    (void)state;
    (void)LS_FAIL(LS_ERR_DATA, "mine");
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, fail_in_thread, NULL), 0);
    pthread_join(thread, NULL);
    assert_string_equal(ls_error_message(), "mine");
}

static ls_status fail_when(int wanted) {
    if (wanted) return LS_FAIL(LS_ERR_DATA, "wanted");
    return LS_OK;
}

static ls_status try_both(int fail_first, int fail_second, int *reached) {
    LS_TRY(fail_when(fail_first));
    ls_status status;
    *reached = 1;
    LS_TRY_GOTO(fail_when(fail_second), out);
    *reached = 2;
out:
    return status;
}

static void test_try_returns_and_goes_to_cleanup(void **state) {
    (void)state;
    int reached = 0;
    assert_int_equal(try_both(1, 0, &reached), LS_ERR_DATA);
    assert_int_equal(reached, 0);
    assert_int_equal(try_both(0, 1, &reached), LS_ERR_DATA);
    assert_int_equal(reached, 1);
    assert_int_equal(try_both(0, 0, &reached), LS_OK);
    assert_int_equal(reached, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_code_has_words_and_exit_status),
        cmocka_unit_test(test_message_is_recorded_prefixed_and_cleared),
        cmocka_unit_test(test_message_may_quote_the_message_before_it),
        cmocka_unit_test(test_internal_errors_name_the_place),
        cmocka_unit_test(test_long_message_is_cut_with_dots),
        cmocka_unit_test(test_record_belongs_to_the_thread),
        cmocka_unit_test(test_try_returns_and_goes_to_cleanup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
