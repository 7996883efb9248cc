/* Charts: well-formed XML with finite coordinates, whatever the series hold. */
#include "observe/chart.h"
#include "unit/base/check.h"
#include <ctype.h>
#include <math.h>

/* Tags are closed in order, text has no bare < or &. Returns how many elements there are. */
static int check_xml(const char *text) {
    char open[64][32];
    int depth = 0, n = 0;
    for (const char *at = text; *at;) {
        if (*at == '&' && strncmp(at, "&lt;", 4) && strncmp(at, "&gt;", 4) &&
            strncmp(at, "&amp;", 5))
            fail_msg("a bare &: %.40s", at);
        if (*at++ != '<') continue;
        const char *end = strchr(at, '>');
        assert_non_null(end);
        const int closing = *at == '/';
        char name[32] = "";
        for (size_t i = 0; isalnum((unsigned char)at[closing + (int)i]) && i < 31; i++)
            name[i] = at[closing + (int)i];
        if (!*name) fail_msg("a bare <: %.40s", at);
        if (closing) {
            assert_true(depth > 0);
            assert_string_equal(open[--depth], name);
        } else {
            n++;
            if (end[-1] != '/') strcpy(open[depth++], name);
        }
        at = end + 1;
    }
    assert_int_equal(depth, 0);
    return n;
}

static int count(const char *text, const char *part) {
    int n = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at++) n++;
    return n;
}

static char *print_chart(const double *x, const double *y, int64_t n, int markers) {
    const ls_series series[] = {{"training <loss> & more", x, y, n, markers}};
    const ls_chart_line line = {"final", n ? y[n - 1] : 1};
    const ls_chart chart = {.title = "a < b & c > d",
                            .x_label = "step",
                            .y_label = "nats",
                            .series = series,
                            .n_series = 1,
                            .lines = &line,
                            .n_lines = isfinite(line.y)};
    ls_text text = {0};
    check_ok(ls_chart_print(&chart, &text));
    assert_int_equal(strncmp(text.data, "<svg xmlns=", 11), 0);
    assert_null(strstr(text.data, "nan"));
    assert_null(strstr(text.data, "inf"));
    assert_true(check_xml(text.data) > 5);
    return text.data;
}

static void test_series(void **state) {
    (void)state;
    static const double x[] = {1, 2, 3, 4}, y[] = {3, NAN, 2, 1}, same[] = {5, 5, 5, 5},
                        huge[] = {1e20, 1e20, 1e20, 1e20}, close[] = {1, 1, 1, 1 + 2.3e-16},
                        wide[] = {-3e38, 3e38, 0, 1}, none[] = {NAN, NAN, INFINITY, NAN};
    static const double *const all[] = {y, same, huge, close, wide, none};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) ls_free(print_chart(x, all[i], 4, 1));
    ls_free(print_chart(x, y, 0, 1));
    ls_free(print_chart(x, y, 1, 0));
    char *text = print_chart(x, y, 4, 1);
    assert_int_equal(count(text, "<circle"), 3);
    assert_non_null(strstr(text, "a &lt; b &amp; c &gt; d"));
    assert_int_equal(count(text, "training &lt;loss&gt; &amp; more"), 1);
    ls_free(text);
}

/* Two points a pixel column at most, and the outlier is among them. */
static void test_long_series(void **state) {
    (void)state;
    enum { N = 100000 };
    double *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y);
    for (int i = 0; i < N; i++) {
        x[i] = i;
        y[i] = i == 77777 ? 9 : 1;
    }
    char *text = print_chart(x, y, N, 0);
    assert_in_range(count(text, "L"), 700, 1700);
    assert_true(strlen(text) < 60000);
    /* the highest point lies 5 % of the range below the top edge: y = 44 + 344 * 0.05 / 1.1 */
    assert_non_null(strstr(text, " 59.6"));
    ls_free(text);
    free(x);
    free(y);
}

static ls_status print_small(void *user) {
    static const double x[] = {1, 2}, y[] = {2, 1};
    const ls_series series[] = {{"a", x, y, 2, 1}};
    const ls_chart chart = {
        .title = "t", .x_label = "x", .y_label = "y", .series = series, .n_series = 1};
    ls_text text = {0};
    (void)user;
    const ls_status status = ls_chart_print(&chart, &text);
    ls_text_deinit(&text);
    return status;
}

static void test_out_of_memory(void **state) {
    (void)state;
    assert_true(check_torture(print_small, NULL) > 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_series),
                                       cmocka_unit_test(test_long_series),
                                       cmocka_unit_test(test_out_of_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
