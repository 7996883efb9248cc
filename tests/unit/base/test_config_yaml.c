#include "base/fs.h"
#include "unit/base/check.h"
#include "unit/base/config_case.h"

static case_settings settings;

static ls_status read_text(const char *text, size_t bytes) {
    ls_config *config;
    LS_TRY(ls_config_create(case_tables, 2, &settings, &config));
    const ls_status status = ls_config_read_text(config, text, bytes, "t.yaml");
    ls_config_destroy(config);
    return status;
}

static void test_a_file_nests_and_comments(void **state) {
    (void)state;
    static const char text[] = "# a comment\n"
                               "steps: 20   # another\n"
                               "model:\n"
                               "  layers: 3\n"
                               "  \"dropout\": 0.5\n"
                               "  activation: 'relu'\n"
                               "model.tied: false\n"
                               "out: \"runs/a: b\"\n"
                               "name: 2024\n";
    const char *path = check_path("c.yaml");
    check_ok(ls_file_write_atomic(path, text, sizeof text - 1));
    ls_config *config;
    check_ok(ls_config_create(case_tables, 2, &settings, &config));
    check_ok(ls_config_read_file(config, path));
    assert_int_equal(settings.steps, 20);
    assert_int_equal(settings.model.layers, 3);
    assert_true(settings.model.dropout == 0.5);
    assert_int_equal(settings.model.activation, 1);
    assert_int_equal(settings.tied, 0);
    assert_string_equal(settings.out, "runs/a: b");
    assert_string_equal(settings.name, "2024");
    char wanted[600];
    snprintf(wanted, sizeof wanted, "file %s:4", path);
    assert_string_equal(ls_config_origin(config, "model.layers"), wanted);
    assert_string_equal(ls_config_origin(config, "lr"), "default");
    check_ok(ls_config_read_text(config, "out:\n", 5, "t"));
    assert_null(settings.out);
    check_ok(ls_config_read_text(config, "out: \"\"\n", 8, "t"));
    assert_string_equal(settings.out, "");
    ls_config_destroy(config);
    unlink(path);
    check_ok(ls_config_create(case_tables, 2, &settings, &config));
    check_fails(ls_config_read_file(config, path), LS_ERR_NOT_FOUND, "c.yaml");
    ls_config_destroy(config);
}

static void test_empty_documents_are_fine(void **state) {
    (void)state;
    static const char *const texts[] = {"",         "\n",          "# only a comment\n",
                                        "---\n",    "{}",          "---\n{}\n...\n",
                                        "model:\n", "model: {}\n", "\xef\xbb\xbfsteps: 1\n"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        check_ok(read_text(texts[i], strlen(texts[i])));
}

static void test_bad_files_name_line_and_problem(void **state) {
    (void)state;
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"stpes: 4", "t.yaml:1: unknown key 'stpes'; did you mean 'steps'?"},
        {"steps: 4\n\nmodel:\n  layer: 3\n", "t.yaml:4: unknown key 'model.layer'; did you mean"},
        {"modl:\n  layers: 3\n", "t.yaml:1: unknown section 'modl'; did you mean 'model'?"},
        {"quux: {a: 1}", "unknown section 'quux'; `lockstep config show`"},
        {"quux: {}", "unknown section 'quux'"},
        {"steps: {a: 1}", "'steps' holds one value, not a section"},
        {"model: 4", "'model' is a section, not a value"},
        {"quux:", "unknown key 'quux'"},
        {"steps: four", "t.yaml:1: steps = 'four': an integer is needed"},
        {"steps: 4.5", "an integer is needed"},
        {"steps: 1e3", "an integer is needed"},
        {"steps: \"4\"", "it is quoted, which makes it a string"},
        {"steps: '4'", "it is quoted"},
        {"steps: |\n  4\n", "it is quoted"},
        {"steps:", "steps = null: a value is needed"},
        {"steps: ~", "a value is needed"},
        {"name:", "t.yaml:1: name = null: a value is needed"},
        {"name: \"\"", "name = '': a value is needed"},
        {"steps: -3", "out of range; allowed: 0 to 1000000"},
        {"model: {tied: yes}", "true or false is needed"},
        {"model: {tied: \"true\"}", "it is quoted"},
        {"model: {activation: tanh}", "allowed: gelu, relu, silu"},
        {"lr: .inf", "a number is needed"},
        {"steps: [1, 2]", "a list was found; every key holds one value"},
        {"- steps", "a list was found"},
        {"steps", "expected 'key: value' lines"},
        {"\"\"", "expected 'key: value' lines"},
        {"steps: 1\nsteps: 2\n", "t.yaml:2: 'steps' was given before, on line 1; keep one"},
        {"model: {layers: 1}\nmodel: {tied: true}\n",
         "t.yaml:2: 'model' was given before, on line 1"},
        {"model: {layers: 1}\nmodel.layers: 2\n", "'model.layers' was given before, on line 1"},
        {"model: {layers: 1, layers: 1}", "'model.layers' was given before"},
        {"steps: &a 1\n", "anchors and aliases"},
        {"out: *a\n", "anchors and aliases"},
        {"model: &m {layers: 1}\n", "anchors and aliases"},
        {"&k steps: 1\n", "anchors and aliases"},
        {"model:\n  <<: *m\n", "anchors and aliases"},
        {"steps: !!int 4\n", "tags (!) are not supported"},
        {"model: !x {layers: 1}\n", "tags (!) are not supported"},
        {"steps: 1\n---\nsteps: 2\n", "t.yaml:2: a second document begins here"},
        {"? [a]\n: 1\n", "a list was found"},
        {"? {a: 1}\n: 1\n", "a key must be a name"},
        {"~: 1\n", "a key must be a name"},
        {"steps: 1\nmodel:\n  layers: 2\n tied: true\n", "t.yaml:4: not valid YAML"},
        {"{steps: 1", "not valid YAML"},
        {"steps: \"abc", "not valid YAML"},
        {"\tsteps: 1", "not valid YAML"},
        {"steps: @x", "not valid YAML"},
        {"steps: \"\xff\"", "not valid YAML"},
        {"out: \"a\\0b\"", "a value holds a NUL character"},
        {"\"\": 1", "unknown key ''"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_fails(read_text(cases[i].text, strlen(cases[i].text)), LS_ERR_CONFIG, cases[i].part);
}

static void test_hostile_sizes(void **state) {
    (void)state;
    enum { N = 3 << 20 };
    char *text = malloc(N);
    memset(text, ' ', N);
    check_fails(read_text(text, N), LS_ERR_CONFIG, "too large for a configuration");
    memset(text, 'k', 1000);
    check_fails(read_text(text, 1000), LS_ERR_CONFIG, "expected 'key: value' lines");
    memcpy(text + 900, ": 1\n", 5);
    check_fails(read_text(text, 904), LS_ERR_CONFIG, "a key is too long");
    memset(text, '{', 100000);
    check_fails(read_text(text, 100000), LS_ERR_CONFIG, "t.yaml:1: ");
    memset(text, '[', 100000);
    check_fails(read_text(text, 100000), LS_ERR_CONFIG, "a list was found");
    free(text);
}

static ls_status read_for_torture(void *user) {
    return read_text(user, strlen(user));
}

static ls_status refuse_for_torture(void *user) {
    const ls_status status = read_text(user, strlen(user));
    return status == LS_ERR_CONFIG ? LS_OK : status;
}

static void test_torture(void **state) {
    (void)state;
    static char good[] = "steps: 5\nmodel: {layers: 6, tied: false}\nout: here\n";
    static char section[] = "out: x\nmodl: {layers: 6, tied: false}\n";
    static char twice[] = "out: x\nmodel: {layers: 6}\nmodel.layers: 6\n";
    assert_true(check_torture(read_for_torture, good) > 12);
    check_torture(refuse_for_torture, section);
    check_torture(refuse_for_torture, twice);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_file_nests_and_comments),
        cmocka_unit_test(test_empty_documents_are_fine),
        cmocka_unit_test(test_bad_files_name_line_and_problem),
        cmocka_unit_test(test_hostile_sizes),
        cmocka_unit_test(test_torture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
