/* metrics.jsonl: records, null for what is no number, and what a resumed run keeps of an older file. */
#include "base/fs.h"
#include "base/json.h"
#include "observe/metrics.h"
#include "unit/base/check.h"
#include <errno.h>
#include <math.h>

static char folder[512];

static int make_folder(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "%s", check_path("metrics"));
    check_ok(ls_dir_make(folder));
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    return ls_dir_remove(folder) == LS_OK ? 0 : 1;
}

static char *read_log(void) {
    char path[600];
    char *text = NULL;
    size_t bytes;
    snprintf(path, sizeof path, "%s/metrics.jsonl", folder);
    check_ok(ls_file_read(path, &text, &bytes));
    return text;
}

static void write_log(const char *text) {
    char path[600];
    snprintf(path, sizeof path, "%s/metrics.jsonl", folder);
    check_ok(ls_file_write_atomic(path, text, strlen(text)));
}

/* Opens with `keep_below`, closes, and compares what is left with `wanted`. */
static void check_kept(const char *before, int64_t keep_below, const char *wanted) {
    ls_metrics *metrics;
    write_log(before);
    check_ok(ls_metrics_open(folder, 0, keep_below, &metrics));
    ls_metrics_close(metrics);
    char *text = read_log();
    assert_string_equal(text, wanted);
    ls_free(text);
}

#define STEP(n)  "{\"kind\":\"step\",\"step\":" #n "}\n"
#define EVAL(n)  "{\"kind\":\"eval\",\"step\":" #n "}\n"
#define FINAL(n) "{\"kind\":\"final\",\"step\":" #n "}\n"

static void test_resume_cuts_the_log(void **state) {
    (void)state;
    check_kept(STEP(1) STEP(2) STEP(3), 3, STEP(1) STEP(2));
    check_kept(STEP(1) EVAL(1) STEP(2) EVAL(2), 2, STEP(1) EVAL(1));
    check_kept(STEP(1) FINAL(1), 2, STEP(1));
    check_kept(STEP(1) "{\"kind\":\"st", 9, STEP(1));
    check_kept(STEP(1) "noise\n" STEP(2), 9, STEP(1) STEP(2));
    check_kept(STEP(1) "{\"step\":1}\n{\"kind\":\"step\",\"step\":\"1\"}\n[]\n", 9, STEP(1));
    check_kept("", 9, "");
    check_kept(STEP(1), 0, "");
    check_kept(STEP(1) STEP(2), -1, "");
}

static void test_records(void **state) {
    (void)state;
    ls_metrics *metrics = NULL;
    const ls_metric items[] = {{"loss", 2.5}, {"held", NAN}, {"norm", INFINITY}};
    check_ok(ls_metrics_open(folder, 0, -1, &metrics));
    check_ok(ls_metrics_write(metrics, "step", 7, items, 3));
    check_ok(ls_metrics_write(metrics, "eval", 7, items, 1));
    ls_metrics_close(metrics);
    char *text = read_log();
    const size_t first = strcspn(text, "\n") + 1;
    json_t *record;
    check_ok(ls_json_parse(text, first, "first", &record));
    assert_int_equal(json_integer_value(json_object_get(record, "step")), 7);
    assert_true(json_number_value(json_object_get(record, "loss")) == 2.5);
    assert_true(json_is_null(json_object_get(record, "held")));
    assert_true(json_is_null(json_object_get(record, "norm")));
    assert_true(json_integer_value(json_object_get(record, "unix_ms")) > 1600000000000);
    json_decref(record);
    check_ok(ls_json_parse(text + first, strlen(text + first), "second", &record));
    assert_string_equal(json_string_value(json_object_get(record, "kind")), "eval");
    json_decref(record);
    ls_free(text);
}

static ls_status open_and_write(void *user) {
    const ls_metric items[] = {{"loss", 1}, {"lr", 0.5}};
    ls_metrics *metrics;
    (void)user;
    LS_TRY(ls_metrics_open(folder, 1, 5, &metrics));
    const ls_status status = ls_metrics_write(metrics, "step", 5, items, 2);
    ls_metrics_close(metrics);
    return status;
}

static void test_out_of_memory(void **state) {
    (void)state;
    write_log(STEP(1) STEP(2));
    assert_true(check_torture(open_and_write, NULL) > 10);
    char *text = read_log();
    assert_non_null(strstr(text, STEP(1) STEP(2)));
    ls_free(text);
}

static void test_errors(void **state) {
    (void)state;
    ls_metrics *metrics;
    char path[600];
    snprintf(path, sizeof path, "%s/none", folder);
    check_fails(ls_metrics_open(path, 0, -1, &metrics), LS_ERR_NOT_FOUND, "metrics.jsonl");
    check_ok(ls_metrics_open(folder, 0, -1, &metrics));
    ls_fs_fail_at(1, ENOSPC);
    check_fails(ls_metrics_write(metrics, "step", 1, NULL, 0), LS_ERR_NO_SPACE, "metrics.jsonl");
    ls_fs_fail_at(0, 0);
    ls_metrics_close(metrics);
    ls_metrics_close(NULL);
}

static void test_members(void **state) {
    ls_metrics *metrics;
    (void)state;
    check_ok(ls_metrics_open(folder, 0, -1, &metrics));
    check_ok(ls_metrics_write_members(metrics, "hash", 3, "\"ranks\":2,\"state\":[\"a\",\"b\"]"));
    ls_metrics_close(metrics);
    char *text = read_log();
    json_t *record = NULL, *list;
    int64_t ranks;
    check_ok(ls_json_parse(text, strlen(text) - 1, "record", &record));
    check_ok(ls_json_get_int(record, "record", "ranks", &ranks));
    check_ok(ls_json_get_array(record, "record", "state", &list));
    assert_int_equal(ranks, 2);
    assert_int_equal(json_array_size(list), 2);
    assert_string_equal(json_string_value(json_object_get(record, "kind")), "hash");
    json_decref(record);
    ls_free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_members), cmocka_unit_test(test_resume_cuts_the_log),
        cmocka_unit_test(test_records), cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
