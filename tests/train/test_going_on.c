/* Where an attempt that is not the first goes on from, when memory holds nothing: the newest checkpoint of the same run that is whole. */
#include "train_run.h"

typedef struct attempt {
    const char *run, *number; /* LOCKSTEP_RUN, LOCKSTEP_ATTEMPT; NULL = not set */
} attempt;

static void set(const char *name, const char *value) {
    if (value)
        setenv(name, value, 1);
    else
        unsetenv(name);
}

/* A run of 12 steps with a checkpoint each third, into the folder `name`. */
static run_result run_attempt(attempt a, const char *name, train_report *report) {
    const char *line = text_of("train " SMALL_RUN "steps=12 save_every=3 keep=9 save_mode=wait "
                               "data.cache=%s/cache out=%s/%s --json -q",
                               run_folder(), run_folder(), name);
    set("LOCKSTEP_RUN", a.run);
    set("LOCKSTEP_ATTEMPT", a.number);
    const run_result result = run_program(line);
    set("LOCKSTEP_RUN", NULL);
    set("LOCKSTEP_ATTEMPT", NULL);
    read_report(line, &result, report);
    return result;
}

/* Steps of the records in metrics.jsonl that this process made: a run that goes on from step s writes none of s and before. */
static int64_t count_run_steps(const char *name) {
    char *text;
    size_t bytes;
    int64_t n = 0;
    check_ok(ls_file_read(text_of("%s/%s/metrics.jsonl", run_folder(), name), &text, &bytes));
    for (const char *at = text; (at = strstr(at, "\"kind\":\"step\"")); at++) n++;
    ls_free(text);
    return n;
}

static void damage(const char *name, int step, const char *file) {
    const char *path = text_of("%s/%s/step-%09d/%s", run_folder(), name, step, file);
    const int fd = open(path, O_RDWR);
    unsigned char byte;
    assert_true(fd >= 0);
    const off_t at = lseek(fd, -5, SEEK_END);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 4;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void truncate_folder(const char *name, int step) {
    check_ok(ls_dir_remove(text_of("%s/%s/step-%09d", run_folder(), name, step)));
}

static void test_newest_whole_checkpoint(void **state) {
    (void)state;
    const attempt first = {"a1", NULL}, second = {"a1", "1"};
    train_report undisturbed, report;
    (void)run_attempt(first, "whole", &undisturbed);
    truncate_folder("whole", 12);
    damage("whole", 9, "model.safetensors");
    damage("whole", 6, "optimizer.safetensors");
    const run_result result = run_attempt(second, "whole", &report);
    assert_string_equal(report.hash, undisturbed.hash);
    assert_int_equal(report.steps, 12);
    const char *nine = strstr(result.err, "step-000000009' is damaged: model.safetensors");
    assert_non_null(nine);
    assert_non_null(strstr(nine, "step-000000006' is damaged: optimizer.safetensors"));
    assert_non_null(strstr(result.err, "going on from an older checkpoint"));
    assert_int_equal(count_run_steps("whole"), 12);
}

static void test_none_is_whole(void **state) {
    (void)state;
    const attempt first = {"b1", NULL}, second = {"b1", "3"};
    train_report undisturbed, report;
    (void)run_attempt(first, "none", &undisturbed);
    for (int step = 3; step <= 12; step += 3) damage("none", step, "model.safetensors");
    (void)run_attempt(second, "none", &report);
    assert_string_equal(report.hash, undisturbed.hash);
}

/* A folder with another run's checkpoints: the attempt begins at the start, and its weights are its own. */
static void test_another_run(void **state) {
    (void)state;
    const attempt other = {"c1", NULL}, mine = {"c2", "1"}, nameless = {NULL, "1"};
    train_report theirs, report;
    (void)run_attempt(other, "other", &theirs);
    truncate_folder("other", 12);
    damage("other", 9, "model.safetensors"); /* would be told if it were looked at */
    const run_result result = run_attempt(mine, "other", &report);
    assert_null(strstr(result.err, "damaged"));
    assert_string_equal(report.hash, theirs.hash);
    assert_int_equal(count_run_steps("other"), 12);
    (void)run_attempt(nameless, "other", &report);
    assert_string_equal(report.hash, theirs.hash);
}

/* The first attempt does not look at what lies in `out`. */
static void test_first_attempt(void **state) {
    (void)state;
    const attempt first = {"d1", "0"};
    train_report once, again;
    (void)run_attempt(first, "first", &once);
    damage("first", 12, "model.safetensors");
    const run_result result = run_attempt(first, "first", &again);
    assert_null(strstr(result.err, "damaged"));
    assert_string_equal(again.hash, once.hash);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_newest_whole_checkpoint),
        cmocka_unit_test(test_none_is_whole),
        cmocka_unit_test(test_another_run),
        cmocka_unit_test(test_first_attempt),
    };
    return cmocka_run_group_tests(tests, make_run_folder, remove_run_folder);
}
