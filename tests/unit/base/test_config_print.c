#include "unit/base/check.h"
#include "unit/base/config_case.h"

static case_settings settings;

static ls_config *create(void) {
    ls_config *config = NULL;
    check_ok(ls_config_create(case_tables, 2, &settings, &config));
    static const char text[] = "model: {dropout: 0.3333333333333333, activation: silu}\n";
    check_ok(ls_config_read_text(config, text, sizeof text - 1, "file c.yaml"));
    check_ok(ls_config_set(config, "steps=12"));
    return config;
}

static void test_print(void **state) {
    (void)state;
    ls_config *config = create();
    char *text;
    check_ok(ls_config_print(config, &text));
    assert_string_equal(text, "steps = 12                                        # command line\n"
                              "model.layers = 4                                  # default\n"
                              "model.dropout = 0.3333333333333333                # file c.yaml:1\n"
                              "model.activation = silu                           # file c.yaml:1\n"
                              "lr = 0.0003                                       # default\n"
                              "model.tied = true                                 # default\n"
                              "out = null                                        # default\n"
                              "name = run                                        # default\n");
    ls_free(text);
    ls_config_destroy(config);
}

static void test_json_of_values_and_origins(void **state) {
    (void)state;
    ls_config *config = create();
    json_t *array, *object;
    check_ok(ls_config_to_json(config, &array));
    assert_int_equal(json_array_size(array), 8);
    json_t *first = json_array_get(array, 0);
    assert_string_equal(json_string_value(json_object_get(first, "key")), "steps");
    assert_int_equal(json_integer_value(json_object_get(first, "value")), 12);
    assert_string_equal(json_string_value(json_object_get(first, "origin")), "command line");
    assert_string_equal(json_string_value(json_object_get(first, "help")), "steps to run");
    assert_true(json_is_null(json_object_get(json_array_get(array, 6), "value")));
    json_decref(array);
    check_ok(ls_config_values(config, &object));
    assert_int_equal(json_object_size(object), 8);
    assert_int_equal(json_integer_value(json_object_get(object, "model.layers")), 4);
    assert_true(json_real_value(json_object_get(object, "lr")) == 3e-4);
    assert_true(json_is_true(json_object_get(object, "model.tied")));
    assert_string_equal(json_string_value(json_object_get(object, "model.activation")), "silu");
    json_decref(object);
    ls_config_destroy(config);
}

static void test_origin_that_is_not_utf8(void **state) {
    (void)state;
    ls_config *config = create();
    json_t *array = NULL;
    check_ok(ls_config_read_text(config, "lr: 1", 5, "file \xff.yaml"));
    check_fails(ls_config_to_json(config, &array), LS_ERR_CONFIG, "not UTF-8");
    assert_null(array);
    ls_config_destroy(config);
}

static void test_document(void **state) {
    (void)state;
    char *text;
    check_ok(ls_config_document(case_tables, 2, &text));
    assert_string_equal(text, "| key | type | default | allowed | meaning |\n"
                              "|---|---|---|---|---|\n"
                              "| `steps` | int | 100 | 0 to 1000000 | steps to run |\n"
                              "| `model.layers` | int | 4 | 1 to 128 | blocks |\n"
                              "| `model.dropout` | float | 0.1 | 0 to 1 | probability |\n"
                              "| `model.activation` | choice | gelu | gelu, relu, silu | "
                              "gelu \\| relu \\| silu |\n"
                              "| `lr` | float | 3e-4 | at least 0 | learning rate |\n"
                              "| `model.tied` | bool | true | true, false | tie weights |\n"
                              "| `out` | string | unset | any | folder |\n"
                              "| `name` | string | run | any |  |\n");
    ls_free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_print),
        cmocka_unit_test(test_json_of_values_and_origins),
        cmocka_unit_test(test_origin_that_is_not_utf8),
        cmocka_unit_test(test_document),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
