/* The frame as a user meets it: the program is run, and its output and exit status are looked at. */
#include "base/json.h"
#include "unit/cli/run_program.h"

/* command line, exit status, part of standard output, part of standard error ("" = must be empty) */
static const struct {
    const char *line;
    int exit_code;
    const char *out, *err;
} cases[] = {
    {"", 0, "verbs:\n", ""},
    {"help", 0, "explain a verb", ""},
    {"--help", 0, "verbs:\n", ""},
    {"-h", 0, "verbs:\n", ""},
    {"--version", 0, "lockstep ", ""},
    {"version", 0, "instruction set ", ""},
    {"help version", 0, "usage: lockstep version [OPTIONS]\n", ""},
    {"version --help", 0, "usage: lockstep version [OPTIONS]\n", ""},
    {"version -h extra words", 0, "usage: lockstep version", ""},
    {"help --man", 0, ".TH LOCKSTEP 1", ""},
    {"help --man version", 0, ".TH LOCKSTEP-VERSION 1", ""},
    {"help --completion bash", 0, "complete -o default -F _lockstep lockstep\n", ""},
    {"help --completion zsh", 0, "#compdef lockstep\n", ""},
    {"help --errors", 0, "| `LS_ERR_NOT_FOUND` | 3 | not found |\n", ""},
    {"versoin", 2, "", "lockstep: error: verb 'versoin' is not known; did you mean 'version'?\n"},
    {"vers", 2, "", "did you mean 'version'?\n"},
    {"inspect", 2, "",
     "lockstep: error: verb 'inspect' is not known; did you mean 'checkpoint inspect'?\n"},
    {"checkpoint", 2, "",
     "lockstep: error: checkpoint: an action is missing; see `lockstep help checkpoint` (convert, "
     "diff, "
     "hash, inspect, verify)\n"},
    {"frobnicate", 2, "", "lockstep: error: verb 'frobnicate' is not known; see `lockstep help`\n"},
    {"-x", 2, "", "verb '-x' is not known"},
    {"''", 2, "", "verb '' is not known"},
    {"help versoin", 2, "", "did you mean 'version'?"},
    {"help version more", 2, "", "'version' has no action 'more'"},
    {"help --completion fish", 2, "", "--completion wants bash or zsh, found 'fish'"},
    {"version extra", 2, "", "argument 'extra' is one too many; usage: lockstep version\n"},
    {"version --jsno", 2, "", "option '--jsno' is not known; did you mean '--json'?"},
    {"version a=b", 2, "", "argument 'a=b' is one too many"},
    {"versoin --json", 2,
     "{\"error\": {\"status\": \"invalid argument\", \"exit\": 2, \"message\": ",
     "lockstep: error: verb"},
    {"run -n 2", 2, "", "run: an argument is missing; usage: lockstep run -n R"},
    {"run -n 2 -- trian x", 2, "", "verb 'trian' is not known; did you mean 'train'?"},
    {"run -- train x", 2, "", "run: -n says how many ranks; `lockstep run -n 2 -- train CONFIG`"},
    {"run --agent x -- train x", 2, "", "--agent goes with --hosts FILE, which was not given"},
    {"top 2147483647", 3, "", "top: process 2147483647 is no `lockstep run` of yours on this host"},
    {"top 0", 2, "", "top: '0' is no process number; without one every job"},
    {"top 1x", 2, "", "top: '1x' is no process number"},
    {"keep", 2, "", "keep: the first line of standard input is NAME COOKIE of the run"},
    {"data train-tokenizer x", 2, "", "option --out is needed"},
    {"generate x hello", 2, "", "'hello' is one too many; usage: lockstep generate DIR [-p TEXT]"},
    {"version >/dev/full", 3, "", "standard output could not be written: No space left on device"},
};

static void test_lines(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const run_result result = run_program(cases[i].line);
        if (result.exit_code != cases[i].exit_code || !strstr(result.out, cases[i].out) ||
            !strstr(result.err, cases[i].err) || (!*cases[i].err && *result.err))
            fail_msg("lockstep %s: exit %d, wanted %d\nout: %s\nerr: %s", cases[i].line,
                     result.exit_code, cases[i].exit_code, result.out, result.err);
    }
}

/* A failure says its sentence once, as the last line. */
static void test_one_error_line(void **state) {
    (void)state;
    const run_result result = run_program("frobnicate");
    const char *first = strstr(result.err, "lockstep: error: ");
    assert_ptr_equal(first, result.err);
    assert_null(strstr(first + 1, "lockstep: error: "));
    assert_ptr_equal(strchr(first, '\n'), first + strlen(first) - 1);
}

static void check_json(const char *line, int exit_code, const char *key, json_type type) {
    const run_result result = run_program(line);
    assert_int_equal(result.exit_code, exit_code);
    json_t *value;
    check_ok(ls_json_parse(result.out, strlen(result.out), line, &value));
    assert_int_equal(json_typeof(json_object_get(value, key)), type);
    json_decref(value);
}

static void test_json(void **state) {
    (void)state;
    check_json("version --json", 0, "version", JSON_STRING);
    check_json("version --json", 0, "cpus", JSON_INTEGER);
    check_json("version --json --frob", 2, "error", JSON_OBJECT);
    check_json("\"a'\\\"\" --json", 2, "error", JSON_OBJECT);
}

static void test_completion_is_sound(void **state) {
    (void)state;
    char line[1024];
    const char *path = check_path("completion");
    snprintf(line, sizeof line, "help --completion bash >'%s'", path);
    assert_int_equal(run_program(line).exit_code, 0);
    snprintf(line, sizeof line,
             "bash -c '. %s; COMP_WORDS=(lockstep vers); COMP_CWORD=1; _lockstep; "
             "echo \"<${COMPREPLY[*]}>\"; COMP_WORDS=(lockstep version --js); COMP_CWORD=2; "
             "_lockstep; echo \"<${COMPREPLY[*]}>\"'",
             path);
    FILE *shell = popen(line, "r");
    assert_non_null(shell);
    char answer[256] = {0};
    (void)!fread(answer, 1, sizeof answer - 1, shell);
    assert_int_equal(pclose(shell), 0);
    assert_string_equal(answer, "<version>\n<--json>\n");
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_one_error_line),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_completion_is_sound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
