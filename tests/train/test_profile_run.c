/* `train --profile`: the same bits, files that hold what the plan says, on one rank and two; what goes wrong is said.
 *
 * labels: slow timeout=300 */
#include "base/log.h"
#include "exec/trace.h"
#include "lockstep/train.h"
#include "observe/profile.h"
#include "plan/plan.h"
#include "trace_format.h"
#include "train_run.h"
#include "unit/observe/markup.h"

typedef struct counts {
    int64_t kernels, runs, feeds; /* of a step of one rank */
    int n_nodes;
    int lanes;
} counts;

/* The plan of SMALL_RUN on so many ranks. */
static counts count_plan(const char *overrides, int64_t ranks) {
    static char words[2048];
    const char *list[64];
    int n = 0;
    snprintf(words, sizeof words, SMALL_RUN "data.cache=%s/cache mesh.dp=%lld %s", run_folder(),
             (long long)ranks, overrides);
    const char *file = strtok(words, " ");
    for (char *word = strtok(NULL, " "); word; word = strtok(NULL, " ")) list[n++] = word;
    ls_train_config config;
    struct ls_config *values;
    ls_plan *plan, *eval;
    check_ok(ls_train_config_load(file, list, n, &config, &values));
    check_ok(ls_train_plan(&config, &plan, &eval));
    const ls_rank_plan *rank = &plan->ranks[0];
    counts out = {.n_nodes = (int)plan->graph->n_nodes, .lanes = (int)config.lanes};
    for (int64_t i = 0; i < rank->n_commands; i++) {
        const ls_command *c = &rank->commands[i];
        out.feeds += c->kind == LS_COMMAND_FEED;
        if (c->kind != LS_COMMAND_RUN) continue;
        out.runs++;
        out.kernels += (c->last ? c->last : rank->segments[c->segment].n_nodes) - c->first;
    }
    ls_plan_destroy(plan);
    ls_plan_destroy(eval);
    ls_config_destroy(values);
    return out;
}

typedef struct span {
    int64_t begin, end; /* ns */
} span;

static int64_t to_ns(const json_t *event, const char *key) {
    const json_t *value = json_object_get(event, key);
    assert_true(json_is_real(value));
    return (int64_t)(json_real_value(value) * 1e3 + 0.5);
}

/* What holds another comes before it in the file. */
static void check_nests(const span *spans, int n) {
    for (int i = 0; i < n; i++) {
        assert_true(spans[i].begin >= 0 && spans[i].begin <= spans[i].end);
        for (int k = 0; k < i; k++) {
            const int apart = spans[i].end <= spans[k].begin;
            const int inside = spans[i].begin >= spans[k].begin && spans[i].end <= spans[k].end;
            if (!apart && !inside)
                fail_msg("spans %d [%lld, %lld] and %d [%lld, %lld] cross", k,
                         (long long)spans[k].begin, (long long)spans[k].end, i,
                         (long long)spans[i].begin, (long long)spans[i].end);
        }
    }
}

static int64_t arg(const json_t *event, const char *key) {
    const json_t *value = json_object_get(json_object_get(event, "args"), key);
    return value ? json_integer_value(value) : -1;
}

/* Every node of the plan once per lane (or once) and step. */
static void check_nodes(const json_t *events, int rank, int64_t step, const counts *wanted) {
    int *seen = calloc((size_t)wanted->n_nodes * (size_t)(wanted->lanes + 1), sizeof *seen);
    int64_t kernels = 0, runs = 0, feeds = 0;
    for (size_t i = 0; i < json_array_size(events); i++) {
        const json_t *e = json_array_get(events, i);
        if (json_integer_value(json_object_get(e, "pid")) != rank + 1 || arg(e, "step") != step)
            continue;
        const char *name = json_string_value(json_object_get(e, "name"));
        const char *category = json_string_value(json_object_get(e, "cat"));
        runs += strcmp(category, "phase") == 0;
        feeds += strncmp(name, "data", 4) == 0;
        const int64_t node = arg(e, "node");
        if (node < 0) continue;
        kernels++;
        assert_true(node < wanted->n_nodes && arg(e, "lane") < wanted->lanes);
        const int64_t at = node * (wanted->lanes + 1) + arg(e, "lane") + 1;
        if (seen[at]++) fail_msg("node %lld comes twice in a lane", (long long)node);
    }
    free(seen);
    assert_int_equal(kernels, wanted->kernels);
    assert_int_equal(runs, wanted->runs);
    assert_int_equal(feeds, wanted->feeds);
}

/* --- docs/profile.md, "What is recorded" --- */

enum { DOC_ROWS = 16, DOC_NAMES = 8, DOC_KEYS = 16 };

typedef struct doc_row {
    char names[DOC_NAMES][64], keys[DOC_KEYS][32];
    int n_names, n_keys;
} doc_row;

/* Numbers and N are alike. */
static void copy_name(char out[64], const char *name, size_t n) {
    size_t used = 0;
    for (size_t i = 0; i < n && used < 63; i++) {
        const int is_digit = name[i] >= '0' && name[i] <= '9';
        if (!is_digit && name[i] != 'N')
            out[used++] = name[i];
        else if (used == 0 || out[used - 1] != '#')
            out[used++] = '#';
    }
    out[used] = '\0';
}

/* A cell's names in backticks, and the first word of each argument. */
static void read_row(char *names, char *keys, doc_row *row) {
    for (char *at = names; (at = strchr(at, '`')) != NULL; at++) {
        const size_t n = strcspn(at + 1, "`");
        assert_true(row->n_names < DOC_NAMES);
        copy_name(row->names[row->n_names++], at + 1, n);
        at += n + 1;
    }
    for (char *key = strtok(keys, ","); key; key = strtok(NULL, ",")) {
        assert_true(row->n_keys < DOC_KEYS);
        if (sscanf(key, " %31s", row->keys[row->n_keys]) == 1) row->n_keys++;
    }
}

static int read_doc(doc_row rows[DOC_ROWS]) {
    char *text = NULL, *line, *rest;
    size_t bytes;
    int n = 0;
    check_ok(ls_file_read("docs/profile.md", &text, &bytes));
    char *at = strstr(text, "## What is recorded");
    assert_non_null(at);
    *strstr(at + 3, "\nEach event has") = '\0';
    for (line = strtok_r(at, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char *cells[3] = {0};
        int n_cells = 0;
        if (*line != '|') continue;
        for (char *cell = line; cell && n_cells < 3; n_cells++) {
            cells[n_cells] = cell + 1;
            cell = strchr(cell + 1, '|');
            if (cell) *cell = '\0';
        }
        if (n_cells < 3 || !strchr(cells[1], '`') || strstr(cells[1], "trace.json")) continue;
        assert_true(n < DOC_ROWS);
        memset(&rows[n], 0, sizeof rows[n]);
        read_row(cells[1], cells[2], &rows[n++]);
    }
    ls_free(text);
    return n;
}

static const doc_row *find_row(const doc_row *rows, int n, const json_t *event) {
    char name[64];
    const int is_kernel = json_object_get(json_object_get(event, "args"), "node") != NULL;
    const char *text = json_string_value(json_object_get(event, "name"));
    copy_name(name, text, strlen(text));
    for (int i = 0; i < n; i++)
        for (int k = 0; k < rows[i].n_names; k++)
            if (is_kernel ? strncmp(rows[i].names[k], "matmul ", 7) == 0
                          : strcmp(rows[i].names[k], name) == 0)
                return &rows[i];
    return NULL;
}

static int has_key(const doc_row *row, const char *key) {
    for (int i = 0; i < row->n_keys; i++)
        if (strcmp(row->keys[i], key) == 0) return 1;
    return strcmp(key, "step") == 0 || strcmp(key, "lane") == 0;
}

/* Each event stands in the table, with these arguments and no others. */
static void check_documented(const json_t *events) {
    static const char *const rates[] = {"GFLOP/s", "GB/s", "threads"};
    doc_row rows[DOC_ROWS];
    const int n = read_doc(rows);
    assert_int_equal(n, 8);
    for (size_t i = 0; i < json_array_size(events); i++) {
        const json_t *e = json_array_get(events, i), *args = json_object_get(e, "args");
        const char *name = json_string_value(json_object_get(e, "name")), *key;
        json_t *value;
        if (strcmp(json_string_value(json_object_get(e, "ph")), "X") != 0) continue;
        const doc_row *row = find_row(rows, n, e);
        if (!row) fail_msg("docs/profile.md has no event '%s'", name);
        if (!json_object_get(args, "step")) fail_msg("'%s' has no step", name);
        json_object_foreach((json_t *)args, key, value) if (!has_key(row, key))
            fail_msg("docs/profile.md does not say that '%s' has '%s'", name, key);
        for (int k = 0; k < row->n_keys; k++) {
            int is_rate = 0;
            for (int r = 0; r < 3; r++) is_rate |= strcmp(row->keys[k], rates[r]) == 0;
            if (is_rate && to_ns(e, "dur") == 0) continue;
            if (!json_object_get(args, row->keys[k]))
                fail_msg("'%s' has no '%s', as docs/profile.md says", name, row->keys[k]);
        }
    }
}

/* The trace is in the format that viewers read, and says what the documentation says. */
static json_t *read_trace(const char *dir) {
    json_t *root = NULL;
    char fault[256] = "";
    check_ok(ls_json_read(text_of("%s/trace.json", dir), &root));
    if (find_trace_fault(root, fault, sizeof fault)) fail_msg("%s/trace.json: %s", dir, fault);
    check_documented(json_object_get(root, "traceEvents"));
    return root;
}

static void check_trace(const char *dir, int ranks, int64_t first, int64_t last,
                        const counts *wanted) {
    json_t *root = read_trace(dir);
    const json_t *events = json_object_get(root, "traceEvents");
    const size_t n = json_array_size(events);
    span *spans = calloc(n + 1, sizeof *spans);
    for (int r = 0; r < ranks; r++) {
        int n_spans = 0, n_named = 0;
        for (size_t i = 0; i < n; i++) {
            const json_t *e = json_array_get(events, i);
            const char *ph = json_string_value(json_object_get(e, "ph"));
            if (json_integer_value(json_object_get(e, "pid")) != r + 1) continue;
            n_named += strcmp(ph, "M") == 0;
            if (strcmp(ph, "X") != 0) continue;
            const int64_t begin = to_ns(e, "ts");
            spans[n_spans++] = (span){begin, begin + to_ns(e, "dur")};
        }
        assert_int_equal(n_named, 4);
        check_nests(spans, n_spans);
        for (int64_t step = first; step <= last; step++) check_nodes(events, r, step, wanted);
    }
    free(spans);
    json_decref(root);
}

static char *read_text(const char *path) {
    char *text = NULL;
    size_t bytes;
    check_ok(ls_file_read(path, &text, &bytes));
    return text;
}

static void check_page(const char *dir, int ranks) {
    char *page = read_text(text_of("%s/profile.html", dir));
    assert_true(check_markup(page) > 100);
    assert_int_equal(count_text(page, "<svg "), 2);
    const int items = count_text(page, "<li>");
    if (items < 5) check_says(page, "below a roof");
    assert_true(items <= 5);
    for (int r = 0; r < ranks; r++) check_says(page, text_of(">rank %d<", r));
    ls_free(page);
}

/* Of every kernel of every rank and lane the median over the steps, summed, from the trace. */
static double sum_medians(const char *dir, double n_steps, int ranks) {
    json_t *root = read_trace(dir);
    const json_t *events = json_object_get(root, "traceEvents");
    const size_t most = json_array_size(events);
    ls_profile_sample *samples = calloc(most, sizeof *samples);
    int64_t n = 0;
    double us = 0;
    for (size_t i = 0; i < most; i++) {
        const json_t *e = json_array_get(events, i);
        if (!json_object_get(json_object_get(e, "args"), "node")) continue;
        samples[n++] =
            (ls_profile_sample){.rank = (int)json_integer_value(json_object_get(e, "pid")),
                                .what = arg(e, "node"),
                                .lane = (int)arg(e, "lane"),
                                .ns = json_number_value(json_object_get(e, "dur"))};
    }
    ls_profile_add_medians(samples, n, &us);
    free(samples);
    json_decref(root);
    return 1e-6 * us / (n_steps * ranks);
}

/* Shares are of the step; phases add up to it; a class's calls are the plan's; its time is of medians, and means add up within the step. */
static void check_numbers(const char *dir, int ranks, const counts *wanted) {
    json_t *root = NULL;
    double phases = 0, calls = 0, means = 0, seconds = 0;
    check_ok(ls_json_read(text_of("%s/profile.json", dir), &root));
    assert_int_equal(json_number_value(json_object_get(root, "ranks")), ranks);
    const double step = json_number_value(json_object_get(root, "step_seconds"));
    const double n_steps = json_number_value(json_object_get(root, "steps"));
    assert_true(step > 0 && n_steps > 1);
    assert_true(json_number_value(json_object_get(root, "items_per_second")) > 0);
    const json_t *list = json_object_get(root, "phases");
    for (size_t i = 0; i < json_array_size(list); i++)
        phases += json_number_value(json_object_get(json_array_get(list, i), "seconds"));
    assert_float_equal(phases / step, 1, 1e-3);
    list = json_object_get(root, "classes");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *c = json_array_get(list, i);
        means += json_number_value(json_object_get(c, "mean_seconds"));
        if (strcmp(json_string_value(json_object_get(c, "op")), "lane sum") == 0) continue;
        seconds += json_number_value(json_object_get(c, "seconds"));
        calls += json_number_value(json_object_get(c, "calls"));
    }
    assert_float_equal(seconds / sum_medians(dir, n_steps, ranks), 1, 1e-6);
    assert_true(json_number_value(json_object_get(root, "step_median_seconds")) > 0);
    assert_float_equal(calls, (double)wanted->kernels, 1e-6);
    assert_true(means <= step * 1.0001);
    assert_true(json_array_size(json_object_get(root, "attention")) <= 5);
    assert_true(json_array_size(json_object_get(root, "memory")) > 3);
    json_decref(root);
}

static void test_one_rank(void **state) {
    (void)state;
    const train_report plain = train_small("plain", ""),
                       profiled = train_small("profiled", "--profile save_every=2");
    assert_string_equal(plain.hash, profiled.hash);
    const counts wanted = count_plan("", 1);
    const char *dir = text_of("%s/profiled/profile", run_folder());
    check_trace(dir, 1, 3, 5, &wanted);
    check_page(dir, 1);
    check_numbers(dir, 1, &wanted);
    json_t *root = read_trace(dir);
    int saves = 0, evaluations = 0;
    const json_t *events = json_object_get(root, "traceEvents");
    for (size_t i = 0; i < json_array_size(events); i++) {
        const char *name = json_string_value(json_object_get(json_array_get(events, i), "name"));
        saves += strncmp(name, "save", 4) == 0;
        evaluations += strcmp(name, "evaluation") == 0;
    }
    assert_int_equal(saves, 1);       /* after step 4 */
    assert_int_equal(evaluations, 1); /* after step 3 */
    json_decref(root);
}

static void test_two_ranks(void **state) {
    (void)state;
    const train_report plain = train_small("alone", "precision=bf16");
    static const char *const transports[] = {"shm", "threads"};
    for (int i = 0; i < 2; i++) {
        const char *line = text_of(
            "run -n 2 --transport %s -- train " SMALL_RUN
            "out='%s/two%d' data.cache='%s/cache' zero=%d precision=bf16 --profile='%s/two%d-p' -q "
            "--json",
            transports[i], run_folder(), i, run_folder(), i + 1, run_folder(), i);
        const run_result result = run_program(line);
        train_report report;
        read_report(line, &result, &report);
        assert_string_equal(report.hash, plain.hash);
        if (i == 0) assert_int_equal(report.run_allocations, 0);
        check_says(result.out, "\"profile\": ");
        const counts wanted = count_plan(text_of("zero=%d precision=bf16", i + 1), 2);
        const char *dir = text_of("%s/two%d-p", run_folder(), i);
        check_trace(dir, 2, 3, 5, &wanted);
        check_page(dir, 2);
        check_numbers(dir, 2, &wanted);
    }
}

/* "64 bytes each". */
static void test_event_bytes(void **state) {
    (void)state;
    assert_int_equal(sizeof(ls_trace_event), 64);
}

static void test_terminal(void **state) {
    (void)state;
    const char *line = text_of("train " SMALL_RUN "out='%s/words' data.cache='%s/cache' --profile "
                               "profile.first=1 profile.steps=1 steps=2",
                               run_folder(), run_folder());
    const run_result result = run_program(line);
    assert_int_equal(result.exit_code, 0);
    check_says(result.out, "1. ");
    check_says(result.out, "of the step. It ");
    check_says(result.out, "words/profile/profile.html");
    check_says(result.out, "trace.json for ui.perfetto.dev");
    const counts wanted = count_plan("", 1);
    check_trace(text_of("%s/words/profile", run_folder()), 1, 1, 1, &wanted);
    check_says(result.out, "\nweights sha256:");
}

/* A full buffer: what is there is shown, and it is said that more was not recorded. */
static void test_full_buffer(void **state) {
    (void)state;
    const train_report plain = train_small("plain", ""),
                       full = train_small("full", "--profile profile.events=50");
    assert_string_equal(plain.hash, full.hash);
    char *page = read_text(text_of("%s/full/profile/profile.html", run_folder()));
    (void)check_markup(page);
    check_says(page, "The buffer was full");
    check_says(page, "No step was recorded whole");
    ls_free(page);
    json_t *root = read_trace(text_of("%s/full/profile", run_folder()));
    assert_int_equal(json_array_size(json_object_get(root, "traceEvents")), 54);
    assert_true(json_integer_value(
                    json_object_get(json_object_get(root, "otherData"), "dropped_events")) > 50);
    json_decref(root);
}

/* The run goes on where no profile can be written, and says so in a sentence. */
static void test_failures(void **state) {
    (void)state;
    static const struct {
        const char *words, *says;
        int exit_code;
    } cases[] = {
        {"--profile=/proc/nothing/here", "the profile is lost and the run goes on", 0},
        {"--profile steps=2 optim.warmup=0", "no profile: this process made 2 steps", 0},
        {"--profile profile.steps=0", "profile.steps", 2},
        {"--profile profile.first=0", "profile.first", 2},
        {"--prifile", "did you mean '--profile'?", 2},
        {"--profile /some/folder", "one too many", 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *line = text_of("train " SMALL_RUN "out='%s/bad%zu' data.cache='%s/cache' %s",
                                   run_folder(), i, run_folder(), cases[i].words);
        const run_result result = run_program(line);
        if (result.exit_code != cases[i].exit_code)
            fail_msg("%s: exit %d: %s", line, result.exit_code, result.err);
        check_says(result.err, cases[i].says);
    }
}

static void test_resumed(void **state) {
    (void)state;
    (void)train_small("resumed", "steps=3 save_every=1");
    const train_report report = resume_small(text_of("%s/resumed", run_folder()),
                                             "steps=6 --profile profile.first=2 profile.steps=5");
    assert_int_equal(report.steps, 6);
    const counts wanted = count_plan("", 1);
    /* Steps 5 and 6: this process made three, and the run ended. */
    check_trace(text_of("%s/resumed/profile", run_folder()), 1, 5, 6, &wanted);
    check_numbers(text_of("%s/resumed/profile", run_folder()), 1, &wanted);
}

/* The n-th allocation fails, over the whole run: a status or a run without a profile, and nothing is left behind. */
static void test_torture(void **state) {
    (void)state;
    static const char *const words[] = {
        "steps=3",        "batch=2",          "lanes=2",         "threads=1",
        "model.layers=1", "model.width=16",   "model.heads=2",   "model.context=16",
        "optim.warmup=0", "profile.first=2",  "profile.steps=2", "data.tokenizer=byte",
        "eval_windows=2", "tensorboard=false"};
    enum { N = sizeof words / sizeof words[0], POINTS = 24 };
    const char *list[N + 2];
    memcpy(list, words, sizeof words);
    list[N] = text_of("out=%s/torture", run_folder());
    list[N + 1] = text_of("data.cache=%s/cache", run_folder());
    int64_t total = 0;
    ls_log_set_level(LS_LOG_ERROR);
    for (int k = 0; k <= POINTS; k++) {
        ls_train_config config;
        struct ls_config *values;
        ls_train_result result;
        const ls_train_options options = {.profile = 1};
        const ls_alloc_stats before = ls_alloc_get_stats();
        check_ok(ls_train_config_load("configs/tiny.yaml", list, N + 2, &config, &values));
        const int64_t calls = ls_alloc_get_stats().n_calls;
        /* The last third of a run's allocations holds most of the profile's. */
        if (k > 0) ls_alloc_fail_at(total / 3 + (2 * total / 3) * k / (POINTS + 1), 0);
        const ls_status status = ls_train(&config, values, &options, &result);
        ls_alloc_fail_at(0, 0);
        ls_config_destroy(values);
        if (k == 0) {
            check_ok(status);
            assert_true(*result.profile);
            total = ls_alloc_get_stats().n_calls - calls;
        }
        assert_true(status == LS_OK || status == LS_ERR_NO_MEMORY);
        assert_int_equal(ls_alloc_get_stats().n_live, before.n_live);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_rank), cmocka_unit_test(test_two_ranks),
        cmocka_unit_test(test_terminal), cmocka_unit_test(test_full_buffer),
        cmocka_unit_test(test_failures), cmocka_unit_test(test_resumed),
        cmocka_unit_test(test_torture),  cmocka_unit_test(test_event_bytes),
    };
    return cmocka_run_group_tests(tests, make_run_folder, remove_run_folder);
}
