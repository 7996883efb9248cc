#include "base/clock.h"
#include "unit/base/check.h"
#include <time.h>

static void test_clocks_move_by_the_time_slept(void **state) {
    (void)state;
    const double start = ls_clock_seconds();
    const int64_t wall = ls_clock_unix_ms();
    const struct timespec rest = {0, 20000000};
    nanosleep(&rest, NULL);
    const double passed = ls_clock_seconds() - start;
    assert_true(passed >= 0.0199 && passed < 30);
    assert_true(ls_clock_unix_ms() > wall);
    /* time() is of the clock's last tick, and a loaded machine may go on much later. */
    const int64_t apart = (int64_t)time(NULL) - ls_clock_unix_ms() / 1000;
    assert_true(apart >= -1 && apart < 100);
}

static void test_age_of_the_process(void **state) {
    (void)state;
    const double age = ls_clock_process_seconds();
    const struct timespec rest = {0, 30000000};
    nanosleep(&rest, NULL);
    const double later = ls_clock_process_seconds();
    assert_true(age >= 0 && age < 100);
    assert_true(later - age > 0.01 && later - age < 30);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clocks_move_by_the_time_slept),
        cmocka_unit_test(test_age_of_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
