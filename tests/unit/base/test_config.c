#include "unit/base/check.h"
#include "unit/base/config_case.h"

static case_settings settings;

static ls_config *create(void) {
    memset(&settings, 0xee, sizeof settings);
    ls_config *config = NULL;
    check_ok(ls_config_create(case_tables, 2, &settings, &config));
    return config;
}

static void test_defaults(void **state) {
    (void)state;
    ls_config *config = create();
    assert_int_equal(settings.steps, 100);
    assert_int_equal(settings.model.layers, 4);
    assert_true(settings.model.dropout == 0.1);
    assert_int_equal(settings.model.activation, 0);
    assert_true(settings.lr == 3e-4);
    assert_int_equal(settings.tied, 1);
    assert_null(settings.out);
    assert_string_equal(settings.name, "run");
    assert_string_equal(ls_config_origin(config, "steps"), "default");
    assert_string_equal(ls_config_origin(config, "nothing"), "unknown key");
    ls_config_destroy(config);
    ls_config_destroy(NULL);
}

static void test_assignments(void **state) {
    (void)state;
    ls_config *config = create();
    check_ok(ls_config_set(config, "steps=7"));
    check_ok(ls_config_set(config, "model.layers=+12"));
    check_ok(ls_config_set(config, "model.dropout=.25"));
    check_ok(ls_config_set(config, "model.activation=silu"));
    check_ok(ls_config_set(config, "lr=2E-3"));
    check_ok(ls_config_set(config, "model.tied=false"));
    check_ok(ls_config_set(config, "out=a=b c"));
    check_ok(ls_config_set(config, "name=x"));
    assert_int_equal(settings.steps, 7);
    assert_int_equal(settings.model.layers, 12);
    assert_true(settings.model.dropout == 0.25);
    assert_int_equal(settings.model.activation, 2);
    assert_true(settings.lr == 2e-3);
    assert_int_equal(settings.tied, 0);
    assert_string_equal(settings.out, "a=b c");
    assert_string_equal(settings.name, "x");
    assert_string_equal(ls_config_origin(config, "out"), "command line");
    check_ok(ls_config_set(config, "out=other"));
    assert_string_equal(settings.out, "other");
    check_ok(ls_config_set(config, "lr=1"));
    assert_true(settings.lr == 1);
    ls_config_destroy(config);
}

static void test_bad_assignments(void **state) {
    (void)state;
    static const struct {
        const char *assignment, *part;
    } cases[] = {
        {"steps", "command line: 'steps' is no assignment; write key=value"},
        {"=4", "is no assignment"},
        {"", "is no assignment"},
        {"stpes=4", "unknown key 'stpes'; did you mean 'steps'?"},
        {"layers=4", "did you mean 'model.layers'?"},
        {"quux=4", "unknown key 'quux'; `lockstep config show` lists every key"},
        {"model=4", "'model' is a section, not a value"},
        {"steps.warmup=4", "'steps' holds one value, not a section"},
        {"steps=abc", "steps = 'abc': an integer is needed"},
        {"steps=1e6", "an integer is needed"},
        {"steps=4k", "an integer is needed"},
        {"steps=2M", "an integer is needed"},
        {"steps=1_000", "an integer is needed"},
        {"steps=0x10", "an integer is needed"},
        {"steps=010", "an integer is needed"},
        {"steps=1.0", "an integer is needed"},
        {"steps= 4", "an integer is needed"},
        {"steps=", "steps = null: a value is needed"},
        {"steps=99999999999999999999", "does not fit 64 bits"},
        {"steps=1000001", "out of range; allowed: 0 to 1000000"},
        {"steps=-1", "out of range"},
        {"model.layers=0", "model.layers = '0': out of range; allowed: 1 to 128"},
        {"lr=abc", "a number is needed"},
        {"lr=nan", "a number is needed"},
        {"lr=inf", "a number is needed"},
        {"lr=0x1p3", "a number is needed"},
        {"lr=1e", "a number is needed"},
        {"lr=.", "a number is needed"},
        {"lr=1e999", "too large for a double"},
        {"lr=-1", "out of range; allowed: at least 0"},
        {"model.dropout=1.5", "allowed: 0 to 1"},
        {"model.tied=yes", "true or false is needed"},
        {"model.tied=True", "true or false is needed"},
        {"model.tied=1", "allowed: true, false"},
        {"model.activation=swish", "not one of the choices; allowed: gelu, relu, silu"},
        {"model.activation=rleu", "did you mean 'relu'?"},
        {"model.activation=", "a value is needed"},
        {"out=\xff\xfe", "not UTF-8"},
        {"name=", "name = null: a value is needed"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ls_config *config = create();
        const case_settings before = settings;
        check_fails(ls_config_set(config, cases[i].assignment), LS_ERR_CONFIG, cases[i].part);
        assert_memory_equal(&settings, &before, sizeof before);
        ls_config_destroy(config);
    }
    char long_key[600];
    memset(long_key, 'k', sizeof long_key);
    memcpy(long_key + 590, "=1", 3);
    ls_config *config = create();
    check_fails(ls_config_set(config, long_key), LS_ERR_CONFIG, "is no assignment");
    ls_config_destroy(config);
}

static void test_environment(void **state) {
    (void)state;
    ls_config *config = create();
    setenv("LOCKSTEP_MODEL_LAYERS", "9", 1);
    setenv("LOCKSTEP_OUT", "x y", 1);
    setenv("LOCKSTEP_NAME", "z", 1);
    setenv("LOCKSTEP_ISA", "base", 1);
    setenv("LOCKSTEP_RUN_RANK", "3", 1);
    check_ok(ls_config_env_set("LOCKSTEP_FAULT", "kind=die"));
    check_ok(ls_config_read_env(config));
    assert_int_equal(settings.model.layers, 9);
    assert_string_equal(settings.out, "x y");
    assert_string_equal(settings.name, "z");
    assert_string_equal(ls_config_origin(config, "model.layers"),
                        "environment LOCKSTEP_MODEL_LAYERS");
    assert_string_equal(ls_config_env("LOCKSTEP_OUT"), "x y");
    assert_null(ls_config_env("LOCKSTEP_NOT_SET"));
    assert_string_equal(ls_config_env("LOCKSTEP_FAULT"), "kind=die");
    check_ok(ls_config_env_set("LOCKSTEP_FAULT", NULL));
    assert_null(ls_config_env("LOCKSTEP_FAULT"));
    check_fails(ls_config_env_set("a=b", "c"), LS_ERR_NO_MEMORY, "a=b");
    setenv("LOCKSTEP_MODEL_LAYERS", "many", 1);
    check_fails(ls_config_read_env(config), LS_ERR_CONFIG,
                "environment LOCKSTEP_MODEL_LAYERS: model.layers = 'many': an integer");
    unsetenv("LOCKSTEP_MODEL_LAYERS");
    setenv("LOCKSTEP_STPES", "1", 1);
    check_fails(ls_config_read_env(config), LS_ERR_CONFIG,
                "LOCKSTEP_STPES is no configuration key; did you mean LOCKSTEP_STEPS?");
    unsetenv("LOCKSTEP_STPES");
    setenv("LOCKSTEP_QUUX", "1", 1);
    check_fails(ls_config_read_env(config), LS_ERR_CONFIG, "LOCKSTEP_QUUX is no configuration key");
    unsetenv("LOCKSTEP_QUUX");
    unsetenv("LOCKSTEP_OUT");
    unsetenv("LOCKSTEP_NAME");
    unsetenv("LOCKSTEP_ISA");
    unsetenv("LOCKSTEP_RUN_RANK");
    ls_config_destroy(config);
}

static void test_later_sources_win(void **state) {
    (void)state;
    ls_config *config = create();
    const char *text = "steps: 1\nlr: 0.5\n";
    check_ok(ls_config_read_text(config, text, strlen(text), "t"));
    assert_int_equal(settings.steps, 1);
    setenv("LOCKSTEP_STEPS", "2", 1);
    check_ok(ls_config_read_env(config));
    unsetenv("LOCKSTEP_STEPS");
    assert_int_equal(settings.steps, 2);
    check_ok(ls_config_set(config, "steps=3"));
    assert_int_equal(settings.steps, 3);
    assert_string_equal(ls_config_origin(config, "lr"), "t:2");
    ls_config_destroy(config);
}

static void test_bad_tables_are_internal_errors(void **state) {
    (void)state;
    static const char *const none[] = {NULL};
    static const ls_config_field bad_default = {"a", LS_CONFIG_INT, 0, "x", 0, 0, NULL, ""};
    static const ls_config_field no_default = {"a", LS_CONFIG_INT, 0, NULL, 0, 0, NULL, ""};
    static const ls_config_field outside = {"a", LS_CONFIG_INT, 0, "9", 1, 3, NULL, ""};
    static const ls_config_field empty = {"a", LS_CONFIG_ENUM, 0, "x", 0, 0, none, ""};
    static const ls_config_field no_choices = {"a", LS_CONFIG_ENUM, 0, "x", 0, 0, NULL, ""};
    static const ls_config_field twice[] = {{"a.b", LS_CONFIG_STRING, 0, NULL, 0, 0, NULL, ""},
                                            {"a_b", LS_CONFIG_STRING, 8, NULL, 0, 0, NULL, ""}};
    const struct {
        ls_config_table table;
        const char *part;
    } cases[] = {
        {{&bad_default, 1}, "bad default: a = 'x'"},
        {{&no_default, 1}, "a value is needed"},
        {{&outside, 1}, "out of range"},
        {{&empty, 1}, "not one of the choices"},
        {{&no_choices, 1}, "has no choices"},
        {{twice, 2}, "share the name LOCKSTEP_A_B"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char target[64];
        ls_config *config = NULL;
        check_fails(ls_config_create(&cases[i].table, 1, target, &config), LS_ERR_INTERNAL,
                    cases[i].part);
        assert_null(config);
    }
}

static ls_status use_config(void *user) {
    (void)user;
    ls_config *config;
    ls_status status;
    LS_TRY(ls_config_create(case_tables, 2, &settings, &config));
    static const char text[] = "steps: 5\nmodel: {layers: 6, tied: false}\nout: here\n";
    LS_TRY_GOTO(ls_config_read_text(config, text, sizeof text - 1, "t"), out);
    LS_TRY_GOTO(ls_config_read_env(config), out);
    LS_TRY_GOTO(ls_config_set(config, "out=there"), out);
    char *printed;
    json_t *json;
    LS_TRY_GOTO(ls_config_print(config, &printed), out);
    ls_free(printed);
    LS_TRY_GOTO(ls_config_to_json(config, &json), out);
    json_decref(json);
    LS_TRY_GOTO(ls_config_values(config, &json), out);
    json_decref(json);
    LS_TRY_GOTO(ls_config_document(case_tables, 2, &printed), out);
    ls_free(printed);
out:
    ls_config_destroy(config);
    return status;
}

static ls_status refuse_config(void *user) {
    ls_config *config;
    LS_TRY(ls_config_create(case_tables, 2, &settings, &config));
    ls_status status = ls_config_set(config, user);
    if (status == LS_OK) status = LS_FAIL(LS_ERR_INTERNAL, "%s was not refused", (char *)user);
    ls_config_destroy(config);
    return status == LS_ERR_CONFIG ? LS_OK : status;
}

static void test_torture(void **state) {
    (void)state;
    setenv("LOCKSTEP_LR", "0.5", 1);
    assert_true(check_torture(use_config, NULL) > 60);
    unsetenv("LOCKSTEP_LR");
    static char range[] = "steps=-1", choice[] = "model.activation=x", unknown[] = "x=1";
    check_torture(refuse_config, range);
    check_torture(refuse_config, choice);
    check_torture(refuse_config, unknown);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_assignments),
        cmocka_unit_test(test_bad_assignments),
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_later_sources_win),
        cmocka_unit_test(test_bad_tables_are_internal_errors),
        cmocka_unit_test(test_torture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
