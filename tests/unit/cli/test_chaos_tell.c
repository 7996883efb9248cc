/* What the campaigns share: kinds by name, hashes out of what a run printed, pauses, tables. */
#include "cli/cmd_chaos_tell.h"
#include "unit/base/check.h"

static const char *const names[] = {"one", "two", "three", NULL};

static void test_kinds(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint32_t bits;
        const char *error;
    } cases[] = {
        {NULL, 7, NULL},
        {"one", 1, NULL},
        {"three,one", 5, NULL},
        {"two,two,", 2, NULL},
        {"", 0, "--kinds '' is not known; here there are one, two, three"},
        {"thre", 0, "--kinds 'thre': did you mean 'three'; here there are one, two, three"},
        {"one,,two", 0, "--kinds ''"},
        {"one,a name that is longer than any", 0, "--kinds 'a name that is longer than any"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t bits = 77;
        if (cases[i].error) {
            check_fails(ls_chaos_kinds_parse(cases[i].text, names, &bits), LS_ERR_INVALID,
                        cases[i].error);
            assert_int_equal(bits, 77);
            continue;
        }
        check_ok(ls_chaos_kinds_parse(cases[i].text, names, &bits));
        assert_int_equal(bits, cases[i].bits);
    }
}

static void print(int fd, const char *text) {
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static void test_the_hash_of_a_run(void **state) {
    (void)state;
    char hash[LS_CHAOS_HASH] = "", line[128];
    int fd = -1;
    check_ok(ls_chaos_output_open(&fd));
    check_fails(ls_chaos_output_hash(fd, hash), LS_ERR_COMM, "the run printed no hash");
    snprintf(line, sizeof line, "done\nweights sha256:%064d\nmore\n", 7);
    print(fd, line);
    check_ok(ls_chaos_output_hash(fd, hash));
    assert_int_equal(strlen(hash), 64);
    assert_int_equal(hash[63], '7');
    print(fd, line);
    check_fails(ls_chaos_output_hash(fd, hash), LS_ERR_COMM, "more than one hash");
    check_ok(ls_chaos_output_clear(fd));
    check_fails(ls_chaos_output_hash(fd, hash), LS_ERR_COMM, "no hash");
    print(fd, line);
    check_ok(ls_chaos_output_hash(fd, hash));
    close(fd);
    check_fails(ls_chaos_output_clear(fd), LS_ERR_IO, "cannot be kept");
}

static void test_pauses(void **state) {
    (void)state;
    ls_chaos_pauses pauses = {0};
    double median = 9, slowest = 9;
    ls_chaos_pauses_sum_up(&pauses, &median, &slowest);
    assert_true(median == 0 && slowest == 0);
    for (int i = 0; i < 5; i++) check_ok(ls_chaos_pauses_add(&pauses, (i * 3) % 5));
    ls_chaos_pauses_sum_up(&pauses, &median, &slowest);
    assert_true(median == 2 && slowest == 4);
    ls_chaos_pauses_deinit(&pauses);
    assert_int_equal(pauses.n, 0);
}

static void test_table(void **state) {
    (void)state;
    static const char *const instants[] = {"early", "late", NULL};
    static const int64_t counts[] = {1, 2, 30, 4, 5, 6};
    const ls_chaos_table table = {instants, names, counts, 5, "kills"};
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    ls_chaos_table_print(&table, out);
    fclose(out);
    assert_string_equal(text, "during      one    two  three  kills\n"
                              "early         1      2     30     31\n"
                              "late          4      5      6     10\n");
    free(text);
    json_t *root = ls_chaos_table_json(&table);
    const json_t *late = json_object_get(root, "late");
    assert_int_equal(json_integer_value(json_object_get(late, "two")), 5);
    assert_int_equal(json_object_size(root), 2);
    json_decref(root);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_the_hash_of_a_run),
        cmocka_unit_test(test_pauses),
        cmocka_unit_test(test_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
