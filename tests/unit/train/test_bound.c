/* The bound on SIGTERM to saved: what it is made of, and what changes it. The parts are given; no clock decides. */
#include "base/fs.h"
#include "train/bound.h"
#include "unit/base/check.h"
#include <errno.h>

static ls_bound make_bound(void) {
    ls_bound b;
    check_ok(ls_bound_init(&b, NULL));
    b.save_bytes = 1000000000;
    b.lanes_per_rank = 4;
    return b;
}

static void near(double is, double wanted) {
    if (!(is > wanted - 1e-9 && is < wanted + 1e-9)) fail_msg("%.12g, wanted %.12g", is, wanted);
}

static void test_parts(void **state) {
    ls_bound b = make_bound();
    (void)state;
    ls_bound_add_step(&b, 2);
    ls_bound_add_step(&b, 1); /* the longest counts */
    near(ls_bound_seconds(&b), 1 + 1.5 * 2);
    b.save_seconds = 10; /* of a probe */
    near(ls_bound_seconds(&b), 1 + 1.5 * 2 + 30);
    ls_bound_add_save(&b, b.save_bytes, 8);
    near(ls_bound_seconds(&b), 1 + 1.5 * 2 + 12);
    b.saves_in_background = 1; /* one under way, and the last */
    near(ls_bound_seconds(&b), 1 + 1.5 * 2 + 24);
}

static void test_evaluation(void **state) {
    ls_bound b = make_bound();
    (void)state;
    ls_bound_add_step(&b, 2);
    near(b.eval_seconds, 0); /* there is none */
    b.eval_rounds = 12;
    ls_bound_add_step(&b, 1);
    near(b.eval_seconds, 12 * 2.0 / 4 / 2);
    ls_bound_add_evaluation(&b, 1.5);
    near(b.eval_seconds, 1.5);
    ls_bound_add_step(&b, 100);
    ls_bound_add_evaluation(&b, 1.25);
    near(b.eval_seconds, 1.5);
    ls_bound_add_evaluation(&b, 4);
    near(ls_bound_seconds(&b), 1 + 1.5 * 104);
}

/* What was linked was not written: time per byte counts, and too little tells nothing. */
static void test_linked_files(void **state) {
    ls_bound b = make_bound();
    (void)state;
    b.save_seconds = 10;
    ls_bound_add_save(&b, 0, 0.1);
    ls_bound_add_save(&b, b.save_bytes / 2 - 1, 0.1);
    assert_false(b.save_is_measured);
    near(b.save_seconds, 10);
    ls_bound_add_save(&b, b.save_bytes / 2, 3);
    assert_true(b.save_is_measured);
    near(b.save_seconds, 6);
    ls_bound_add_save(&b, 2 * b.save_bytes, 5);
    near(b.save_seconds, 5);
}

static void test_probe(void **state) {
    ls_bound b = make_bound();
    char folder[512], **names = NULL;
    int n = -1;
    (void)state;
    snprintf(folder, sizeof folder, "%s", check_path("probe"));
    check_ok(ls_dir_make(folder));
    b.save_bytes = 1 << 20;
    ls_bound_probe(&b, folder);
    assert_true(b.save_seconds > 0);
    check_ok(ls_dir_list(folder, &names, &n));
    assert_int_equal(n, 0);
    ls_free(names);
    /* No disk, no error: a slow one is assumed. */
    ls_fs_fail_at(-1, ENOSPC);
    ls_bound_probe(&b, folder);
    ls_fs_fail_at(0, 0);
    near(b.save_seconds, (double)b.save_bytes / 20e6);
    check_ok(ls_dir_remove(folder));
    b.save_seconds = 0;
    ls_bound_probe(&b, folder);
    near(b.save_seconds, (double)b.save_bytes / 20e6);
    assert_string_equal(ls_error_message(), "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_evaluation),
        cmocka_unit_test(test_linked_files),
        cmocka_unit_test(test_probe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
