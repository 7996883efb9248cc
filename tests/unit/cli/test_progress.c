/* The progress line on a clock of the test's own, into a file. */
#include "cli/progress.h"
#include "unit/base/check.h"

static double now_seconds;
static double read_test_clock(void) {
    return now_seconds;
}

static FILE *begin(ls_progress *progress, int64_t n_total, int live, int quiet) {
    FILE *file = tmpfile();
    assert_non_null(file);
    now_seconds = 100;
    const ls_progress_options options = {.label = "train",
                                         .n_total = n_total,
                                         .unit = "tokens",
                                         .quiet = quiet,
                                         .stream = file,
                                         .live = live,
                                         .clock = read_test_clock};
    ls_progress_init(progress, &options);
    return file;
}

static const char *text_of(FILE *file) {
    static char text[8192];
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    return text;
}

static int count(const char *text, char wanted) {
    int n = 0;
    for (; *text; text++) n += *text == wanted;
    return n;
}

/* One step a second of 2,000 tokens: in 20 s plain lines come at 5, 10, 15 and 20 s, and one at the end. */
static void test_plain_lines(void **state) {
    (void)state;
    ls_progress progress;
    FILE *file = begin(&progress, 40, 0, 0);
    for (int step = 1; step <= 20; step++) {
        now_seconds += 1;
        ls_progress_update(&progress, step, 2000 * step, "loss %.3f", 5.0 - 0.1 * step);
    }
    assert_true(ls_progress_rate(&progress) == 2000);
    ls_progress_end(&progress);
    ls_progress_end(&progress);
    const char *text = text_of(file);
    assert_int_equal(count(text, '\n'), 5);
    assert_int_equal(count(text, '\r'), 0);
    assert_non_null(strstr(text, "train  5/40  12 %  loss 4.500  2.0 k tokens/s  ETA 0:35\n"));
    assert_non_null(strstr(text, "train  20/40  50 %  loss 3.000  2.0 k tokens/s  ETA 0:20\n"));
    fclose(file);
}

/* A long run that gets faster: the rate is that of the last seconds, not of the whole. */
static void test_rate_is_recent(void **state) {
    (void)state;
    ls_progress progress;
    FILE *file = begin(&progress, 0, 0, 0);
    int64_t n_units = 0;
    for (int step = 1; step <= 400; step++) {
        now_seconds += 1;
        n_units += step <= 200 ? 10 : 5000000;
        ls_progress_update(&progress, step, n_units, " ");
    }
    assert_true(ls_progress_rate(&progress) == 5000000);
    ls_progress_end(&progress);
    const char *text = text_of(file);
    assert_non_null(strstr(text, "5.0 M tokens/s  after 6:40\n"));
    assert_null(strstr(text, "ETA"));
    assert_null(strstr(text, "%"));
    fclose(file);
}

static void test_live_line(void **state) {
    (void)state;
    ls_progress progress;
    FILE *file = begin(&progress, 10000, 1, 0);
    for (int step = 1; step <= 100; step++) {
        now_seconds += 0.01;
        ls_progress_update(&progress, step, step, "x");
    }
    ls_progress_end(&progress);
    const char *text = text_of(file);
    assert_int_equal(count(text, '\n'), 1);
    assert_in_range(count(text, '\r'), 9, 11);
    assert_int_equal(text[strlen(text) - 1], '\n');
    assert_non_null(strstr(text, "ETA 1:39\033[K\n"));
    fclose(file);
}

static void test_quiet_and_nothing_done(void **state) {
    (void)state;
    ls_progress progress;
    FILE *file = begin(&progress, 10, 1, 1);
    now_seconds += 50;
    ls_progress_update(&progress, 1, 1, "x");
    ls_progress_end(&progress);
    assert_string_equal(text_of(file), "");
    fclose(file);
    file = begin(&progress, 10, 0, 0);
    ls_progress_end(&progress);
    assert_string_equal(text_of(file), "");
    fclose(file);
}

/* A detail that is too long is cut, and nothing is written past the line. */
static void test_long_detail(void **state) {
    (void)state;
    ls_progress progress;
    FILE *file = begin(&progress, 10, 0, 0);
    char detail[1000];
    memset(detail, 'x', sizeof detail - 1);
    detail[sizeof detail - 1] = '\0';
    now_seconds += 7200;
    ls_progress_update(&progress, 1, 1, "%s", detail);
    const char *text = text_of(file);
    assert_int_equal(count(text, 'x'), 159);
    assert_non_null(strstr(text, "ETA 18:00:00"));
    fclose(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_lines), cmocka_unit_test(test_rate_is_recent),
        cmocka_unit_test(test_live_line),   cmocka_unit_test(test_quiet_and_nothing_done),
        cmocka_unit_test(test_long_detail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
