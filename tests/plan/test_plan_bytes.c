/* The plan is the program: for every shipped configuration, and over precision, recomputation and lanes, `plan --json` says the
 * bytes that `train --json` allocates, and the run loop allocates nothing.
 *
 * Configurations with more than LARGE_PARAMETERS are planned only, unless LS_PLAN_LARGE is set. labels: slow timeout=600 */
#include "train_run.h"

enum { LARGE_PARAMETERS = 20000000 };

typedef struct plan_report {
    int64_t total, sum, activations, gradients, parameters;
} plan_report;

static const char *const kinds[] = {"weights",       "optimizer",  "buffers",     "gradients",
                                    "prepared",      "step",       "activations", "workspace",
                                    "communication", "evaluation", "save_copy"};

/* Exit status of `plan`; 0 fills the report. */
static int run_plan(const char *words, plan_report *out, char *err, size_t err_bytes) {
    const char *path = text_of("%s/plan.json", run_folder());
    const char *line = text_of("plan %s --json", words);
    const char *shell =
        text_of("'%s' %s >'%s' 2>'%s.err' </dev/null", getenv("LS_TEST_PROGRAM"), line, path, path);
    const int status = system(shell);
    read_whole(text_of("%s.err", path), err, err_bytes);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    json_t *root, *bytes;
    check_ok(ls_json_read(path, &root));
    check_ok(ls_json_get_object(root, line, "bytes", &bytes));
    check_ok(ls_json_get_int(root, line, "parameters", &out->parameters));
    check_ok(ls_json_get_int(bytes, line, "total", &out->total));
    check_ok(ls_json_get_int(bytes, line, "activations", &out->activations));
    check_ok(ls_json_get_int(bytes, line, "gradients", &out->gradients));
    out->sum = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        int64_t part;
        check_ok(ls_json_get_int(bytes, line, kinds[i], &part));
        assert_true(part >= 0);
        out->sum += part;
    }
    /* gradients over activations that are dead by then */
    const json_t *overlaid = json_object_get(bytes, "overlaid");
    assert_true(json_integer_value(overlaid) <= 0);
    out->sum += json_integer_value(overlaid);
    json_decref(root);
    return 0;
}

static plan_report plan_small(const char *overrides) {
    plan_report report;
    char err[4096];
    const char *words = text_of(SMALL_RUN "data.cache='%s/cache' %s", run_folder(), overrides);
    if (run_plan(words, &report, err, sizeof err) != 0) fail_msg("plan %s: %s", words, err);
    return report;
}

static void check_equal(const char *what, const plan_report *plan, const train_report *run) {
    if (plan->total != run->allocated_bytes || plan->total != run->planned_bytes)
        fail_msg("%s: plan %lld bytes, train says planned %lld, allocated %lld", what,
                 (long long)plan->total, (long long)run->planned_bytes,
                 (long long)run->allocated_bytes);
    if (plan->sum != plan->total)
        fail_msg("%s: the kinds add up to %lld bytes, the total is %lld", what,
                 (long long)plan->sum, (long long)plan->total);
    if (run->run_allocations != 0)
        fail_msg("%s: the run loop made %lld allocations", what, (long long)run->run_allocations);
}

static void test_grid(void **state) {
    (void)state;
    static const char *const precisions[] = {"f32", "bf16", "f16"};
    static const char *const recomputes[] = {"none", "cheap", "attention", "layer"};
    static const char *const models[] = {"gpt2", "llama"};
    for (int m = 0; m < 2; m++)
        for (int p = 0; p < 3; p++)
            for (int r = 0; r < 4; r++)
                for (int lanes = 1; lanes <= 8; lanes *= 8) {
                    const char *words =
                        text_of("model.kind=%s precision=%s recompute=%s lanes=%d steps=2 "
                                "eval_every=1 model.dropout=%s",
                                models[m], precisions[p], recomputes[r], lanes, m ? "0" : "0.1");
                    const plan_report plan = plan_small(words);
                    const train_report run = train_small("grid", words);
                    check_equal(words, &plan, &run);
                }
}

static void test_other_choices(void **state) {
    (void)state;
    static const char *const others[] = {"optim.kind=sgd optim.momentum=0.9",
                                         "optim.kind=sgd",
                                         "optim.kind=lamb",
                                         "optim.kind=lion optim.clip=0",
                                         "model.tied=false",
                                         "data.split=false data.cache=none",
                                         "threads=1",
                                         "threads=3",
                                         "batch=8 lanes=4 window=16",
                                         "model.label_smoothing=0.1",
                                         "model.kind=llama model.kv_heads=1",
                                         "data.ignore_across_documents=true",
                                         "save_every=1",
                                         "save_every=1 save_mode=wait"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        const char *words = strstr(others[i], "data.cache")
                                ? text_of("data.split=false data.cache='%s/whole'", run_folder())
                                : others[i];
        const plan_report plan = plan_small(text_of("%s steps=2", words));
        train_report run = train_small("other", text_of("%s steps=2", words));
        /* A thread that writes a checkpoint meanwhile is counted too. */
        if (strstr(words, "save_every")) run.run_allocations = 0;
        check_equal(words, &plan, &run);
    }
}

/* What the options are for. */
static void test_options_move_bytes(void **state) {
    (void)state;
    const plan_report none = plan_small("lanes=1"), cheap = plan_small("lanes=1 recompute=cheap"),
                      attention = plan_small("lanes=1 recompute=attention"),
                      layer = plan_small("lanes=1 recompute=layer"), lanes = plan_small("lanes=8");
    assert_true(layer.activations < attention.activations);
    assert_true(cheap.activations < none.activations);
    assert_true(attention.activations <= none.activations);
    assert_true(lanes.activations < none.activations);
    /* the lane tree's stack: log2(8) + 1 buffers */
    assert_int_equal(lanes.gradients, 4 * none.gradients);
    const int64_t budget = (none.activations + layer.activations) / 2;
    const plan_report bytes =
        plan_small(text_of("lanes=1 recompute=bytes recompute_bytes=%lld", (long long)budget));
    assert_true(bytes.activations < none.activations);
    assert_true(bytes.activations > layer.activations);
}

/* Words for a shipped configuration: as it is, but for its length and where it writes. */
static const char *shipped_words(const char *name) {
    return text_of(
        "configs/%s steps=1 optim.warmup=0 eval_windows=1 max_seconds=0 tensorboard=false "
        "out='%s/%s' data.cache='%s/%s-cache'",
        name, run_folder(), name, run_folder(), name);
}

static int is_missing_data(int exit_code, const char *err) {
    return exit_code == 3 &&
           (strstr(err, "no such file or folder") || strstr(err, "no image folder"));
}

static int n_checked;

static void check_shipped(const char *name) {
    plan_report plan;
    char err[4096];
    const char *words = shipped_words(name);
    const int exit_code = run_plan(words, &plan, err, sizeof err);
    if (is_missing_data(exit_code, err)) {
        print_message("%s: skipped: its data is not installed: %s", name, err);
        return;
    }
    if (exit_code != 0) fail_msg("plan %s: exit %d: %s", words, exit_code, err);
    if (plan.parameters > LARGE_PARAMETERS && !getenv("LS_PLAN_LARGE")) {
        print_message("%s: planned only, %lld parameters\n", name, (long long)plan.parameters);
        return;
    }
    train_report run;
    const char *line = text_of("train %s -q --json", words);
    const run_result result = run_program(line);
    read_report(line, &result, &run);
    check_equal(name, &plan, &run);
    print_message("%s: %lld bytes\n", name, (long long)plan.total);
    n_checked++;
}

static void test_shipped_configurations(void **state) {
    (void)state;
    char **names;
    int n;
    check_ok(ls_dir_list("configs", &names, &n));
    for (int i = 0; i < n; i++) {
        if (strstr(names[i], ".yaml")) check_shipped(names[i]);
        ls_free(names[i]);
    }
    ls_free(names);
    assert_true(n_checked >= 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grid),
        cmocka_unit_test(test_other_choices),
        cmocka_unit_test(test_options_move_bytes),
        cmocka_unit_test(test_shipped_configurations),
    };
    return cmocka_run_group_tests(tests, make_run_folder, remove_run_folder);
}
