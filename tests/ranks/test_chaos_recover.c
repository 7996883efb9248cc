/* A sample of the kill campaign: ranks that are killed at any instant, and the verdict. `make chaos-recover` does a thousand.
 *
 * labels: slow timeout=300 */
#include "train_run.h"

enum { KILLS = 30 };

#define CHAOS "chaos --recover -n %d --kills %d --seed %d %s -- train configs/exact_gpt.yaml "

static json_t *run_chaos(const char *line) {
    const run_result result = run_program(text_of("%s >'%s/report'", line, run_folder()));
    char *text;
    size_t bytes;
    check_ok(ls_file_read(text_of("%s/report", run_folder()), &text, &bytes));
    if (result.exit_code != 0) fail_msg("exit %d: %s %s", result.exit_code, result.err, text);
    json_t *root;
    check_ok(ls_json_parse(text, bytes, "chaos", &root));
    ls_free(text);
    return root;
}

static int64_t int_of(json_t *root, const char *key) {
    int64_t value;
    check_ok(ls_json_get_int(root, "chaos", key, &value));
    return value;
}

static void test_kills_at_any_instant(void **state) {
    (void)state;
    json_t *root = run_chaos(text_of(CHAOS "steps=60 save_every=3 zero=1 out='%s/chaos'", 4, KILLS,
                                     1, "--json", run_folder()));
    int equal, met = 0;
    assert_true(int_of(root, "kills") >= KILLS);
    assert_int_equal(int_of(root, "recovered"), int_of(root, "kills"));
    assert_int_equal(int_of(root, "steps_lost"), 0);
    check_ok(ls_json_get_bool(root, "chaos", "hash_equal", &equal));
    assert_true(equal);
    /* More than one kind of instant was met, and what was committed never went back. */
    const char *name;
    json_t *row;
    json_object_foreach(json_object_get(root, "during"), name, row) {
        const char *kind;
        json_t *count;
        int64_t n = 0;
        json_object_foreach(row, kind, count) n += json_integer_value(count);
        met += n > 0;
    }
    assert_true(met >= 3);
    json_t *rows;
    check_ok(ls_json_get_array(root, "chaos", "rows", &rows));
    assert_true(json_array_size(rows) >= KILLS);
    json_decref(root);
}

/* The verdict can be no: without memory that outlives ranks, steps since the last checkpoint are lost. */
static void test_lost_steps_are_counted(void **state) {
    (void)state;
    const run_result result = run_program(text_of(
        CHAOS "steps=60 save_every=20 recover.copies=0 out='%s/lost'", 2, 4, 2, "", run_folder()));
    assert_int_equal(result.exit_code, 8);
    assert_non_null(strstr(result.out, "recovered, "));
    assert_null(strstr(result.out, " 0 steps lost"));
    assert_non_null(strstr(result.out, "hash equal"));
    assert_non_null(strstr(result.err, "steps lost"));
}

/* What fails by itself is told as that. */
static void test_a_run_that_fails_by_itself(void **state) {
    (void)state;
    const run_result result =
        run_program(text_of(CHAOS "steps=60 lanes=2 out='%s/none'", 4, 2, 1, "", run_folder()));
    assert_int_equal(result.exit_code, 2); /* as its ranks: the configuration is refused */
    assert_non_null(strstr(result.err, "the run fails without a blow"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kills_at_any_instant),
        cmocka_unit_test(test_lost_steps_are_counted),
        cmocka_unit_test(test_a_run_that_fails_by_itself),
    };
    return cmocka_run_group_tests(tests, make_run_folder, remove_run_folder);
}
