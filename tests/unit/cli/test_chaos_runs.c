/* The runs of a campaign and its verdict, with made-up runs. */
#include "base/fs.h"
#include "cli/cmd_chaos_runs.h"
#include "unit/base/check.h"

enum { MOST_ROUNDS = 8 };
static const char good[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
static const char bad[] = "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

static const char *const instants[] = {"start", "step", NULL}, *const kinds[] = {"one", "all",
                                                                                 NULL};

/* What a made-up campaign does: blows in each round, which of them give other weights, what is lost. */
typedef struct plan_of_runs {
    int64_t wanted, blows[MOST_ROUNDS];
    unsigned odd_rounds; /* bits */
    int64_t n_lost;
    ls_status clean, round, judge;
    int prints_nothing;
} plan_of_runs;

typedef struct made_up {
    ls_chaos_runs runs;
    plan_of_runs plan;
    int64_t counts[2][2];
} made_up;

static ls_status print_hash(made_up *self, const char *hash) {
    char line[128];
    LS_TRY(ls_chaos_output_clear(self->runs.output));
    if (self->plan.prints_nothing) return LS_OK;
    const int n = snprintf(line, sizeof line, "done\nweights sha256:%s\n", hash);
    return write(self->runs.output, line, (size_t)n) == n ? LS_OK : LS_ERR_IO;
}

static ls_status run_clean(void *user) {
    made_up *self = user;
    if (self->plan.clean != LS_OK) return LS_FAIL(self->plan.clean, "not even undisturbed");
    LS_TRY(print_hash(self, good));
    return ls_chaos_runs_end_clean(&self->runs);
}

static ls_status run_round(void *user) {
    made_up *self = user;
    const int round = (int)self->runs.n_rounds - 1;
    assert_true(round < MOST_ROUNDS);
    assert_int_equal(self->runs.n_pending, 0);
    if (self->plan.round != LS_OK) return LS_FAIL(self->plan.round, "not recovered");
    self->runs.n_kills += self->plan.blows[round];
    self->runs.n_pending += self->plan.blows[round];
    self->counts[round % 2][0] += self->plan.blows[round];
    if (self->plan.blows[round]) LS_TRY(ls_chaos_pauses_add(&self->runs.pauses, 0.5 + round));
    self->runs.n_lost = self->plan.n_lost;
    if (self->runs.rows) ls_chaos_runs_add_row(&self->runs, json_pack("{s:i}", "round", round));
    LS_TRY(print_hash(self, self->plan.odd_rounds >> round & 1 ? bad : good));
    return ls_chaos_runs_end_round(&self->runs);
}

static json_t *make_more(const void *user) {
    const made_up *self = user;
    return json_pack("{s:i}", "more", (int)self->plan.wanted);
}

static void print_more(const void *user, FILE *out) {
    (void)user;
    (void)fprintf(out, "and more\n");
}

static ls_status judge(const void *user) {
    const made_up *self = user;
    return self->plan.judge == LS_OK ? LS_OK
                                     : LS_FAIL(self->plan.judge, "chaos: files are damaged");
}

static const ls_chaos_campaign campaign = {
    .one = "blow",
    .many = "blows",
    .struck = "blows to things",
    .digits = 2,
    .run_clean = run_clean,
    .run_round = run_round,
    .make_more = make_more,
    .print_more = print_more,
    .judge = judge,
    .table = {.instants = instants, .kinds = kinds, .counted = UINT32_MAX, .sum = "all"}};

typedef struct outcome {
    ls_status status;
    int exit_status;
    char text[4096];
} outcome;

static outcome run_campaign(const plan_of_runs *plan, int json, int quiet) {
    outcome out = {0};
    made_up self = {.plan = *plan};
    FILE *file = tmpfile();
    assert_non_null(file);
    const ls_cmd_call call = {
        .out = file, .json = json, .quiet = quiet, .exit_status = &out.exit_status};
    self.runs.call = &call;
    self.runs.folder = "nowhere";
    self.runs.n_wanted = plan->wanted;
    self.runs.output = -1;
    out.status = ls_chaos_runs_open(&self.runs, 4);
    if (out.status == LS_OK)
        out.status = ls_chaos_runs_campaign(&self.runs, &campaign, self.counts[0], &self);
    ls_chaos_runs_close(&self.runs);
    rewind(file);
    out.text[fread(out.text, 1, sizeof out.text - 1, file)] = '\0';
    (void)fclose(file);
    return out;
}

static const struct {
    plan_of_runs plan;
    ls_status status;
    const char *error, *says[2];
} cases[] = {
    {{.wanted = 3, .blows = {2, 1}},
     LS_OK,
     "",
     {"run 1: 2 blows in 0.0 s, hash equal\nrun 2: 1 blows in 0.0 s, hash equal\n",
      "runs: 2; from a blow to the next step: median 1.50 s, slowest 1.50 s\nand more\n"
      "chaos: 3 blows to things, 3 recovered, 0 steps lost, hash equal\n"}},
    {{.wanted = 1, .blows = {0, 0, 0, 5}}, LS_OK, "", {"run 3: 0 blows", "runs: 4; "}},
    {{.wanted = 2, .blows = {1, 1}, .odd_rounds = 2},
     LS_ERR_COMM,
     "chaos: 1 of 2 blows were not recovered, 0 steps lost",
     {"run 2: 1 blows in 0.0 s, hash not equal\n", "1 recovered, 0 steps lost, hash not equal\n"}},
    {{.wanted = 2, .blows = {2}, .n_lost = 7},
     LS_ERR_COMM,
     "chaos: 0 of 2 blows were not recovered, 7 steps lost",
     {"2 recovered, 7 steps lost, hash equal\n", "start         2      0      2\n"}},
    /* What else is wrong comes first. */
    {{.wanted = 1, .blows = {1}, .n_lost = 7, .judge = LS_ERR_COMM},
     LS_ERR_COMM,
     "chaos: files are damaged",
     {"7 steps lost", "and more"}},
    {{.wanted = 1, .blows = {0, 0, 0, 0, 9}},
     LS_ERR_INVALID,
     "chaos: 4 runs and no blow met the last one: they are too short; more steps are needed",
     {"run 3: 0 blows", ""}},
    {{.wanted = 1, .clean = LS_ERR_IO}, LS_ERR_IO, "not even undisturbed", {"", ""}},
    {{.wanted = 1, .round = LS_ERR_INTERRUPTED}, LS_ERR_INTERRUPTED, "not recovered", {"", ""}},
    {{.wanted = 1, .prints_nothing = 1}, LS_ERR_COMM, "chaos: the run printed no hash", {"", ""}},
};

static void test_verdicts(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ls_error_clear();
        const outcome found = run_campaign(&cases[i].plan, 0, 0);
        if (found.status != cases[i].status || !strstr(ls_error_message(), cases[i].error))
            fail_msg("case %zu: %s: %s", i, ls_status_words(found.status), ls_error_message());
        for (int k = 0; k < 2; k++)
            if (!strstr(found.text, cases[i].says[k])) fail_msg("case %zu: %s", i, found.text);
        assert_int_equal(found.exit_status, 0);
    }
}

/* One JSON value whatever the verdict; the exit status tells it. */
static void test_json(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const outcome found = run_campaign(&cases[i].plan, 1, 0);
        const int is_told = cases[i].status == LS_OK || *cases[i].says[1];
        if (!is_told) {
            assert_int_equal(found.status, cases[i].status);
            assert_string_equal(found.text, "");
            continue;
        }
        json_t *root = NULL;
        check_ok(found.status);
        assert_int_equal(found.exit_status, ls_status_exit_code(cases[i].status));
        check_ok(ls_json_parse(found.text, strlen(found.text), "report", &root));
        assert_int_equal(json_integer_value(json_object_get(root, "more")), cases[i].plan.wanted);
        assert_int_equal(json_integer_value(json_object_get(root, "steps_lost")),
                         cases[i].plan.n_lost);
        assert_int_equal(json_is_true(json_object_get(root, "hash_equal")),
                         cases[i].plan.odd_rounds == 0);
        assert_string_equal(json_string_value(json_object_get(root, "weights_sha256")), good);
        assert_int_equal(json_array_size(json_object_get(root, "rows")),
                         json_integer_value(json_object_get(root, "runs")));
        assert_true(json_is_object(json_object_get(json_object_get(root, "during"), "step")));
        json_decref(root);
    }
}

static void test_quiet(void **state) {
    (void)state;
    const outcome found = run_campaign(&cases[0].plan, 0, 1);
    assert_null(strstr(found.text, "run 1:"));
    assert_non_null(strstr(found.text, "chaos: 3 blows to things"));
}

static void test_folder(void **state) {
    (void)state;
    ls_chaos_runs runs = {.folder = check_path("campaign")};
    char path[600];
    check_ok(ls_chaos_runs_begin_folder(&runs, "clean"));
    (void)snprintf(path, sizeof path, "%s/clean", runs.folder);
    assert_string_equal(runs.out, path);
    assert_memory_equal(runs.out_word, "out=", 4);
    assert_string_equal(runs.out_word + 4, path);
    assert_false(ls_path_exists(path));
    /* What an earlier campaign left goes. */
    check_ok(ls_dir_make(path));
    check_ok(ls_chaos_runs_begin_folder(&runs, "clean"));
    assert_false(ls_path_exists(path));
    check_ok(ls_dir_remove(runs.folder));
}

static ls_status open_and_close(void *user) {
    (void)user;
    int exit_status;
    const ls_cmd_call call = {.json = 0, .exit_status = &exit_status};
    ls_chaos_runs runs = {.call = &call, .output = -1};
    const ls_status status = ls_chaos_runs_open(&runs, 4);
    ls_chaos_runs_close(&runs);
    return status;
}

static void test_open_without_memory(void **state) {
    (void)state;
    assert_int_equal(check_torture(open_and_close, NULL), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_quiet),
        cmocka_unit_test(test_folder),
        cmocka_unit_test(test_open_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
