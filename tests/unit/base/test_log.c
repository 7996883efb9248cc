#include "base/log.h"
#include "unit/base/check.h"
#include <fcntl.h>

/* Runs `body` with standard error going to a file, and returns what was written. */
static char *capture(void (*body)(void)) {
    const char *path = check_path("log.txt");
    fflush(stderr);
    const int saved = dup(STDERR_FILENO);
    const int file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(saved >= 0 && file >= 0);
    dup2(file, STDERR_FILENO);
    body();
    dup2(saved, STDERR_FILENO);
    close(saved);
    static char text[16384];
    const ssize_t n = pread(file, text, sizeof text - 1, 0);
    close(file);
    unlink(path);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void log_each_level(void) {
    ls_log(LS_LOG_DEBUG, "d %d", 1);
    ls_log(LS_LOG_INFO, "i %s", "two");
    ls_log(LS_LOG_WARN, "w");
    ls_log(LS_LOG_ERROR, "e");
}

static void test_levels_have_prefixes_and_a_threshold(void **state) {
    (void)state;
    assert_string_equal(capture(log_each_level),
                        "lockstep: i two\nlockstep: warning: w\nlockstep: error: e\n");
    ls_log_set_level(LS_LOG_DEBUG);
    assert_memory_equal(capture(log_each_level), "lockstep: debug: d 1\n", 21);
    ls_log_set_level(LS_LOG_ERROR);
    assert_string_equal(capture(log_each_level), "lockstep: error: e\n");
    ls_log_set_level(LS_LOG_INFO);
}

static void log_long_line(void) {
    char text[9000];
    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = '\0';
    ls_log(LS_LOG_INFO, "%s", text);
}

static void test_long_line_is_cut_and_still_ends(void **state) {
    (void)state;
    const char *text = capture(log_long_line);
    const size_t n = strlen(text);
    assert_in_range(n, 4000, 4096);
    assert_int_equal(text[n - 1], '\n');
    assert_int_equal(text[n - 2], 'a');
}

static void fail_once(void) {
    (void)LS_FAIL(LS_ERR_DATA, "bad token");
}

static void test_debug_level_shows_where_errors_begin(void **state) {
    (void)state;
    assert_string_equal(capture(fail_once), "");
    ls_log_set_level(LS_LOG_DEBUG);
    const char *text = capture(fail_once);
    ls_log_set_level(LS_LOG_INFO);
    assert_non_null(strstr(text, "test_log.c:"));
    assert_non_null(strstr(text, "bad data: bad token"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels_have_prefixes_and_a_threshold),
        cmocka_unit_test(test_long_line_is_cut_and_still_ends),
        cmocka_unit_test(test_debug_level_shows_where_errors_begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
