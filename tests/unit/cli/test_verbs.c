/* Every verb and action, walked through its own table: a bad command line or configuration ends with status 2 (3 where a file is not there),
 * one sentence on standard error that says what would work, and nothing on standard output.
 *
 * labels: slow timeout=300 */
#include "base/fs.h"
#include "base/json.h"
#include "cli/cli.h"
#include "unit/cli/run_program.h"

typedef void (*visit_fn)(const ls_cli_path *path);

static int n_lines;

static void visit(const ls_cli_path *path, visit_fn fn) {
    fn(path);
    for (const ls_cmd *const *action = path->cmd->actions; action && *action; action++) {
        ls_cli_path deeper = {.cmd = *action, .help = (*action)->help};
        const int n =
            snprintf(deeper.name, sizeof deeper.name, "%.30s %.30s", path->name, (*action)->name);
        assert_true(n > 0);
        visit(&deeper, fn);
    }
}

static void visit_all(visit_fn fn) {
    for (int i = 0; i < ls_cli_n_verbs; i++) {
        ls_cli_path path = {.cmd = ls_cli_verbs[i].cmd, .help = ls_cli_verbs[i].help};
        snprintf(path.name, sizeof path.name, "%s", ls_cli_verbs[i].name);
        visit(&path, fn);
    }
}

LS_PRINTF(1, 2) static const char *line_of(const char *fmt, ...) {
    static char lines[64][2048];
    static int next;
    char *line = lines[next++ % 64];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof lines[0], fmt, args);
    va_end(args);
    return line;
}

/* Exactly one error line, the last of standard error; `part` NULL: whatever it says. */
static void check_refused(const char *line, int exit_code, const char *part) {
    static const char head[] = "lockstep: error: ";
    const run_result result = run_program(line);
    const char *error = strstr(result.err, head);
    const size_t n = strlen(result.err);
    const char *wrong = NULL;
    n_lines++;
    if (result.exit_code != exit_code) wrong = "another exit status";
    if (!error || strstr(error + 1, head) || n == 0 || result.err[n - 1] != '\n')
        wrong = "not one error line";
    else if (strchr(error, '\n') != result.err + n - 1 || strlen(error) < sizeof head + 8)
        wrong = "not one sentence at the end";
    if (*result.out) wrong = "something on standard output";
    if (strstr(result.err, "Sanitizer") || strstr(result.err, "runtime error"))
        wrong = "a sanitizer's report";
    if (part && !strstr(result.err, part)) wrong = line_of("no \"%s\"", part);
    if (wrong)
        fail_msg("lockstep %s: %s; exit %d, wanted %d\nout: %.200s\nerr: %s", line, wrong,
                 result.exit_code, exit_code, result.out, result.err);
}

/* --- the frame --- */

static void check_help(const ls_cli_path *path) {
    const char *const lines[] = {line_of("%s --help", path->name), line_of("%s -h", path->name),
                                 line_of("help %s", path->name)};
    char usage[128];
    run_result first = {0};
    snprintf(usage, sizeof usage, "usage: lockstep %s", path->name);
    for (int i = 0; i < 3; i++) {
        const run_result result = run_program(lines[i]);
        n_lines++;
        if (result.exit_code != 0 || *result.err || strncmp(result.out, usage, strlen(usage)) != 0)
            fail_msg("lockstep %s: exit %d\nout: %.200s\nerr: %s", lines[i], result.exit_code,
                     result.out, result.err);
        if (i == 0) first = result;
        assert_string_equal(result.out, first.out);
    }
}

static void check_unknown_option(const ls_cli_path *path) {
    check_refused(line_of("%s --frobnicate", path->name), 2, "option '--frobnicate' is not known");
    check_refused(line_of("%s -Z", path->name), 2, "option '-Z' is not known; see `lockstep help");
    check_refused(line_of("%s --quite", path->name), 2, "did you mean '--quiet'?");
}

static void check_words(const ls_cli_path *path) {
    const ls_cmd *cmd = path->cmd;
    if (cmd->actions) {
        check_refused(path->name, 2, "an action is missing; see `lockstep help");
        check_refused(line_of("%s frobnicate", path->name), 2, "'frobnicate' is not known");
        return;
    }
    if (cmd->min_args > 0)
        check_refused(path->name, 2,
                      line_of("an argument is missing; usage: lockstep %s", path->name));
    if (cmd->max_args < 0 || strcmp(path->name, "help") == 0) return;
    char words[64] = "";
    for (int i = 0; i <= cmd->max_args; i++) strcat(words, " word");
    check_refused(line_of("%s%s", path->name, words), 2,
                  line_of("'word' is one too many; usage: lockstep %s", path->name));
}

/* Where it is offered the error is JSON too. */
static void check_json(const ls_cli_path *path) {
    if (!path->cmd->has_json) {
        if (!path->cmd->actions) check_refused(line_of("%s --jsan", path->name), 2, "--jsan");
        return;
    }
    const char *line = line_of("%s --json --frobnicate", path->name);
    const run_result result = run_program(line);
    const char *message = NULL;
    json_t *root = NULL;
    int64_t status = 0;
    n_lines++;
    assert_int_equal(result.exit_code, 2);
    check_ok(ls_json_parse(result.out, strlen(result.out), line, &root));
    const json_t *error = json_object_get(root, "error");
    check_ok(ls_json_get_string(error, line, "message", &message));
    check_ok(ls_json_get_int(error, line, "exit", &status));
    assert_int_equal(status, 2);
    assert_non_null(strstr(message, "'--frobnicate' is not known"));
    assert_non_null(strstr(result.err, message));
    json_decref(root);
}

static const ls_cli_option *find_option(const ls_cmd *cmd, const char *name, size_t length) {
    for (const ls_cli_option *option = cmd->options; option && option->name; option++)
        if (strlen(option->name) == length && strncmp(option->name, name, length) == 0)
            return option;
    return NULL;
}

/* What does nothing by itself is refused alone; what it goes with exists. */
static void check_company(const ls_cli_path *path) {
    const ls_cli_company *company = path->cmd->company;
    for (; company && company->name; company++) {
        const ls_cli_option *option = find_option(path->cmd, company->name, strlen(company->name));
        assert_non_null(option);
        for (const char *at = company->with; *at; at += strcspn(at, ","), at += *at == ',')
            assert_non_null(find_option(path->cmd, at, strcspn(at, ",")));
        check_refused(line_of("%s --%s %s -- train nowhere.yaml", path->name, company->name,
                              option->type == LS_CLI_FLAG ? "" : "1"),
                      2, line_of("--%s goes with --", company->name));
    }
}

static void test_frame(void **state) {
    (void)state;
    visit_all(check_help);
    visit_all(check_unknown_option);
    visit_all(check_words);
    visit_all(check_json);
    visit_all(check_company);
}

/* --- options --- */

static void check_number(const ls_cli_path *path, const ls_cli_option *o) {
    static const char *const texts[] = {
        "frob", "''", "1x", "nan", "inf", "' 1'", "99999999999999999999999", "-1e400"};
    const char *part = line_of("--%s wants", o->name);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (o->min != 0 || o->max != 0 || i != 6) /* without bounds a large number is one */
            check_refused(line_of("%s --%s=%s", path->name, o->name, texts[i]), 2, part);
    if (o->min == 0 && o->max == 0) return;
    check_refused(line_of("%s --%s=%.17g", path->name, o->name, o->min - 1), 2, part);
    check_refused(line_of("%s --%s=%.17g", path->name, o->name, 2 * o->max + 1), 2, part);
}

static void check_options(const ls_cli_path *path) {
    for (const ls_cli_option *o = path->cmd->options; o && o->name; o++) {
        if (o->type == LS_CLI_FLAG)
            check_refused(line_of("%s --%s=1", path->name, o->name), 2, "takes no value");
        else if (o->type != LS_CLI_OPTIONAL)
            check_refused(line_of("%s --%s", path->name, o->name), 2,
                          line_of("--%s wants a value", o->name));
        if (o->type == LS_CLI_INT || o->type == LS_CLI_FLOAT) check_number(path, o);
    }
}

static void test_options(void **state) {
    (void)state;
    visit_all(check_options);
}

/* --- configurations --- */

/* A verb that reads one: "plan CONFIG". Others read it out of a checkpoint. */
static int reads_config(const ls_cli_path *path) {
    return path->cmd->takes_config && path->cmd->usage &&
           strncmp(path->cmd->usage, "CONFIG", 6) == 0;
}

static const char *write_noise(const char *name, uint32_t seed, size_t bytes) {
    const char *path = check_path(name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    for (size_t i = 0; i < bytes; i++) {
        seed = seed * 1664525u + 1013904223u;
        (void)fputc((int)(seed >> 24), file);
    }
    assert_int_equal(fclose(file), 0);
    return path;
}

static void check_configs(const ls_cli_path *path) {
    static const struct {
        const char *word, *part;
    } bad[] = {
        {"frob=1", "unknown key 'frob'"},
        {"stpes=1", "did you mean 'steps'?"},
        {"steps=frob", "an integer is needed"},
        {"steps=-1", "allowed"},
        {"steps=1e30", "integer"},
        {"lanes=3", "power of two"},
        {"batch=3", "is not a multiple of lanes"},
        {"precision=f8", "f32"},
        {"tensorboard=maybe", "true"},
        {"optim.lr=nan", "optim.lr"},
        {"optim.warmup=1000000", "lower it"},
        {"model.kind=gpt9", "gpt2"},
        {"model=1", "model"},
        {"out=", "a value is needed"},
        {"data.path=", NULL},
    };
    const char *name = path->name;
    if (!reads_config(path)) return;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        check_refused(line_of("%s configs/tiny.yaml %s", name, bad[i].word), 2, bad[i].part);
    check_refused(line_of("%s configs/none.yaml", name), 3, "none.yaml");
    check_refused(line_of("%s configs", name), 3, "configs");
    for (uint32_t seed = 1; seed <= 5; seed++) {
        const char *noise = write_noise("noise.yaml", seed, seed * 37);
        check_refused(line_of("%s '%s'", name, noise), 2, "noise.yaml:");
        unlink(noise);
    }
}

static void test_configs(void **state) {
    (void)state;
    visit_all(check_configs);
}

/* A checkpoint that is none, for the verbs that want one. */
static void check_checkpoints(const ls_cli_path *path) {
    const ls_cmd *cmd = path->cmd;
    if (!cmd->usage || strncmp(cmd->usage, "DIR", 3) != 0) return;
    if (strcmp(path->name, "replay") == 0) return; /* looks for the run's metrics first */
    const char *file = write_noise("noise", 3, 500);
    char others[64] = "";
    for (int i = 1; i < cmd->min_args; i++) strcat(others, " configs");
    check_refused(line_of("%s no/such/folder%s", path->name, others), 3, "holds no checkpoint");
    check_refused(line_of("%s configs%s", path->name, others), 3, "holds no checkpoint");
    check_refused(line_of("%s '%s'%s", path->name, file, others), 3, "it is a file");
    unlink(file);
}

static void test_checkpoints(void **state) {
    (void)state;
    visit_all(check_checkpoints);
    print_message("%d command lines\n", n_lines);
    assert_true(n_lines > 500);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frame),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_configs),
        cmocka_unit_test(test_checkpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
