/* Parsing by tables, without the program: values, ranges, order, suggestions, allocation failures. */
#include "cli/cli.h"
#include "unit/base/check.h"

typedef struct own_options {
    int flag;
    int64_t count;
    double rate;
    const char *name, *where, *near;
} own_options;

static const ls_cli_option table[] = {
    {"flag", 'f', LS_CLI_FLAG, offsetof(own_options, flag), NULL, "a flag", 0, 0},
    {"count", 'n', LS_CLI_INT, offsetof(own_options, count), "N", "a count", 1, 100},
    {"rate", 0, LS_CLI_FLOAT, offsetof(own_options, rate), "R", "a rate", 0, 0},
    {"name", 0, LS_CLI_STRING, offsetof(own_options, name), "NAME", "a name", 0, 0},
    {"where", 'w', LS_CLI_OPTIONAL, offsetof(own_options, where), "DIR", "a folder", 0, 0},
    {"near", 0, LS_CLI_STRING, offsetof(own_options, near), "X", "with --flag, --name: a place", 0,
     0},
    {0},
};
static const ls_cli_company company[] = {{"rate", "count"}, {"near", "flag,name"}, {0}};
static const own_options defaults = {.count = 7, .name = "nobody"};
static ls_status run_nothing(const ls_cmd_call *call) {
    (void)call;
    return LS_OK;
}
static const ls_cmd verb = {
    .usage = "CONFIG [MORE]",
    .about = "One line.\n.Not a request, but a line that begins with a dot; and a back\\slash.",
    .min_args = 1,
    .max_args = 2,
    .takes_config = 1,
    .has_json = 1,
    .options = table,
    .company = company,
    .options_bytes = sizeof(own_options),
    .defaults = &defaults,
    .run = run_nothing,
};
static const ls_cmd action_hash = {.name = "hash", .help = "print the hash", .run = run_nothing};
static const ls_cmd *const actions[] = {&action_hash, NULL};
static const ls_cmd parent = {.actions = actions};
static const ls_cli_path verb_path = {&verb, "test things", "verb"};

enum { MOST_WORDS = 16 };

/* Parses "verb" and the words of a line, split at blanks. The words live until the next call. */
static ls_status parse(const char *line, ls_cli_parsed *out) {
    static char text[256];
    char *argv[MOST_WORDS + 1] = {0};
    int argc = 0;
    snprintf(text, sizeof text, "verb %s", line);
    for (char *word = strtok(text, " "); word && argc < MOST_WORDS; word = strtok(NULL, " "))
        argv[argc++] = word;
    return ls_cli_parse(&verb_path, argc, argv, out);
}

static void test_values(void **state) {
    (void)state;
    ls_cli_parsed parsed;
    check_ok(parse("a.yaml -f steps=3 --count=12 b --rate -0.5 model.layers=2 --name --x --json -q",
                   &parsed));
    const own_options *own = parsed.call.options;
    assert_int_equal(own->flag, 1);
    assert_int_equal(own->count, 12);
    assert_true(own->rate == -0.5);
    assert_string_equal(own->name, "--x");
    assert_int_equal(parsed.call.n_args, 2);
    assert_string_equal(parsed.call.args[0], "a.yaml");
    assert_string_equal(parsed.call.args[1], "b");
    assert_int_equal(parsed.call.n_assignments, 2);
    assert_string_equal(parsed.call.assignments[0], "steps=3");
    assert_string_equal(parsed.call.assignments[1], "model.layers=2");
    assert_int_equal(parsed.call.json, 1);
    assert_int_equal(parsed.call.quiet, 1);
    assert_int_equal(parsed.common->verbose, 0);
    ls_cli_parsed_deinit(&parsed);
}

static void test_defaults_and_dashes(void **state) {
    (void)state;
    ls_cli_parsed parsed;
    check_ok(parse("./a=b -- --count", &parsed));
    const own_options *own = parsed.call.options;
    assert_int_equal(own->flag, 0);
    assert_int_equal(own->count, 7);
    assert_string_equal(own->name, "nobody");
    assert_int_equal(parsed.call.n_args, 2);
    assert_string_equal(parsed.call.args[0], "./a=b");
    assert_string_equal(parsed.call.args[1], "--count");
    assert_int_equal(parsed.call.n_assignments, 0);
    ls_cli_parsed_deinit(&parsed);
    check_ok(parse("-h", &parsed)); /* help asks for no argument */
    assert_int_equal(parsed.common->help, 1);
    ls_cli_parsed_deinit(&parsed);
}

static void test_refusals(void **state) {
    (void)state;
    static const struct {
        const char *line, *message;
    } cases[] = {
        {"", "verb: an argument is missing; usage: lockstep verb CONFIG [MORE]"},
        {"steps=1", "an argument is missing"},
        {"a b c", "argument 'c' is one too many"},
        {"a --cuont 3", "option '--cuont' is not known; did you mean '--count'?"},
        {"a --zzz", "option '--zzz' is not known; see `lockstep help verb`"},
        {"a -z", "option '-z' is not known"},
        {"a --count", "--count wants a value N"},
        {"a -n", "--count wants a value N"},
        {"a --flag=1", "--flag takes no value"},
        {"a --count=0", "--count wants an integer from 1 to 100, found '0'"},
        {"a --count=101", "from 1 to 100"},
        {"a --count=3x", "found '3x'"},
        {"a --count=", "found ''"},
        {"a --count=99999999999999999999", "wants an integer"},
        {"a --rate=fast", "--rate wants a number, found 'fast'"},
        {"a --rate=nan", "wants a number"},
        {"a --rate=inf", "wants a number"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ls_cli_parsed parsed;
        check_fails(parse(cases[i].line, &parsed), LS_ERR_INVALID, cases[i].message);
    }
}

/* Options that do nothing alone: with one of those that they go with, in any order, they are taken. */
static void test_company(void **state) {
    (void)state;
    static const char *const taken[] = {
        "a -n 3 --rate 1", "a --rate 1 --count=3",        "a --near=x -f", "a --name b --near 2",
        "a --rate 1 -h",   "a -n 3 --rate 1 --near y -f", "a --name b"};
    static const struct {
        const char *line, *message;
    } refused[] = {
        {"a --rate 1",
         "verb: --rate goes with --count N, which was not given; give it too, or leave "
         "--rate out"},
        {"a --rate 1 --name count", "--rate goes with --count N"},
        {"a --near 1", "--near goes with --flag or --name NAME, which was not given"},
        {"a --near 1 --count 3", "--near goes with --flag or --name NAME"},
        {"a -n 3 --rate 1 --near 1", "leave --near out"},
    };
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++) {
        ls_cli_parsed parsed;
        check_ok(parse(taken[i], &parsed));
        ls_cli_parsed_deinit(&parsed);
    }
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        ls_cli_parsed parsed;
        check_fails(parse(refused[i].line, &parsed), LS_ERR_INVALID, refused[i].message);
    }
}

static ls_status parse_scenario(void *user) {
    (void)user;
    ls_cli_parsed parsed;
    LS_TRY(parse("a --count=3 x=1", &parsed));
    ls_cli_parsed_deinit(&parsed);
    return LS_OK;
}

static ls_status write_everything(void *user) {
    (void)user;
    static const ls_cli_path program = {NULL, NULL, ""}, with_actions = {&parent, "do", "parent"};
    ls_text text = {0};
    ls_status status = ls_cli_write_help(&verb_path, &text);
    if (status == LS_OK) status = ls_cli_write_man(&verb_path, &text);
    if (status == LS_OK) status = ls_cli_write_help(&program, &text);
    if (status == LS_OK) status = ls_cli_write_man(&program, &text);
    if (status == LS_OK) status = ls_cli_write_help(&with_actions, &text);
    if (status == LS_OK) status = ls_cli_write_man(&with_actions, &text);
    if (status == LS_OK) status = ls_cli_write_bash_completion(&text);
    if (status == LS_OK) status = ls_cli_write_zsh_completion(&text);
    if (status == LS_OK) status = text.status;
    ls_text_deinit(&text);
    return status;
}

static void test_out_of_memory(void **state) {
    (void)state;
    assert_true(check_torture(parse_scenario, NULL) >= 2);
    assert_true(check_torture(write_everything, NULL) >= 6);
}

static void test_help_and_man(void **state) {
    (void)state;
    static const struct {
        int man;
        const char *part;
    } cases[] = {
        {0, "usage: lockstep verb [OPTIONS] CONFIG [MORE]\n"},
        {0, "-n, --count N"},
        {0, "KEY=VALUE"},
        {0, "--json"},
        {1, ".TH LOCKSTEP-VERB 1"},
        {1, "\\fB\\-n, \\-\\-count\\fR \\fIN\\fR"},
        {1, "\n\\&.Not a request"},
        {1, "back\\eslash"},
    };
    ls_text texts[2] = {{0}, {0}};
    check_ok(ls_cli_write_help(&verb_path, &texts[0]));
    check_ok(ls_cli_write_man(&verb_path, &texts[1]));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (!strstr(texts[cases[i].man].data, cases[i].part))
            fail_msg("'%s' is missing in:\n%s", cases[i].part, texts[cases[i].man].data);
    ls_text_deinit(&texts[0]);
    ls_text_deinit(&texts[1]);
}

/* Every line of the shipped tables is sound: names, help on one line that fits, no letter twice. */
static void check_table(const char *name, const ls_cmd *cmd, const char *help) {
    ls_cli_option *all;
    check_ok(ls_cli_all_options(cmd, &all));
    if (!help || !*help || strchr(help, '\n') || strlen(help) > 90)
        fail_msg("%s: bad help line", name);
    if (!cmd->actions == !cmd->run) fail_msg("%s: wants actions or run, one of them", name);
    if (cmd->max_args >= 0 && cmd->max_args < cmd->min_args)
        fail_msg("%s: max_args < min_args", name);
    for (const ls_cli_option *a = all; a->name; a++) {
        if (!a->help || strchr(a->help, '\n')) fail_msg("%s --%s: bad help", name, a->name);
        if ((a->type == LS_CLI_FLAG) != (a->value == NULL))
            fail_msg("%s --%s: value name", name, a->name);
        if (a->offset >= ls_cli_own_offset() + cmd->options_bytes &&
            a->offset >= sizeof(ls_cli_common))
            fail_msg("%s --%s: offset outside of the struct", name, a->name);
        for (const ls_cli_option *b = a + 1; b->name; b++)
            if (strcmp(a->name, b->name) == 0 || (a->letter && a->letter == b->letter))
                fail_msg("%s: --%s and --%s clash", name, a->name, b->name);
    }
    ls_free(all);
    for (const ls_cmd *const *action = cmd->actions; action && *action; action++)
        check_table((*action)->name, *action, (*action)->help);
}

/* A value that may be left out is only taken after '=', or right behind the letter. */
static void test_optional_value(void **state) {
    (void)state;
    static const struct {
        const char *line, *where;
        int n_args;
    } cases[] = {{"a", NULL, 1},         {"a --where", "", 1},
                 {"a --where b", "", 2}, {"a --where=x/y", "x/y", 1},
                 {"a --where=", "", 1},  {"a -w", "", 1},
                 {"a -wx", "x", 1},      {"a -w b", "", 2}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ls_cli_parsed parsed;
        check_ok(parse(cases[i].line, &parsed));
        const own_options *own = parsed.call.options;
        assert_int_equal(parsed.call.n_args, cases[i].n_args);
        if (cases[i].where)
            assert_string_equal(own->where, cases[i].where);
        else
            assert_null(own->where);
        ls_cli_parsed_deinit(&parsed);
    }
    ls_text text = {0};
    check_ok(ls_cli_write_help(&verb_path, &text));
    assert_non_null(strstr(text.data, "--where[=DIR]"));
    assert_non_null(strstr(text.data, "--name NAME"));
    ls_text_deinit(&text);
}

static void test_shipped_tables(void **state) {
    (void)state;
    assert_true(ls_cli_n_verbs >= 2);
    for (int i = 0; i < ls_cli_n_verbs; i++)
        check_table(ls_cli_verbs[i].name, ls_cli_verbs[i].cmd, ls_cli_verbs[i].help);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),         cmocka_unit_test(test_defaults_and_dashes),
        cmocka_unit_test(test_refusals),       cmocka_unit_test(test_company),
        cmocka_unit_test(test_out_of_memory),  cmocka_unit_test(test_help_and_man),
        cmocka_unit_test(test_shipped_tables), cmocka_unit_test(test_optional_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
