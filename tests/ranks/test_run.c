/* `lockstep run`: starting ranks, what they say, how they end, and that nothing of them is left behind.
 *
 * labels: timeout=300 */
#include "train_run.h"

#define EXACT "configs/exact_gpt.yaml steps=20 threads=1 data.cache='%s/cache' out='%s/%s' "

/* `lockstep run` of a tiny training; options come before --, overrides after. */
static run_result run_tiny(const char *options, const char *name, const char *overrides) {
    return run_program(text_of("run %s -- train " EXACT "%s", options, run_folder(), run_folder(),
                               name, overrides));
}

static const char *hash_of(const run_result *result) {
    const char *at = strstr(result->out, "weights sha256:");
    if (!at) fail_msg("no hash: exit %d, %s%s", result->exit_code, result->out, result->err);
    return text_of("%.64s", at + strlen("weights sha256:"));
}

static int count_text(const char *text, const char *part) {
    int n = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at += strlen(part)) n++;
    return n;
}

static void test_ranks_end_with_one_hash(void **state) {
    (void)state;
    const run_result alone =
        run_program(text_of("train " EXACT "-q", run_folder(), run_folder(), "alone"));
    static const char *const options[] = {"-n 1", "-n 2", "-n 4 --transport threads", "-n 8",
                                          "-n 2 --threads 2 --name two"};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        const run_result result = run_tiny(options[i], "ranks", "zero=1 -q");
        assert_int_equal(result.exit_code, 0);
        assert_string_equal(hash_of(&result), hash_of(&alone));
        /* Only the first rank prints. */
        assert_int_equal(count_text(result.out, "weights sha256"), 1);
    }
}

static void test_resume_on_another_number_of_ranks(void **state) {
    (void)state;
    const run_result whole = run_tiny("-n 2", "whole", "-q");
    const run_result half = run_tiny("-n 4", "half", "save_every=10 -q");
    assert_int_equal(half.exit_code, 0);
    static const char *const options[] = {"-n 8", "-n 2 --transport threads"};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        const run_result result =
            run_program(text_of("run %s -- resume '%s/half/step-000000010' zero=2 out='%s/resumed' "
                                "threads=1 -q",
                                options[i], run_folder(), run_folder()));
        assert_int_equal(result.exit_code, 0);
        assert_string_equal(hash_of(&result), hash_of(&whole));
    }
}

/* Lines of standard error say whose they are, and the last names who failed first and how. */
static void test_a_rank_that_dies(void **state) {
    (void)state;
    setenv("LOCKSTEP_FAULT", "kind=die,rank=1,step=7,call=1", 1);
    const run_result result = run_tiny("-n 4 --no-recover", "dies", "-q");
    unsetenv("LOCKSTEP_FAULT");
    assert_int_equal(result.exit_code, 128 + SIGKILL);
    for (int rank = 0; rank < 4; rank++)
        assert_int_equal(
            count_text(result.err, text_of("rank %d: lockstep: error: rank 1 (pid", rank)),
            rank != 1);
    assert_non_null(
        strstr(result.err, "\nlockstep: error: rank 1 was killed by signal 9 (SIGKILL) at step "));
    assert_non_null(strstr(result.err, "op "));
}

static void test_a_rank_that_is_stopped(void **state) {
    (void)state;
    setenv("LOCKSTEP_FAULT", "kind=stop,rank=2,step=7", 1);
    const run_result result = run_tiny("-n 4 --no-recover", "stops", "-q");
    unsetenv("LOCKSTEP_FAULT");
    assert_int_equal(result.exit_code, 8);
    assert_non_null(strstr(result.err, "rank 0: lockstep: error: rank 2 (pid"));
    assert_non_null(
        strstr(result.err, "lockstep: error: rank 2 stood still (was stopped) and was killed"));
}

/* Its own reason and status win over those who only heard of it. */
static void test_a_rank_that_fails(void **state) {
    (void)state;
    setenv("LOCKSTEP_FAULT", "kind=disk,rank=0,step=7", 1);
    const run_result result =
        run_tiny("-n 4 --no-recover", "disk", "save_every=1 on_save_error=stop -q");
    unsetenv("LOCKSTEP_FAULT");
    assert_int_equal(result.exit_code, 3);
    assert_non_null(strstr(result.err, "No space left"));
    assert_non_null(strstr(result.err, " ended with status 3 at step "));
}

/* Processes whose name is lockstep and whose parent is `parent`; -1 as parent counts orphans of process group `group`. */
static int count_children(pid_t parent, pid_t *group_out) {
    int n = 0;
    FILE *list = popen("ps -eo ppid=,pgid=,comm=", "r");
    assert_non_null(list);
    char line[256], name[64];
    int ppid, pgid;
    while (fgets(line, sizeof line, list)) {
        if (sscanf(line, "%d %d %63s", &ppid, &pgid, name) != 3) continue;
        if (parent > 0 ? ppid != parent : pgid != *group_out) continue;
        if (parent > 0) *group_out = pgid;
        n++;
    }
    pclose(list);
    return n;
}

static pid_t start_long_run(const char *name, pid_t *group_out) {
    const char *line = text_of("run -n 4 -- train " EXACT "steps=1000000 log_every=1", run_folder(),
                               run_folder(), name);
    const pid_t pid = start_program(line, text_of("%s/%s.txt", run_folder(), name));
    const char *metrics = text_of("%s/%s/metrics.jsonl", run_folder(), name);
    for (int i = 0; i < 3000 && count_lines(metrics) < 3; i++) sleep_us(10000);
    assert_true(count_lines(metrics) >= 3);
    assert_int_equal(count_children(pid, group_out), 4);
    return pid;
}

static void expect_nothing_left(pid_t group) {
    for (int i = 0; i < 300 && count_children(-1, &group) > 0; i++) sleep_us(10000);
    assert_int_equal(count_children(-1, &group), 0);
}

/* Passed on once to every rank: they finish the step, save and leave well. */
static void test_a_signal_saves(void **state) {
    (void)state;
    pid_t group = 0;
    const pid_t pid = start_long_run("signal", &group);
    kill(pid, SIGTERM);
    assert_int_equal(wait_program(pid), 75);
    expect_nothing_left(group);
    assert_true(ls_path_exists(text_of("%s/signal/latest", run_folder())) ||
                ls_path_is_dir(text_of("%s/signal", run_folder())));
    const run_result hash = run_program(text_of("checkpoint verify '%s/signal'", run_folder()));
    assert_int_equal(hash.exit_code, 0);
}

static void test_a_killed_supervisor_takes_its_ranks_along(void **state) {
    (void)state;
    pid_t group = 0;
    const pid_t pid = start_long_run("killed", &group);
    kill(pid, SIGKILL);
    assert_int_equal(wait_program(pid), 1000 + SIGKILL);
    expect_nothing_left(group);
}

static void test_top_shows_the_ranks(void **state) {
    (void)state;
    pid_t group = 0;
    const pid_t pid = start_long_run("top", &group);
    const run_result table = run_program(text_of("top %d --once", (int)pid));
    assert_int_equal(table.exit_code, 0);
    assert_non_null(strstr(table.out, text_of("4 ranks, pid %d", (int)pid)));
    assert_non_null(strstr(table.out, "last collective"));
    const run_result json = run_program("top --json");
    assert_int_equal(json.exit_code, 0);
    json_t *root;
    check_ok(ls_json_parse(json.out, strlen(json.out), "top", &root));
    int found = 0;
    for (size_t i = 0; i < json_array_size(root); i++) {
        const json_t *job = json_array_get(root, i);
        if (json_integer_value(json_object_get(job, "pid")) != pid) continue;
        found = 1;
        assert_int_equal(json_array_size(json_object_get(job, "ranks")), 4);
        const json_t *row = json_array_get(json_object_get(job, "ranks"), 3);
        assert_int_equal(json_integer_value(json_object_get(row, "rank")), 3);
        assert_true(json_integer_value(json_object_get(row, "calls")) > 3);
    }
    assert_true(found);
    json_decref(root);
    kill(pid, SIGINT);
    assert_int_equal(wait_program(pid), 0);
    const run_result gone = run_program(text_of("top %d", (int)pid));
    assert_int_not_equal(gone.exit_code, 0);
}

/* The slow rank is marked, and nobody else: it comes last and waits for nobody. */
static void test_top_marks_the_straggler(void **state) {
    (void)state;
    setenv("LOCKSTEP_FAULT", "kind=slow,rank=2,step=3,seconds=0.2", 1);
    const char *line =
        text_of("run -n 4 -- train " EXACT "steps=100000", run_folder(), run_folder(), "slow");
    const pid_t pid = start_program(line, text_of("%s/slow.txt", run_folder()));
    unsetenv("LOCKSTEP_FAULT");
    run_result table = {0};
    for (int i = 0; i < 100 && !strstr(table.out, "<- straggler"); i++) {
        sleep_us(200000);
        table = run_program(text_of("top %d", (int)pid));
    }
    kill(pid, SIGKILL);
    assert_int_equal(wait_program(pid), 1000 + SIGKILL);
    assert_int_equal(count_text(table.out, "<- straggler"), 1);
    const char *row = strstr(table.out, "\n     2 ");
    assert_non_null(row);
    assert_true(strstr(row, "<- straggler") < strchr(row + 1, '\n'));
}

typedef struct refusal {
    const char *line;
    int exit_code;
    const char *part;
} refusal;

static void test_refusals(void **state) {
    (void)state;
    static const refusal cases[] = {
        {"run", 2, "an argument is missing"},
        {"run -- train configs/tiny.yaml", 2, "-n says how many ranks"},
        {"run -n 0 -- train configs/tiny.yaml", 2, "--ranks wants"},
        {"run -n 2 -- trian configs/tiny.yaml", 2, "did you mean 'train'"},
        {"run -n 2 -- run -n 2", 2, "'run' is no verb for ranks"},
        {"run -n 2 -- checkpoint", 2, "an action is missing"},
        {"run -n 2 -- train", 2, "usage: lockstep train CONFIG"},
        {"run -n 2 -- train configs/none.yaml", 3, "none.yaml"},
        {"run -n 2 -- train configs/tiny.yaml stpes=1", 2, "did you mean 'steps'"},
        {"run -n 2 --transport mpi -- train configs/tiny.yaml", 2, "mpirun"},
        {"run -n 2 --transport threads -- version", 2, "runs train and resume"},
        {"run -n 2 --threads 2 -- version", 2, "takes no KEY=VALUE"},
        {"top x", 2, "'x' is no process number"},
        {"top 1", 3, "process 1 is no `lockstep run` of yours"},
        {"chaos -n 2 -- train configs/tiny.yaml", 2, "majority"},
        {"chaos -n 4 -- resume out", 2, "must be train"},
        {"chaos -n 4 --kinds die,fly -- train configs/tiny.yaml", 2, "'fly'"},
        {"chaos -n 4 -- train configs/tiny.yaml steps=2 optim.warmup=0", 2, "steps = 2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const run_result result = run_program(cases[i].line);
        if (result.exit_code != cases[i].exit_code || !strstr(result.err, cases[i].part))
            fail_msg("lockstep %s: exit %d: %s", cases[i].line, result.exit_code, result.err);
        /* Told once, not by every rank. */
        assert_int_equal(count_text(result.err, "error:"), 1);
    }
}

/* Any verb can have ranks; those that do not talk to each other just run. */
static void test_other_verbs(void **state) {
    (void)state;
    const run_result result = run_program("run -n 3 -- version");
    assert_int_equal(result.exit_code, 0);
    assert_int_equal(count_text(result.out, "lockstep "), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranks_end_with_one_hash),
        cmocka_unit_test(test_resume_on_another_number_of_ranks),
        cmocka_unit_test(test_a_rank_that_dies),
        cmocka_unit_test(test_a_rank_that_is_stopped),
        cmocka_unit_test(test_a_rank_that_fails),
        cmocka_unit_test(test_a_signal_saves),
        cmocka_unit_test(test_a_killed_supervisor_takes_its_ranks_along),
        cmocka_unit_test(test_top_shows_the_ranks),
        cmocka_unit_test(test_top_marks_the_straggler),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_other_verbs),
    };
    return cmocka_run_group_tests(tests, make_run_folder, remove_run_folder);
}
