/* A sample of the fault table: two faults of every kind over eight ranks. `make chaos` runs a hundred.
 *
 * labels: slow timeout=300 */
#include "train_run.h"

enum { N_FAULTS = 24 };

static void test_every_kind_is_named(void **state) {
    (void)state;
    const char *line =
        text_of("chaos -n 8 --faults %d --seed 7 --json -- train configs/exact_gpt.yaml "
                "steps=40 zero=1 out='%s/chaos' >'%s/report'",
                N_FAULTS, run_folder(), run_folder());
    const run_result result = run_program(line);
    char *text;
    size_t bytes;
    check_ok(ls_file_read(text_of("%s/report", run_folder()), &text, &bytes));
    if (result.exit_code != 0) fail_msg("exit %d: %s %s", result.exit_code, result.err, text);
    json_t *root;
    check_ok(ls_json_parse(text, bytes, "chaos", &root));
    int64_t named, left;
    double slowest;
    check_ok(ls_json_get_int(root, "chaos", "named_right", &named));
    check_ok(ls_json_get_int(root, "chaos", "left_behind", &left));
    check_ok(ls_json_get_number(root, "chaos", "slowest_seconds", &slowest));
    assert_int_equal(named, N_FAULTS);
    assert_int_equal(left, 0);
    assert_true(slowest <= 2);
    json_t *rows;
    check_ok(ls_json_get_array(root, "chaos", "rows", &rows));
    assert_int_equal(json_array_size(rows), N_FAULTS);
    json_decref(root);
    ls_free(text);
}

/* The judge can say no: a run that takes longer than allowed is not right. */
static void test_late_is_not_right(void **state) {
    (void)state;
    const run_result result =
        run_program(text_of("chaos -n 4 --faults 1 --kinds stop --within 0.1 -- train "
                            "configs/exact_gpt.yaml steps=40 out='%s/late'",
                            run_folder()));
    assert_int_equal(result.exit_code, 8);
    assert_non_null(strstr(result.out, "over 0.10 s"));
    assert_non_null(strstr(result.out, "chaos: 1 faults, 1 named right"));
    assert_non_null(strstr(result.err, "1 of 1 faults were not found as they should be"));
}

/* Flipped bits: by the run itself, or by its replay; at a stage that gives gradients, weights and sums. */
static void test_silent_kinds(void **state) {
    (void)state;
    for (int zero = 0; zero <= 3; zero += 3) {
        const run_result result = run_program(
            text_of("chaos -n 4 --faults 6 --kinds flip,flip_share,flip_state --seed 3 -- train "
                    "configs/exact_gpt.yaml steps=8 optim.warmup=2 zero=%d out='%s/silent'",
                    zero, run_folder()));
        if (result.exit_code != 0) fail_msg("zero %d: %s %s", zero, result.err, result.out);
        assert_non_null(strstr(result.out, "chaos: 6 faults, 6 named right"));
    }
}

static void test_a_run_that_fails_by_itself(void **state) {
    (void)state;
    const run_result result = run_program(text_of(
        "chaos -n 4 --faults 1 -- train configs/exact_gpt.yaml steps=40 lanes=2 out='%s/none'",
        run_folder()));
    assert_int_equal(result.exit_code, 2); /* as its ranks: the configuration is refused */
    assert_non_null(strstr(result.err, "fails without any fault"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind_is_named),
        cmocka_unit_test(test_silent_kinds),
        cmocka_unit_test(test_late_is_not_right),
        cmocka_unit_test(test_a_run_that_fails_by_itself),
    };
    return cmocka_run_group_tests(tests, make_run_folder, remove_run_folder);
}
