/* labels: slow timeout=600
 * SIGTERM at random moments, of steps, saves and evaluations: the program ends with 75 with the last finished step saved, and the run goes
 * on to the weights of the undisturbed one. What it said about the time is printed beside the time it took; time decides nothing. */
#include "base/clock.h"
#include "base/rng.h"
#include "train_run.h"

enum { N_MOMENTS = 8, SEED = 20261121 };
#define RUN                                                                      \
    SMALL_RUN "steps=120 eval_every=4 eval_windows=0 save_every=6 hash_every=0 " \
              "notice_seconds=3600 "

/* The last record of a kind: its step, and a number of it. */
static int64_t last_record(const char *metrics, const char *kind, const char *key, double *out) {
    FILE *file = fopen(metrics, "r");
    assert_non_null(file);
    static char line[65536];
    int64_t step = -1;
    while (fgets(line, sizeof line, file)) {
        json_t *record = json_loads(line, 0, NULL);
        const char *found = json_string_value(json_object_get(record, "kind"));
        if (found && strcmp(found, kind) == 0) {
            step = json_integer_value(json_object_get(record, "step"));
            if (key) *out = json_number_value(json_object_get(record, key));
        }
        json_decref(record);
    }
    fclose(file);
    return step;
}

static void check_moment(int i, const train_report *whole) {
    const ls_rng_key key = {SEED, (uint64_t)i, 0};
    const char *dir = text_of("%s/moment%d", run_folder(), i);
    const char *metrics = text_of("%s/metrics.jsonl", dir);
    const char *output = text_of("%s/moment%d.out", run_folder(), i);
    const char *line = text_of("train " RUN "out='%s' data.cache='%s/cache' %s -q --json", dir,
                               run_folder(), i % 2 ? "save_mode=background" : "save_mode=wait");
    const pid_t pid = start_program(line, output);
    for (int wait = 0; wait < 4000 && count_lines(metrics) < 3; wait++) sleep_us(2000);
    sleep_us((long)ls_rng_below(key, 0, 700000));
    const double start = ls_clock_seconds();
    assert_int_equal(kill(pid, SIGTERM), 0);
    const int exit_status = wait_program(pid);
    const double took = ls_clock_seconds() - start;
    if (exit_status == 0) { /* the run was over before */
        assert_int_equal(last_record(metrics, "step", NULL, NULL), 120);
        return;
    }
    assert_int_equal(exit_status, 75);
    double bound = 0;
    assert_true(last_record(metrics, "bound", "seconds", &bound) >= 1);
    assert_true(bound > 0);
    const int64_t step = last_record(metrics, "step", NULL, NULL);
    print_message("SIGTERM after step %lld: saved in %.3f s, bound %.3f s\n", (long long)step, took,
                  bound);
    assert_true(ls_path_is_dir(text_of("%s/step-%09lld", dir, (long long)step)));
    const run_result verify = run_program(text_of("checkpoint verify '%s'", dir));
    assert_int_equal(verify.exit_code, 0);
    const train_report rest = resume_small(dir, "threads=1");
    assert_int_equal(rest.steps, 120);
    assert_string_equal(rest.hash, whole->hash);
}

static void test_moments(void **state) {
    (void)state;
    const train_report whole = train_small("calm", "steps=120 eval_every=0");
    for (int i = 0; i < N_MOMENTS; i++) check_moment(i, &whole);
}

/* All ranks end with 75, and so does what started them. */
static void check_ranks(const char *transport) {
    const char *dir = text_of("%s/ranks", run_folder());
    const char *line = text_of("run -n 2 -t 1 --transport %s -- train " RUN
                               "steps=4000 out='%s' data.cache='%s/cache' -q",
                               transport, dir, run_folder());
    (void)ls_dir_remove(dir);
    const pid_t pid = start_program(line, text_of("%s/ranks.out", run_folder()));
    const char *metrics = text_of("%s/metrics.jsonl", dir);
    for (int wait = 0; wait < 4000 && count_lines(metrics) < 6; wait++) sleep_us(2000);
    assert_int_equal(kill(pid, SIGTERM), 0);
    assert_int_equal(wait_program(pid), 75);
    const int64_t step = last_record(metrics, "step", NULL, NULL);
    assert_true(ls_path_is_dir(text_of("%s/step-%09lld", dir, (long long)step)));
}

static void test_ranks(void **state) {
    (void)state;
    check_ranks("shm");
    check_ranks("threads");
}

/* A notice that is shorter than any save can be is warned of once, with what would help. */
static void test_warning(void **state) {
    (void)state;
    const char *words = "train " SMALL_RUN "notice_seconds=%g out='%s/warn' data.cache='%s/cache'";
    run_result result = run_program(text_of(words, 0.01, run_folder(), run_folder()));
    assert_int_equal(result.exit_code, 0);
    check_says(result.err, "notice_seconds is 0.01, but from SIGTERM until all is saved");
    check_says(result.err, "what would help most");
    result = run_program(text_of(words, 3600.0, run_folder(), run_folder()));
    assert_null(strstr(result.err, "notice_seconds"));
    check_says(result.err, "from SIGTERM until all is saved it takes at most");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_moments), cmocka_unit_test(test_ranks),
                                       cmocka_unit_test(test_warning)};
    return cmocka_run_group_tests(tests, make_run_folder, remove_run_folder);
}
