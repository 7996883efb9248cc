/* Trace files: JSON that the format asks for, times that never cross by rounding, nothing left after a failure. */
#include "base/fs.h"
#include "base/json.h"
#include "observe/trace_file.h"
#include "unit/base/check.h"
#include <errno.h>

static const char hostile[] = "a \"b\" \\ \n\t\x01 <&> \xc3\xa9";

static ls_status write_file(const char *path) {
    ls_trace_file *file = NULL;
    const ls_trace_span outer = {hostile, "phase", 3, 1, 1000, 5000001, "\"lane\":2"};
    const ls_trace_span inner = {"inner", "matrix products", 3, 1, 1999, 5000001, ""};
    LS_TRY(ls_trace_file_open(path, "\"ranks\":1", &file));
    ls_status status = ls_trace_file_process(file, 3, hostile);
    if (status == LS_OK) status = ls_trace_file_thread(file, 3, 1, "run loop");
    if (status == LS_OK) status = ls_trace_file_span(file, &outer);
    if (status == LS_OK) status = ls_trace_file_span(file, &inner);
    if (status == LS_OK) return ls_trace_file_commit(file);
    ls_trace_file_abort(file);
    return status;
}

static void test_file(void **state) {
    (void)state;
    const char *path = check_path("trace.json");
    json_t *root;
    check_ok(write_file(path));
    check_ok(ls_json_read(path, &root));
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(root, "otherData"), "ranks")), 1);
    const json_t *events = json_object_get(root, "traceEvents");
    assert_int_equal(json_array_size(events), 6);
    static const char *const names[] = {"process_name", "process_sort_index", "thread_name",
                                        "thread_sort_index"};
    for (size_t i = 0; i < 4; i++) {
        const json_t *e = json_array_get(events, i);
        assert_string_equal(json_string_value(json_object_get(e, "ph")), "M");
        assert_string_equal(json_string_value(json_object_get(e, "name")), names[i]);
    }
    const json_t *outer = json_array_get(events, 4), *inner = json_array_get(events, 5);
    assert_string_equal(json_string_value(json_object_get(outer, "name")), hostile);
    assert_string_equal(json_string_value(json_object_get(outer, "ph")), "X");
    assert_int_equal(json_integer_value(json_object_get(outer, "pid")), 3);
    assert_int_equal(json_integer_value(json_object_get(outer, "tid")), 1);
    assert_float_equal(json_real_value(json_object_get(outer, "ts")), 1.0, 1e-9);
    assert_float_equal(json_real_value(json_object_get(outer, "dur")), 4999.001, 1e-6);
    assert_float_equal(json_real_value(json_object_get(inner, "ts")), 1.999, 1e-9);
    assert_int_equal(json_object_size(json_object_get(inner, "args")), 0);
    json_decref(root);
    unlink(path);
}

/* More than one piece of the buffer. */
static void test_long_file(void **state) {
    (void)state;
    enum { N = 3000 };
    const char *path = check_path("long.json");
    ls_trace_file *file;
    json_t *root;
    check_ok(ls_trace_file_open(path, "", &file));
    for (int i = 0; i < N; i++) {
        const ls_trace_span span = {"x", "y", 0, 0, i * 10, i * 10 + 9, "\"text\":\"0123456789\""};
        check_ok(ls_trace_file_span(file, &span));
    }
    assert_false(ls_path_exists(path)); /* only whole */
    check_ok(ls_trace_file_commit(file));
    check_ok(ls_json_read(path, &root));
    assert_int_equal(json_array_size(json_object_get(root, "traceEvents")), N);
    json_decref(root);
    unlink(path);
}

/* Bytes that are not UTF-8 become the replacement character; the others stay. */
static void test_strings(void **state) {
    (void)state;
    static const struct {
        const char *text, *json;
    } cases[] = {{"a\xc3\xa9z", "\"a\xc3\xa9z\""},
                 {"\xff.", "\"\\ufffd.\""},
                 {"\xc3", "\"\\ufffd\""},
                 {"\xe0\x80\x80", "\"\\ufffd\\ufffd\\ufffd\""},
                 {"\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""},
                 {"\xf0\x9f\x98\x80", "\"\xf0\x9f\x98\x80\""},
                 {"\x7f\x1f", "\"\x7f\\u001f\""},
                 {"", "\"\""}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ls_text text = {0};
        ls_json_append_string(&text, cases[i].text);
        assert_string_equal(text.data, cases[i].json);
        ls_text_deinit(&text);
    }
}

static ls_status write_scenario(void *user) {
    return write_file(user);
}

static void test_failures(void **state) {
    (void)state;
    char path[512];
    snprintf(path, sizeof path, "%s", check_path("failing.json"));
    check_fails(write_file("/nonexistent/folder/trace.json"), LS_ERR_NOT_FOUND,
                "/nonexistent/folder");
    (void)check_torture(write_scenario, path);
    unlink(path);
    for (int n = 1; n < 20; n++) {
        ls_fs_fail_at(n, ENOSPC);
        const ls_status status = write_file(path);
        ls_fs_fail_at(0, 0);
        if (status == LS_OK) break;
        assert_int_equal(status, LS_ERR_NO_SPACE);
        assert_true(n < 19);
    }
    assert_true(ls_path_exists(path));
    unlink(path);
    ls_trace_file_abort(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_file), cmocka_unit_test(test_strings),
                                       cmocka_unit_test(test_long_file),
                                       cmocka_unit_test(test_failures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
