/* When ranks are started again, and how soon. */
#include "cli/cmd_run_recover.h"
#include "unit/base/check.h"
#include <signal.h>

typedef struct ending {
    const char *what;
    int exit_status, signal, was_stopped;
    uint64_t step;
    int helps;
} ending;

static void test_what_another_attempt_can_help(void **state) {
    (void)state;
    static const ending cases[] = {
        {"kill -9", -1, SIGKILL, 0, 5, 1},
        {"a bad pointer", -1, SIGSEGV, 0, 0, 1},
        {"stopped, then killed", -1, SIGKILL, 1, 5, 1},
        {"communication", 8, 0, 0, 0, 1},
        {"internal", 70, 0, 0, 3, 1},
        {"a full disk within the run", 3, 0, 0, 7, 1},
        {"a file that is not there", 3, 0, 0, 0, 0},
        {"no memory at the start", 5, 0, 0, 0, 0},
        {"configuration", 2, 0, 0, 0, 0},
        {"a damaged file", 4, 0, 0, 9, 0},
        {"not supported", 6, 0, 0, 0, 0},
        {"not finite", 7, 0, 0, 9, 0},
        {"saved after SIGTERM", 75, 0, 0, 9, 0},
        {"interrupted", 130, 0, 0, 9, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const ending *c = &cases[i];
        ls_ranks_result *result = ls_alloc(sizeof *result + sizeof *result->ends);
        assert_non_null(result);
        result->size = 1;
        result->ends[0] = (ls_ranks_end){.has_ended = 1,
                                         .exit_status = c->exit_status,
                                         .signal = c->signal,
                                         .was_stopped = c->was_stopped,
                                         .report = {.step = c->step}};
        if (ls_recover_can_help(result) != c->helps) fail_msg("%s", c->what);
        ls_free(result);
    }
}

static void test_pauses_double(void **state) {
    (void)state;
    const ls_recover_options options = {.pause = 0.1, .longest_pause = 30};
    static const double expected[] = {0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30};
    for (int i = 0; i < (int)(sizeof expected / sizeof *expected); i++)
        assert_float_equal(ls_recover_pause(&options, i), expected[i], 1e-9);
    assert_float_equal(ls_recover_pause(&options, 1000000), 30, 0);
}

static int n_told;
static char first_told[256], last_told[256];

static void take_line(const char *line) {
    if (n_told++ == 0) snprintf(first_told, sizeof first_told, "%s", line);
    snprintf(last_told, sizeof last_told, "%s", line);
}

/* Only the newest are kept: the report has a length. */
static void test_records_of_a_crash_loop(void **state) {
    (void)state;
    ls_recover_result *result = ls_alloc(sizeof *result);
    assert_non_null(result);
    for (int64_t i = 0; i < LS_RECOVER_RECORDS + 3; i++) {
        ls_recover_record *record = &result->records[i % LS_RECOVER_RECORDS];
        *record = (ls_recover_record){.number = i, .base = i ? i : -1, .seconds = 1.5};
        snprintf(record->how, sizeof record->how, "rank %d ended", (int)i);
        result->n_records++;
    }
    ls_recover_tell_records(result, take_line);
    assert_int_equal(n_told, LS_RECOVER_RECORDS);
    assert_non_null(strstr(first_told, "attempt 4 from step 3: after 1.5 s, at "));
    assert_non_null(strstr(last_told, ", rank 34 ended"));
    n_told = 0;
    result->n_records = 1;
    result->records[0].base = -1;
    ls_recover_tell_records(result, take_line);
    assert_int_equal(n_told, 1);
    assert_non_null(strstr(first_told, " from the start: "));
    ls_recover_result_destroy(result);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_another_attempt_can_help),
        cmocka_unit_test(test_pauses_double),
        cmocka_unit_test(test_records_of_a_crash_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
