/* labels: timeout=300
 * lockstep bench: every key of its profile, what it refuses, how plan reads it. No figure decides. */
#include "base/fs.h"
#include "base/json.h"
#include "unit/cli/run_program.h"
#include "unit/plan/machine_fixed.h"
#include <math.h>

static char folder[512];

static const char *in_folder(const char *name) {
    static char paths[4][640];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static int make_folder(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "%s", check_path("bench"));
    if (ls_dir_make(folder) != LS_OK) return -1;
    return setenv("XDG_CACHE_HOME", in_folder("cache"), 1);
}

static int remove_folder(void **state) {
    (void)state;
    return ls_dir_remove(folder) != LS_OK;
}

static run_result run_line(const char *fmt, const char *a, const char *b) {
    char line[1800];
    snprintf(line, sizeof line, fmt, a, b);
    return run_program(line);
}

static void check_run(const run_result *r, int exit_code, const char *words) {
    if (r->exit_code != exit_code || !strstr(exit_code ? r->err : r->out, words))
        fail_msg("exit %d (wanted %d), \"%s\" not in: %s%s", r->exit_code, exit_code, words, r->out,
                 r->err);
}

static void check_figure(const json_t *figure, const char *what) {
    static const char *const keys[] = {"least", "median", "most"};
    double last = 0;
    for (int i = 0; i < 3; i++) {
        const json_t *x = json_object_get(figure, keys[i]);
        if (!json_is_number(x) || !isfinite(json_number_value(x)) || !(json_number_value(x) > 0) ||
            json_number_value(x) < last)
            fail_msg("%s: %s is missing or odd", what, keys[i]);
        last = json_number_value(x);
    }
    assert_true(json_integer_value(json_object_get(figure, "runs")) >= 1);
}

typedef struct list_of_rows {
    const char *name, *figure;
    const char *keys[6];
} list_of_rows;

static void check_rows(const json_t *root, const list_of_rows *list) {
    const json_t *rows = json_object_get(root, list->name);
    assert_true(json_array_size(rows) >= 3);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        for (int k = 0; k < 6 && list->keys[k]; k++)
            if (!json_object_get(row, list->keys[k]))
                fail_msg("%s: row %zu has no %s", list->name, i, list->keys[k]);
        if (list->figure) check_figure(json_object_get(row, list->figure), list->name);
    }
}

static void test_profile(void **state) {
    (void)state;
    static const list_of_rows lists[] = {
        {"gemm", "flops_per_second", {"dtype", "isa", "instruction", "from", "threads"}},
        {"memory", "bytes_per_second", {"stream", "level", "threads", "bytes"}},
        {"exchange", "seconds", {"op", "transport", "ranks", "hosts", "bytes"}},
        {"kernels", NULL, {"kind", "efficiency", "nodes"}},
    };
    static const char *const words[] = {"format", "lockstep", "measured", "cpu",
                                        "isa",    "stored",   NULL};
    const char *file = in_folder("machine.json"), *out = in_folder("out.json");
    run_result r = run_line("bench --quick --json --disk . --out '%s' >'%s'", file, out);
    if (r.exit_code != 0) fail_msg("exit %d: %s", r.exit_code, r.err);
    json_t *root = NULL;
    check_ok(ls_json_read(out, &root));
    for (int i = 0; words[i]; i++)
        if (!json_is_string(json_object_get(root, words[i]))) fail_msg("no %s", words[i]);
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) check_rows(root, &lists[i]);
    check_figure(json_object_get(root, "fork_join"), "fork_join");
    check_figure(json_object_get(root, "wake_p99"), "wake_p99");
    check_figure(json_object_get(root, "disk_write"), "disk_write");
    assert_string_equal(json_string_value(json_object_get(root, "stored")), file);
    json_decref(root);
    ls_machine m;
    check_ok(ls_machine_read(file, &m));
    check_ok(ls_machine_check(&m));
    assert_int_equal(m.quick, 1);
    assert_false(ls_path_exists(in_folder("cache")));
}

/* The stored profile: made by bench, found by plan, extended by ranks. */
static void test_stored(void **state) {
    (void)state;
    run_result r = run_program("plan configs/exact_gpt.yaml");
    check_run(&r, 0, "time: not predicted: this machine has no profile (");
    check_run(&r, 0, "`lockstep bench` measures one");
    r = run_program("plan configs/exact_gpt.yaml --json");
    check_run(&r, 0, "\"prediction\": null");
    check_run(&r, 0, "\"prediction_missing\": \"this machine has no profile");
    r = run_program("bench --quick");
    check_run(&r, 0, "multiply-adds, GFLOP/s");
    check_run(&r, 0, "triad");
    check_run(&r, 0, "kernels of small models");
    check_run(&r, 0, "/lockstep/machine-");
    r = run_program("plan configs/exact_gpt.yaml");
    check_run(&r, 0, "time, predicted from the machine profile measured 20");
    check_run(&r, 0, ", --quick), 1 thread a rank");
    check_run(&r, 0, "tokens/s");
    r = run_program("plan configs/exact_gpt.yaml --json");
    check_run(&r, 0, "\"step_seconds\": ");
    /* where the process may use other CPUs than the machine has, it has a profile of its own and none to add to */
    r = run_program("run -n 2 -- bench --quick");
    check_run(&r, 0, "all_gather      shm");
    if (!strstr(r.err, "are not stored")) {
        r = run_program("run -n 2 -- bench --quick --json");
        check_run(&r, 0, "/lockstep/machine-");
    }
}

/* Stored for this machine's key, but made by another; or damaged. */
static void test_foreign(void **state) {
    (void)state;
    char *path = NULL;
    const ls_machine m = fixed_machine();
    check_ok(ls_machine_default_path(0, &path));
    check_ok(ls_machine_write(&m, path));
    run_result r = run_program("plan configs/exact_gpt.yaml");
    check_run(&r, 0, "the profile is of another machine: Round Numbers 4000, 4 threads");
    check_ok(ls_file_write_atomic(path, "{", 1));
    r = run_program("plan configs/exact_gpt.yaml");
    check_run(&r, 0, "time: not predicted: ");
    check_run(&r, 0, "not valid JSON");
    r = run_line("plan configs/exact_gpt.yaml --machine '%s'%s", path, "");
    check_run(&r, 4, "not valid JSON");
    ls_free(path);
}

static void test_plan_of_another_machine(void **state) {
    (void)state;
    const ls_machine m = fixed_machine();
    const char *file = in_folder("fixed.json");
    check_ok(ls_machine_write(&m, file));
    run_result r = run_line("plan configs/exact_gpt.yaml --machine '%s'%s", file, "");
    check_run(&r, 0, "measured 2026-01-02T03:04:05Z (Round Numbers 4000, 4 threads), 1 thread a");
    check_run(&r, 0, "(assumed)");
    check_run(&r, 0, "  a save: ");
    r = run_line("plan configs/exact_gpt.yaml mesh.dp=2 --json --machine '%s'%s", file, "");
    json_t *root = NULL, *prediction = NULL;
    check_ok(ls_json_parse(r.out, strlen(r.out), "plan", &root));
    check_ok(ls_json_get_object(root, "plan", "prediction", &prediction));
    double step, nodes, folds, exchange, items;
    check_ok(ls_json_get_number(prediction, "p", "step_seconds", &step));
    check_ok(ls_json_get_number(prediction, "p", "node_seconds", &nodes));
    check_ok(ls_json_get_number(prediction, "p", "fold_seconds", &folds));
    check_ok(ls_json_get_number(prediction, "p", "exchange_seconds", &exchange));
    check_ok(ls_json_get_number(prediction, "p", "items_per_second", &items));
    assert_true(fabs(nodes + folds + exchange - step) < 1e-9 * step && exchange > 0);
    assert_true(fabs(items * step - 8 * 16) < 1e-6); /* batch 8, 16 tokens each */
    json_decref(root);
}

static void test_nodes(void **state) {
    (void)state;
    const ls_machine m = fixed_machine();
    const char *file = in_folder("fixed.json");
    check_ok(ls_machine_write(&m, file));
    run_result r = run_line("bench --quick --plan configs/exact_gpt.yaml out='%s' --machine '%s'",
                            in_folder("run"), file);
    check_run(&r, 0, "adam_step_cpu");
    check_run(&r, 0, "distinct nodes; their times add up to");
    check_run(&r, 0, "tokens/s");
    const char *out = in_folder("nodes.json");
    char line[1500];
    snprintf(line, sizeof line,
             "bench --quick --json --plan configs/exact_gpt.yaml out='%s' --machine '%s' >'%s'",
             in_folder("run"), file, out);
    r = run_program(line);
    if (r.exit_code != 0) fail_msg("exit %d: %s", r.exit_code, r.err);
    json_t *root = NULL, *nodes = NULL;
    check_ok(ls_json_read(out, &root));
    check_ok(ls_json_get_array(root, "bench", "nodes", &nodes));
    double share = 0;
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *row = json_array_get(nodes, i);
        share += json_number_value(json_object_get(row, "share"));
        assert_true(json_number_value(json_object_get(row, "seconds")) > 0);
        assert_true(json_number_value(json_object_get(row, "of_roof")) >= 0);
        assert_true(json_is_string(json_object_get(row, "bound")));
    }
    assert_true(fabs(share - 1) < 1e-6);
    json_decref(root);
    assert_false(ls_path_exists(in_folder("run/metrics.jsonl")));
}

typedef struct refusal {
    const char *line;
    int exit_code;
    const char *words;
} refusal;

static void test_refusals(void **state) {
    (void)state;
    static const refusal rows[] = {
        {"bench --qick", 2, "qick"},
        {"bench configs/tiny.yaml", 2, "configs/tiny.yaml"},
        {"bench steps=3", 2, "'steps=3' changes a configuration, but none is named"},
        {"bench --out x --no-store", 2, "exclude each other"},
        {"bench --plan configs/exact_gpt.yaml --out x", 2, "--plan times nodes and stores nothing"},
        {"bench --machine x", 2, "--machine names the roofs for --plan"},
        {"bench --plan configs/exact_gpt.yaml --machine nowhere.json", 3, "nowhere.json"},
        {"bench --plan nowhere.yaml --machine nowhere.json", 3, "nowhere.yaml"},
        {"bench --plan configs/exact_gpt.yaml stepps=3", 2, "stepps"},
        {"bench --quick --no-store --disk nowhere", 3, "--disk nowhere: no such folder"},
        {"bench --disk", 2, "disk"},
        {"plan configs/exact_gpt.yaml --machine nowhere.json", 3, "nowhere.json"},
        {"run -n 3 -- bench --quick", 2, "between 2, 4, 8, ... ranks"},
        {"run -n 2 -- bench --quick --plan configs/exact_gpt.yaml", 2, "start it alone"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const run_result r = run_program(rows[i].line);
        check_run(&r, rows[i].exit_code, rows[i].words);
    }
    run_result r = run_program("bench --help");
    check_run(&r, 0, "--plan CONFIG");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_profile), cmocka_unit_test(test_stored),
        cmocka_unit_test(test_foreign), cmocka_unit_test(test_plan_of_another_machine),
        cmocka_unit_test(test_nodes),   cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
