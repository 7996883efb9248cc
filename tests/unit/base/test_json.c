#include "base/fs.h"
#include "base/json.h"
#include "unit/base/check.h"

static json_t *parse(const char *text) {
    json_t *value = NULL;
    check_ok(ls_json_parse(text, strlen(text), "doc", &value));
    return value;
}

static void test_bad_documents_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t bytes; /* 0 = strlen */
        const char *part;
    } cases[] = {
        {"", 0, "doc: line 1"},
        {"{", 0, "doc: line 1, column 1"},
        {"{\"a\":1,}", 0, "not valid JSON"},
        {"{\"a\":1}\n{}", 0, "line 2"},
        {"[1,2", 0, "not valid JSON"},
        {"{\"a\":1,\"a\":2}", 0, "duplicate object key"},
        {"\"\xff\xfe\"", 0, "unable to decode byte 0xff"},
        {"\"\xed\xa0\x80\"", 0, "unable to decode byte 0xed"},
        {"\"a\\u0000b\"", 0, "not valid JSON"},
        {"[1]\0", 4, "not valid JSON"},
        {"9223372036854775808", 0, "too big"},
        {"[1e999]", 0, "overflow"},
        {"nan", 0, "not valid JSON"},
        {"{'a':1}", 0, "not valid JSON"},
        {"// no\n1", 0, "not valid JSON"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *value = NULL;
        const size_t bytes = cases[i].bytes ? cases[i].bytes : strlen(cases[i].text);
        check_fails(ls_json_parse(cases[i].text, bytes, "doc", &value), LS_ERR_FORMAT,
                    cases[i].part);
        assert_null(value);
    }
}

static void test_deep_nesting_is_refused(void **state) {
    (void)state;
    enum { N = 1000000 };
    char *text = malloc(N);
    memset(text, '[', N);
    json_t *value;
    check_fails(ls_json_parse(text, N, "doc", &value), LS_ERR_FORMAT, "depth");
    free(text);
}

static void test_getters(void **state) {
    (void)state;
    json_t *doc = parse("{\"i\":9007199254740993,\"r\":0.5,\"s\":\"x\",\"b\":true,\"f\":false,"
                        "\"o\":{},\"a\":[1],\"n\":null}");
    int64_t integer = 0;
    double number = 0;
    const char *text = NULL;
    int flag = 0;
    json_t *value = NULL;
    check_ok(ls_json_get_int(doc, "doc", "i", &integer));
    assert_true(integer == 9007199254740993);
    check_ok(ls_json_get_number(doc, "doc", "r", &number));
    assert_true(number == 0.5);
    check_ok(ls_json_get_number(doc, "doc", "i", &number));
    check_ok(ls_json_get_string(doc, "doc", "s", &text));
    assert_string_equal(text, "x");
    check_ok(ls_json_get_bool(doc, "doc", "b", &flag));
    assert_int_equal(flag, 1);
    check_ok(ls_json_get_bool(doc, "doc", "f", &flag));
    assert_int_equal(flag, 0);
    check_ok(ls_json_get_object(doc, "doc", "o", &value));
    assert_true(json_is_object(value));
    check_ok(ls_json_get_array(doc, "doc", "a", &value));
    assert_int_equal(json_array_size(value), 1);
    json_decref(doc);
}

static void test_getters_say_key_wanted_and_found(void **state) {
    (void)state;
    json_t *doc = parse("{\"i\":1,\"r\":0.5,\"s\":\"x\",\"b\":true,\"n\":null,\"a\":[],\"o\":{}}");
    int64_t integer = 42;
    double number;
    const char *text;
    int flag;
    json_t *value;
    check_fails(ls_json_get_int(doc, "doc", "r", &integer), LS_ERR_FORMAT,
                "doc: \"r\" must be an integer, found a real number");
    check_fails(ls_json_get_int(doc, "doc", "zz", &integer), LS_ERR_FORMAT,
                "doc: the key \"zz\" is missing");
    check_fails(ls_json_get_number(doc, "doc", "s", &number), LS_ERR_FORMAT, "found a string");
    check_fails(ls_json_get_string(doc, "doc", "i", &text), LS_ERR_FORMAT, "found an integer");
    check_fails(ls_json_get_bool(doc, "doc", "n", &flag), LS_ERR_FORMAT, "found null");
    check_fails(ls_json_get_object(doc, "doc", "a", &value), LS_ERR_FORMAT, "found an array");
    check_fails(ls_json_get_array(doc, "doc", "o", &value), LS_ERR_FORMAT, "found an object");
    check_fails(ls_json_get_array(doc, "doc", "b", &value), LS_ERR_FORMAT, "found a boolean");
    check_fails(ls_json_get_int(json_object_get(doc, "a"), "doc", "i", &integer), LS_ERR_FORMAT,
                "expected an object");
    check_fails(ls_json_get_int(NULL, "doc", "i", &integer), LS_ERR_FORMAT, "found nothing");
    assert_int_equal(integer, 42);
    json_decref(doc);
}

static void test_dump_and_read_back(void **state) {
    (void)state;
    const char *path = check_path("doc.json"), *wanted = "{\"b\":[1,2.5,\"\xc3\xa9\"],\"a\":null}";
    json_t *doc = parse(wanted), *back = NULL;
    char *text;
    size_t bytes;
    check_ok(ls_json_dump(doc, JSON_COMPACT, &text, &bytes));
    assert_string_equal(text, wanted);
    assert_int_equal(bytes, strlen(wanted));
    check_ok(ls_file_write_atomic(path, text, bytes));
    ls_free(text);
    check_ok(ls_json_read(path, &back));
    assert_true(json_equal(doc, back));
    json_decref(back);
    check_ok(ls_json_dump(json_object_get(doc, "a"), 0, &text, NULL));
    assert_string_equal(text, "null");
    ls_free(text);
    check_fails(ls_json_dump(NULL, 0, &text, NULL), LS_ERR_INVALID, "no JSON value");
    json_decref(doc);
    unlink(path);
    check_fails(ls_json_read(path, &back), LS_ERR_NOT_FOUND, "doc.json");
}

static ls_status parse_and_dump(void *user) {
    (void)user;
    static const char text[] = "{\"name\":\"\\u00e9\\n long enough to grow the buffer of jansson\","
                               "\"list\":[1,2,3,4,5,6,7,8,9,10,11,12,1.5,true,null],"
                               "\"in\":{\"a\":{\"b\":{}},\"c\":-1,\"d\":1,\"e\":1,\"f\":1,\"g\":1,"
                               "\"h\":1,\"i\":1,\"j\":1,\"k\":1}}";
    json_t *value;
    char *dumped;
    LS_TRY(ls_json_parse(text, sizeof text - 1, "doc", &value));
    const ls_status status = ls_json_dump(value, JSON_INDENT(2) | JSON_SORT_KEYS, &dumped, NULL);
    json_decref(value);
    LS_TRY(status);
    ls_free(dumped);
    return LS_OK;
}

static void test_torture(void **state) {
    (void)state;
    assert_true(check_torture(parse_and_dump, NULL) > 50);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_documents_are_refused),
        cmocka_unit_test(test_deep_nesting_is_refused),
        cmocka_unit_test(test_getters),
        cmocka_unit_test(test_getters_say_key_wanted_and_found),
        cmocka_unit_test(test_dump_and_read_back),
        cmocka_unit_test(test_torture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
