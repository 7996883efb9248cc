/* The promise, through the program: the same weights bit for bit, whatever the threads, the recomputation, the interruptions.
 *
 * labels: slow timeout=300 */
#include "train_run.h"

static void assert_same(const train_report *a, const train_report *b, const char *what) {
    if (strcmp(a->hash, b->hash) != 0)
        fail_msg("%s: weights %s, wanted %s", what, b->hash, a->hash);
}

/* The fewest bytes that recompute=bytes accepts for these overrides, as its refusal says. */
static long fewest_bytes(const char *overrides) {
    const char *line;
    line = text_of("plan " SMALL_RUN "data.cache='%s/cache' %s recompute=bytes recompute_bytes=1",
                   run_folder(), overrides);
    const run_result result = run_program(line);
    const char *at = strstr(result.err, "recomputed (");
    if (result.exit_code != 2 || !at) fail_msg("%s: %d %s", line, result.exit_code, result.err);
    return strtol(at + strlen("recomputed ("), NULL, 10);
}

/* Threads 1, 2, 3, without fusion and with every kind of recomputation, with dropout, for one model and precision. */
static void check_layouts(const char *model, const char *precision) {
    const char *common, *line;
    common = text_of("model.kind=%s precision=%s model.dropout=0.1 steps=4", model, precision);
    const long bytes = fewest_bytes(common) * 5 / 4;
    const char *budget;
    budget = text_of("threads=1 recompute=bytes recompute_bytes=%ld", bytes);
    const char *const layouts[] = {"threads=2",
                                   "threads=1 fuse=false",
                                   "threads=2 recompute=cheap cast_weights=step",
                                   "threads=3 recompute=attention",
                                   "threads=2 recompute=layer",
                                   "threads=3 recompute=layer pack=all",
                                   budget};
    line = text_of("%s threads=1", common);
    const train_report base = train_small("layouts", line);
    assert_int_equal(base.steps, 4);
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++) {
        line = text_of("%s %s", common, layouts[i]);
        const train_report other = train_small("layouts", line);
        assert_same(&base, &other, line);
    }
}

static void test_layouts(void **state) {
    (void)state;
    static const char *const models[] = {"gpt2", "llama"};
    static const char *const precisions[] = {"f32", "bf16", "f16"};
    for (int m = 0; m < 2; m++)
        for (int p = 0; p < 3; p++) check_layouts(models[m], precisions[p]);
}

static void test_lanes(void **state) {
    (void)state;
    for (int lanes = 1; lanes <= 8; lanes *= 2) {
        const char *one, *three;
        one = text_of("lanes=%d threads=1", lanes);
        three = text_of("lanes=%d threads=3 recompute=layer pack=off cast_weights=use", lanes);
        const train_report a = train_small("lanes", one), b = train_small("lanes", one),
                           c = train_small("lanes", three);
        assert_same(&a, &b, one);
        assert_same(&a, &c, three);
    }
}

/* The hash sees what matters: otherwise all of this would prove nothing. */
static void test_other_runs_differ(void **state) {
    (void)state;
    static const char *const others[] = {
        "seed=8",         "steps=5",  "optim.lr=0.00301", "model.dropout=0.1",
        "precision=bf16", "batch=16", "model.kind=llama"};
    const train_report base = train_small("differ", "");
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        const train_report other = train_small("differ", others[i]);
        if (strcmp(base.hash, other.hash) == 0) fail_msg("%s changes no weight", others[i]);
    }
}

/* Every step saved; going on from each gives the uninterrupted run's weights. */
static void check_resume_everywhere(const char *overrides) {
    const char *line, *dir;
    line = text_of("%s save_every=1 keep=10", overrides);
    const train_report whole = train_small("whole", line);
    for (int step = 1; step <= 6; step++) {
        dir = text_of("%s/whole/step-%09d", run_folder(), step);
        line = text_of("out='%s/rest' threads=%d", run_folder(), 1 + step % 3);
        const train_report rest = resume_small(dir, line);
        assert_int_equal(rest.steps, 6);
        assert_same(&whole, &rest, dir);
    }
    const run_result result = run_program("");
    assert_int_equal(result.exit_code, 0);
}

static void test_resume_at_every_step(void **state) {
    (void)state;
    check_resume_everywhere("model.dropout=0.1");
    check_resume_everywhere("precision=f16 model.kind=llama lanes=4 model.dropout=0.1");
    check_resume_everywhere("precision=bf16 optim.kind=sgd optim.momentum=0.9");
}

/* A growing loss scale overflows on purpose: skipped steps are part of the state too. */
static void test_resume_with_skipped_steps(void **state) {
    (void)state;
    const char *overrides = "precision=f16 optim.loss_scale=1e30 optim.loss_scale_max=1e30 "
                            "save_every=1 keep=10";
    const train_report whole = train_small("skips", overrides);
    assert_true(whole.skipped_steps > 0);
    const char *dir, *line;
    dir = text_of("%s/skips/step-%09d", run_folder(), 2);
    line = text_of("out='%s/rest'", run_folder());
    const train_report rest = resume_small(dir, line);
    assert_same(&whole, &rest, "skipped steps");
}

/* SIGINT or SIGTERM in mid-run: the step ends, a checkpoint is written, exit 0 or 75; resume gives the same bits. */
static void check_signal(int number, const char *name) {
    const char *line, *metrics, *dir, *output;
    const train_report whole = train_small("calm", "steps=80 eval_every=0");
    dir = text_of("%s/%s", run_folder(), name);
    metrics = text_of("%s/metrics.jsonl", dir);
    output = text_of("%s/%s.out", run_folder(), name);
    line =
        text_of("train " SMALL_RUN "out='%s' data.cache='%s/cache' steps=80 eval_every=0 -q --json",
                dir, run_folder());
    const pid_t pid = start_program(line, output);
    /* Three steps, and records of the start and of the bound. */
    for (int i = 0; i < 4000 && count_lines(metrics) < 5; i++) sleep_us(2000);
    assert_int_equal(kill(pid, number), 0);
    assert_int_equal(wait_program(pid), number == SIGTERM ? 75 : 0);
    run_result result = {0};
    read_whole(output, result.out, sizeof result.out);
    train_report part;
    read_report(line, &result, &part);
    assert_true(part.interrupted);
    assert_in_range(part.steps, 3, 79);
    const train_report rest = resume_small(dir, "threads=1");
    assert_int_equal(rest.steps, 80);
    assert_same(&whole, &rest, name);
}

static void test_signals(void **state) {
    (void)state;
    check_signal(SIGINT, "sigint");
    check_signal(SIGTERM, "sigterm");
}

/* What is left behind must be whole, and nothing else but it. */
static void check_folder(const char *dir) {
    const char *line;
    line = text_of("checkpoint verify '%s'", dir);
    const run_result result = run_program(line);
    if (result.exit_code != 0) fail_msg("%s: %s", line, result.err);
    char **names;
    int n;
    check_ok(ls_dir_list(dir, &names, &n));
    for (int i = 0; i < n; i++) {
        if (strstr(names[i], ".tmp.") || strstr(names[i], ".old."))
            fail_msg("%s is left over in %s", names[i], dir);
        ls_free(names[i]);
    }
    ls_free(names);
}

/* kill -9 at random instants, many times, until the run gets through: no optimizer step is lost, no bit changes. */
static void test_kill_and_resume(void **state) {
    (void)state;
    enum { KILLS = 10 };
    const char *line, *dir, *output, *latest;
    const train_report whole = train_small("calm", "steps=40");
    const unsigned seed = (unsigned)time(NULL);
    print_message("kill seed %u\n", seed);
    srand(seed);
    dir = text_of("%s/killed", run_folder());
    latest = text_of("%s/latest", dir);
    output = text_of("%s/killed.out", run_folder());
    for (int i = 0; i < KILLS; i++) {
        if (access(latest, F_OK) == 0)
            line = text_of("resume '%s' -q", dir);
        else
            line = text_of("train " SMALL_RUN
                           "out='%s' data.cache='%s/cache' steps=40 save_every=1 keep=1 -q",
                           dir, run_folder());
        const pid_t pid = start_program(line, output);
        sleep_us(20000 + rand() % 150000);
        assert_int_equal(kill(pid, SIGKILL), 0);
        const int ended = wait_program(pid);
        if (ended != 0 && ended != 1000 + SIGKILL) {
            run_result result = {0};
            read_whole(output, result.out, sizeof result.out);
            fail_msg("%s: exit %d: %s", line, ended, result.out);
        }
    }
    if (access(latest, F_OK) != 0) (void)train_small("killed", "steps=40 save_every=1");
    const train_report rest = resume_small(dir, "");
    assert_same(&whole, &rest, "killed and resumed");
    check_folder(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layouts),
        cmocka_unit_test(test_lanes),
        cmocka_unit_test(test_other_runs_differ),
        cmocka_unit_test(test_resume_at_every_step),
        cmocka_unit_test(test_resume_with_skipped_steps),
        cmocka_unit_test(test_signals),
        cmocka_unit_test(test_kill_and_resume),
    };
    return cmocka_run_group_tests(tests, make_run_folder, remove_run_folder);
}
