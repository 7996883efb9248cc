/* What a start does: work, not time. A second start encodes nothing; what the first step waits for comes before its record, the rest after. */
#include "train/start.h"
#include "train_run.h"

typedef struct start_report {
    int64_t prepared_bytes;
    double stages, first_step_seconds;
} start_report;

static const char *const stage_names[] = {"launch_seconds",    "data_seconds",    "plan_seconds",
                                          "memory_seconds",    "weights_seconds", "records_seconds",
                                          "first_step_seconds"};
enum { N_STAGES = sizeof stage_names / sizeof *stage_names };

/* Of a run into `name` on the text at `path`. */
static start_report start_run(const char *name, const char *path, const char *words) {
    const char *line =
        text_of("train " SMALL_RUN "steps=1 optim.warmup=1 eval_every=0 data.path='%s' out='%s/%s' "
                "data.cache='%s/%s-cache' %s -q --json",
                path, run_folder(), name, run_folder(), name, words);
    const run_result result = run_program(line);
    if (result.exit_code != 0) fail_msg("exit %d: %s", result.exit_code, result.err);
    json_t *root;
    check_ok(ls_json_parse(result.out, strlen(result.out), line, &root));
    const json_t *start = json_object_get(root, "start");
    start_report report = {json_integer_value(json_object_get(start, "prepared_bytes")), 0,
                           json_real_value(json_object_get(root, "first_step_seconds"))};
    for (int i = 0; i < N_STAGES; i++) {
        const double seconds = json_number_value(json_object_get(start, stage_names[i]));
        if (!(seconds >= 0)) fail_msg("%s is %g", stage_names[i], seconds);
        report.stages += seconds;
    }
    json_decref(root);
    return report;
}

static const char *copy_text(const char *name, char first) {
    const char *path = text_of("%s/%s", run_folder(), name);
    char *text;
    size_t bytes;
    check_ok(ls_file_read("examples/data/tiny.txt", &text, &bytes));
    if (first) text[0] = first;
    check_ok(ls_file_write_atomic(path, text, bytes));
    ls_free(text);
    return path;
}

static void test_encoded_once(void **state) {
    (void)state;
    const char *path = copy_text("once.txt", '\0');
    int64_t bytes;
    check_ok(ls_path_bytes(path, &bytes));
    const start_report first = start_run("once", path, "");
    assert_int_equal(first.prepared_bytes, bytes);
    assert_true(first.stages > 0);
    assert_float_equal(first.stages, first.first_step_seconds, 1e-6);
    assert_int_equal(start_run("once", path, "").prepared_bytes, 0);
    assert_int_equal(start_run("once", path, "seed=3 batch=4").prepared_bytes, 0);
    path = copy_text("once.txt", '\0'); /* the same text, newly written */
    assert_int_equal(start_run("once", path, "").prepared_bytes, 0);
    path = copy_text("once.txt", '#'); /* another of the same size */
    assert_int_equal(start_run("once", path, "").prepared_bytes, bytes);
    assert_int_equal(start_run("once", path, "data.split=false").prepared_bytes, bytes);
}

static void test_order_of_records(void **state) {
    (void)state;
    (void)train_small("order", "steps=3 eval_every=0");
    FILE *file = fopen(text_of("%s/order/metrics.jsonl", run_folder()), "r");
    static const char *const kinds[] = {"step", "start", "bound", "step", "step"};
    char line[4096];
    assert_non_null(file);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        assert_non_null(fgets(line, sizeof line, file));
        json_t *record;
        check_ok(ls_json_parse(line, strlen(line), "metrics.jsonl", &record));
        assert_string_equal(json_string_value(json_object_get(record, "kind")), kinds[i]);
        for (int s = 0; strcmp(kinds[i], "start") == 0 && s < N_STAGES; s++)
            assert_true(json_is_number(json_object_get(record, stage_names[s])));
        json_decref(record);
    }
    fclose(file);
}

static void test_line(void **state) {
    (void)state;
    const run_result result =
        run_program(text_of("train " SMALL_RUN "steps=1 optim.warmup=1 out='%s/line' "
                            "data.cache='%s/cache'",
                            run_folder(), run_folder()));
    assert_int_equal(result.exit_code, 0);
    check_says(result.err, "start: launch ");
    check_says(result.err, " ms, first step ");
}

static ls_status describe(void *user) {
    char *text = ls_start_describe(user);
    if (!text) return LS_ERR_NO_MEMORY;
    ls_free(text);
    return LS_OK;
}

static void test_describe(void **state) {
    (void)state;
    ls_start_times times = {.launch = 0.0021,
                            .data = 0.003,
                            .plan = 0.0045,
                            .weights = 1.25,
                            .first_step = 0.0126,
                            .records = 0.0004};
    char *text = ls_start_describe(&times);
    assert_string_equal(text, "launch 2 ms, data 3 ms, plan 4 ms, memory 0 ms, weights 1250 ms, "
                              "records 0 ms, first step 13 ms");
    ls_free(text);
    times.prepared_bytes = 99;
    text = ls_start_describe(&times);
    check_says(text, "first step 13 ms; 99 bytes of data prepared");
    ls_free(text);
    assert_float_equal(ls_start_seconds(&times), 1.2726, 1e-12);
    assert_true(check_torture(describe, &times) >= 1);
}

static void test_marks(void **state) {
    (void)state;
    ls_start_watch watch;
    ls_start_begin(&watch);
    assert_true(watch.times.launch > 0);
    ls_start_mark(&watch, &watch.times.data);
    const double data = watch.times.data;
    ls_start_mark(&watch, &watch.times.data); /* a stage in two parts */
    assert_true(watch.times.data >= data && data >= 0);
    assert_float_equal(ls_start_seconds(&watch.times), watch.times.launch + watch.times.data,
                       1e-12);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encoded_once), cmocka_unit_test(test_order_of_records),
        cmocka_unit_test(test_line),         cmocka_unit_test(test_describe),
        cmocka_unit_test(test_marks),
    };
    return cmocka_run_group_tests(tests, make_run_folder, remove_run_folder);
}
