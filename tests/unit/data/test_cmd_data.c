/* The verb `lockstep data`, through the program. */
#include "base/json.h"
#include "data_check.h"
#include "unit/cli/run_program.h"

static char tokenizer[512], shard[512];

static run_result run(const char *fmt, const char *a, const char *b, const char *c) {
    char line[1800];
    snprintf(line, sizeof line, fmt, a, b, c);
    return run_program(line);
}

static void check_ran(const run_result *result, const char *part) {
    if (result->exit_code != 0 || strstr(result->out, part) == NULL)
        fail_msg("exit %d, wanted \"%s\" in: %s%s", result->exit_code, part, result->out,
                 result->err);
}

static int64_t json_member(const run_result *result, const char *key) {
    json_t *object = NULL;
    int64_t value = -1;
    check_ok(ls_json_parse(result->out, strlen(result->out), "output", &object));
    check_ok(ls_json_get_int(object, "output", key, &value));
    json_decref(object);
    return value;
}

/* text -> tokenizer -> shard -> verified, and damage found. */
static void test_the_way_of_a_text(void **state) {
    (void)state;
    run_result r =
        run("data train-tokenizer %s -n 600 -o '%s' --json -q%s", TINY_PATH, tokenizer, "");
    check_ran(&r, "\"merges\"");
    assert_int_equal(json_member(&r, "vocab_size"), 600);
    assert_int_equal(json_member(&r, "merges"), 343);
    assert_string_equal(r.err, "");
    r = run("data tokenize %s -t '%s' -o '%s' --json", TINY_PATH, tokenizer, shard);
    check_ran(&r, "\"tokens\"");
    assert_int_equal(json_member(&r, "text_bytes"), 91796);
    assert_int_equal(json_member(&r, "eot"), 599);
    r = run("data verify '%s'%s%s", shard, "", "");
    check_ran(&r, "every byte checked");
    r = run("data inspect '%s' -t '%s' -n 3%s", shard, tokenizer, "");
    check_ran(&r, "0 ");
    check_ran(&r, "vocabulary 600");
    r = run("data inspect '%s' --json%s%s", tokenizer, "", "");
    assert_int_equal(json_member(&r, "eot"), 599);
    r = run("data inspect %s --json%s%s", TINY_PATH, "", "");
    assert_int_equal(json_member(&r, "bytes"), 91796);

    char *data = NULL;
    size_t bytes = 0;
    check_ok(ls_file_read(shard, &data, &bytes));
    data[bytes / 3] = (char)(data[bytes / 3] ^ 1);
    check_ok(ls_file_write_atomic(shard, data, bytes));
    ls_free(data);
    r = run("data verify '%s'%s%s", shard, "", "");
    assert_int_equal(r.exit_code, 4);
    assert_non_null(strstr(r.err, "block 0 of 1"));
}

static void test_parts_and_bytes(void **state) {
    (void)state;
    static const struct {
        const char *part;
        int64_t bytes;
    } cases[] = {{"train", 82616}, {"stop", 4590}, {"held", 4590}, {"all", 91796}};
    for (int i = 0; i < 4; i++) {
        const run_result r = run("data tokenize %s -p %s -t bytes -o '%s' --no-eot --json",
                                 TINY_PATH, cases[i].part, shard);
        assert_int_equal(json_member(&r, "text_bytes"), cases[i].bytes);
        assert_int_equal(json_member(&r, "tokens"), cases[i].bytes);
    }
}

static void test_errors(void **state) {
    (void)state;
    static const struct {
        const char *line;
        int exit_code;
        const char *part;
    } cases[] = {
        {"data tokenize examples/data/tiny.txt -t bytes", 2, "--out is needed"},
        {"data tokenize examples/data/tiny.txt -o /dev/null/x", 2, "--tokenizer is needed"},
        {"data tokenize examples/data/tiny.txt -t bytes -o /dev/null/x", 3, "/dev/null/x"},
        {"data tokenize no/file -t bytes -o x", 3, "no/file"},
        {"data tokenize examples/data/tiny.txt -t no.json -o x", 3, "no.json"},
        {"data tokenize examples/data/tiny.txt -p most -t bytes -o x", 2, "part most"},
        {"data train-tokenizer examples/data/tiny.txt -o x -n 100", 2, "vocab-size"},
        {"data train-tokenizer examples/data/tiny.txt -o x -n 1000000", 4, "no more than"},
        {"data verify examples/data/tiny.txt", 4, "not a token shard"},
        {"data verify", 2, "SHARD"},
        {"data inspect no/file", 3, "no/file"},
        {"data", 2, "action"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const run_result r = run_program(cases[i].line);
        if (r.exit_code != cases[i].exit_code || strstr(r.err, cases[i].part) == NULL)
            fail_msg("%s: exit %d, %s", cases[i].line, r.exit_code, r.err);
    }
}

static int setup(void **state) {
    (void)state;
    snprintf(tokenizer, sizeof tokenizer, "%s", check_path("tok.json"));
    snprintf(shard, sizeof shard, "%s", check_path("text.tokens"));
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_way_of_a_text),
        cmocka_unit_test(test_parts_and_bytes),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
