/* Same ids as Hugging Face's tokenizers on real and hostile texts, same merges from training. Skipped where Python has no
 * package `tokenizers`. */
#include "base/json.h"
#include "data/utf8.h"
#include "data_check.h"
#include <sys/wait.h>

static char folder[512];

static const char *in_folder(const char *name) {
    static char paths[4][600];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

/* A code point of one of several kinds, spaces and ASCII being frequent. Assigned since long: what is a letter differs
 * between versions of Unicode. */
static uint32_t draw_code(ls_rng_key key, uint64_t i) {
    static const uint32_t ranges[][2] = {{0x20, 0x7F},       {0x61, 0x7B},     {0x09, 0x21},
                                         {0x30, 0x3A},       {0xA0, 0x180},    {0x391, 0x3A1},
                                         {0x4E00, 0x9FA0},   {0x2000, 0x2070}, {0x300, 0x340},
                                         {0x1F600, 0x1F640}, {0xE000, 0xE010}, {0x85, 0x86}};
    const uint64_t r = ls_rng_below(key, 2 * i, 2 * sizeof ranges / sizeof *ranges);
    const uint32_t *range = ranges[r < sizeof ranges / sizeof *ranges ? r : 1];
    return range[0] + (uint32_t)ls_rng_below(key, 2 * i + 1, range[1] - range[0]);
}

static json_t *make_cases(void) {
    static const char *const fixed[] = {
        "",
        " ",
        "   \n\n  \t x",
        "it's WE'LL they'd 've",
        "<|endoftext|>",
        "a<|endoftext|><|endoftext|> b<|endoftext",
        "1234567 12 3.14",
        "x\xE1\xA0\x8Ey \xE2\x80\x83 \xE3\x80\x80z",
        "\xF0\x9F\x91\xA8\xE2\x80\x8D\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA7 family",
        "\r\n\r\n \r x\r\n",
        "'S 'lL 'Re",
    };
    json_t *cases = json_array();
    char *tiny = NULL;
    size_t bytes = 0;
    check_ok(ls_file_read(TINY_PATH, &tiny, &bytes));
    json_array_append_new(cases, json_stringn(tiny, bytes));
    ls_free(tiny);
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        json_array_append_new(cases, json_string(fixed[i]));
    for (uint64_t seed = 0; seed < 400; seed++) {
        unsigned char text[4 * 120];
        size_t n = 0;
        for (uint64_t i = 0; i < 1 + seed % 120; i++)
            n += ls_utf8_encode(draw_code((ls_rng_key){seed, 0, 4}, i), text + n);
        json_array_append_new(cases, json_stringn((char *)text, n));
    }
    char run[5001];
    memset(run, 'a', sizeof run - 1);
    json_array_append_new(cases, json_stringn(run, sizeof run - 1));
    memset(run, ' ', sizeof run - 1);
    json_array_append_new(cases, json_stringn(run, sizeof run - 1));
    return cases;
}

static int setup(void **state) {
    char command[2000];
    char *text = NULL;
    size_t bytes = 0;
    snprintf(folder, sizeof folder, "%s", check_path("peer"));
    check_ok(ls_dir_make(folder));
    ls_tokenizer *ours = train_tiny(1024);
    check_ok(ls_tokenizer_save(ours, in_folder("ours.json")));
    ls_tokenizer_destroy(ours);
    json_t *cases = make_cases();
    check_ok(ls_json_dump(cases, 0, &text, &bytes));
    check_ok(ls_file_write_atomic(in_folder("cases.json"), text, bytes));
    ls_free(text);
    snprintf(command, sizeof command, "python3 tests/unit/data/tokenizer_peer.py '%s'", folder);
    const int rc = system(command);
    *state = cases;
    if (WIFEXITED(rc) && (WEXITSTATUS(rc) == 77 || WEXITSTATUS(rc) == 127)) {
        json_decref(cases);
        *state = NULL;
    } else if (rc != 0) {
        print_message("%s: exit status %d\n", command, rc);
        return 1;
    }
    return 0;
}

static int teardown(void **state) {
    json_decref(*state);
    return ls_dir_remove(folder) != LS_OK;
}

static void check_case(const ls_tokenizer *tokenizer, const char *family, size_t number,
                       const json_t *text, const json_t *want) {
    ls_ids ids = {0};
    check_ok(ls_tokenizer_encode(tokenizer, json_string_value(text), json_string_length(text),
                                 LS_ENCODE_SPECIAL_PARSE, &ids));
    int64_t i = 0;
    const int64_t n = (int64_t)json_array_size(want);
    while (i < n && i < ids.count &&
           json_integer_value(json_array_get(want, (size_t)i)) == ids.data[i])
        i++;
    if (i != n || i != ids.count)
        fail_msg("%s, case %zu \"%.40s\": %lld ids, wanted %lld; they part at %lld", family, number,
                 json_string_value(text), (long long)ids.count, (long long)n, (long long)i);
    ls_ids_deinit(&ids);
}

static void test_same_ids(void **state) {
    static const char *const families[] = {"ours", "gpt2", "llama3", "smollm"};
    const json_t *cases = *state;
    if (cases == NULL) skip();
    for (size_t f = 0; f < sizeof families / sizeof *families; f++) {
        char name[64];
        ls_tokenizer *tokenizer = NULL;
        json_t *ids = NULL;
        snprintf(name, sizeof name, "%s.json", families[f]);
        check_ok(ls_tokenizer_open(in_folder(name), &tokenizer));
        snprintf(name, sizeof name, "%s.ids.json", families[f]);
        check_ok(ls_json_read(in_folder(name), &ids));
        assert_int_equal(json_array_size(ids), json_array_size(cases));
        for (size_t i = 0; i < json_array_size(cases); i++)
            check_case(tokenizer, families[f], i, json_array_get(cases, i), json_array_get(ids, i));
        json_decref(ids);
        ls_tokenizer_destroy(tokenizer);
    }
}

/* Their ids are ours + 1, their special token being the first: the order of the merges is what counts. */
static void test_same_training(void **state) {
    if (*state == NULL) skip();
    ls_tokenizer *ours = NULL, *theirs = NULL;
    check_ok(ls_tokenizer_open(in_folder("ours.json"), &ours));
    check_ok(ls_tokenizer_open(in_folder("trained.json"), &theirs));
    assert_int_equal(ls_tokenizer_vocab_size(ours), ls_tokenizer_vocab_size(theirs));
    assert_int_equal(ls_tokenizer_merge_count(ours), ls_tokenizer_merge_count(theirs));
    for (int32_t id = 0; id + 1 < ls_tokenizer_vocab_size(ours); id++) {
        size_t m = 0, n = 0;
        const unsigned char *a = ls_tokenizer_token(ours, id, &m);
        const unsigned char *b = ls_tokenizer_token(theirs, id + 1, &n);
        if (m != n || memcmp(a, b, n) != 0)
            fail_msg("token %d is \"%.*s\", theirs \"%.*s\"", id, (int)m, (const char *)a, (int)n,
                     (const char *)b);
    }
    ls_tokenizer_destroy(ours);
    ls_tokenizer_destroy(theirs);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_ids),
        cmocka_unit_test(test_same_training),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
