#include "data_check.h"

#define PRE "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"
#define MODEL \
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}"

static ls_status parse(const char *text, ls_tokenizer **out) {
    return ls_tokenizer_parse(text, strlen(text), "test.json", out);
}

static void test_small_file(void **state) {
    (void)state;
    ls_tokenizer *tokenizer = NULL;
    check_ok(parse(
        "{\"added_tokens\":[{\"id\":3,\"content\":\"<|endoftext|>\",\"special\":true}]," PRE MODEL
        "}",
        &tokenizer));
    assert_int_equal(ls_tokenizer_vocab_size(tokenizer), 4);
    assert_int_equal(ls_tokenizer_eot(tokenizer), 3);
    ls_ids ids = encode(tokenizer, "abba", 4);
    assert_int_equal(ids.count, 3);
    assert_int_equal(ids.data[0], 2);
    assert_int_equal(ids.data[1], 1);
    assert_int_equal(ids.data[2], 0);
    ls_ids_deinit(&ids);
    ls_tokenizer_destroy(tokenizer);
}

/* Everything that makes a file unusable is said. Each case is a whole document. */
#define WITH_VOCAB(vocab, merges) \
    "{" PRE "\"model\":{\"type\":\"BPE\",\"vocab\":" vocab ",\"merges\":" merges "}}"
#define WITH_ADDED(added) "{\"added_tokens\":" added "," PRE MODEL "}"
#define WITH_PRE(pre)     "{\"pre_tokenizer\":" pre "," MODEL "}"
static const struct {
    const char *text;
    ls_status code;
    const char *part;
} refused[] = {
    {"", LS_ERR_FORMAT, "test.json"},
    {"[]", LS_ERR_FORMAT, "model"},
    {"{}", LS_ERR_FORMAT, "\"model\" is missing"},
    {"{\"model\":{}}", LS_ERR_FORMAT, "vocab"},
    {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", LS_ERR_UNSUPPORTED, "Unigram"},
    {"{\"model\":{\"type\":\"WordPiece\"}}", LS_ERR_UNSUPPORTED, "WordPiece"},
    {"{" PRE MODEL "} x", LS_ERR_FORMAT, "JSON"},
    {"{" PRE MODEL, LS_ERR_FORMAT, "JSON"},
    {WITH_VOCAB("{}", "[]"), LS_ERR_FORMAT, "0 tokens"},
    {WITH_VOCAB("[]", "[]"), LS_ERR_FORMAT, "vocab"},
    {WITH_VOCAB("{\"a\":0,\"a\":1}", "[]"), LS_ERR_FORMAT, "duplicate"},
    {WITH_VOCAB("{\"a\":0,\"b\":0}", "[]"), LS_ERR_FORMAT, "id 0 is given to two tokens"},
    {WITH_VOCAB("{\"a\":0,\"b\":2}", "[]"), LS_ERR_FORMAT, "id 2, which is out of range"},
    {WITH_VOCAB("{\"a\":-1}", "[]"), LS_ERR_FORMAT, "id -1, which is out of range"},
    {WITH_VOCAB("{\"a\":9223372036854775807}", "[]"), LS_ERR_FORMAT, "out of range"},
    {WITH_VOCAB("{\"a\":0.0}", "[]"), LS_ERR_FORMAT, "no integer"},
    {WITH_VOCAB("{\"a\":\"0\"}", "[]"), LS_ERR_FORMAT, "no integer"},
    {WITH_VOCAB("{\"\":0}", "[]"), LS_ERR_FORMAT, "empty token"},
    {WITH_VOCAB("{\"a b\":0}", "[]"), LS_ERR_FORMAT, "byte-level alphabet"},
    {WITH_VOCAB("{\"\xE2\x82\xAC\":0}", "[]"), LS_ERR_FORMAT, "byte-level alphabet"},
    {WITH_VOCAB("{\"a\":0}", "{}"), LS_ERR_FORMAT, "merges"},
    {WITH_VOCAB("{\"a\":0}", "[7]"), LS_ERR_FORMAT, "merge 0 is neither"},
    {WITH_VOCAB("{\"a\":0}", "[\"aa\"]"), LS_ERR_FORMAT, "merge 0 is neither"},
    {WITH_VOCAB("{\"a\":0}", "[\"a a a\"]"), LS_ERR_FORMAT, "merge 0 is neither"},
    {WITH_VOCAB("{\"a\":0}", "[[\"a\"]]"), LS_ERR_FORMAT, "merge 0 is neither"},
    {WITH_VOCAB("{\"a\":0}", "[[\"a\",1]]"), LS_ERR_FORMAT, "no pair of texts"},
    {WITH_VOCAB("{\"a\":0}", "[\"a x\"]"), LS_ERR_FORMAT, "names \"x\""},
    {WITH_VOCAB("{\"a\":0}", "[\"x a\"]"), LS_ERR_FORMAT, "names \"x\""},
    {WITH_VOCAB("{\"a\":0}", "[\"a a\"]"), LS_ERR_FORMAT, "names \"aa\""},
    {WITH_VOCAB("{\"a\":0,\"aa\":1}", "[\"a a\",[\"a\",\"a\"]]"), LS_ERR_FORMAT,
     "merges 0 and 1 merge the same pair"},
    {WITH_ADDED("[{\"id\":3}]"), LS_ERR_FORMAT, "added_tokens[0]"},
    {WITH_ADDED("[7]"), LS_ERR_FORMAT, "added_tokens[0]"},
    {WITH_ADDED("[{\"id\":3,\"content\":\"\"}]"), LS_ERR_FORMAT, "added_tokens[0]"},
    {WITH_ADDED("[{\"id\":9,\"content\":\"x\"}]"), LS_ERR_FORMAT, "id 9, which is out of range"},
    {WITH_ADDED("[{\"id\":1,\"content\":\"x\"}]"), LS_ERR_FORMAT, "two tokens"},
    {WITH_ADDED("[{\"content\":\"x\"}]"), LS_ERR_FORMAT, "no integer"},
    {WITH_ADDED("[{\"id\":1,\"content\":\"a\"}]"), LS_ERR_FORMAT, "another id"},
    {WITH_ADDED("[{\"id\":3,\"content\":\"x\"},{\"id\":4,\"content\":\"x\"},{\"id\":3,"
                "\"content\":\"y\"}]"),
     LS_ERR_FORMAT, "two tokens"},
    {WITH_ADDED("[{\"id\":3,\"content\":\"x\",\"lstrip\":true}]"), LS_ERR_UNSUPPORTED, "lstrip"},
    {WITH_ADDED("[{\"id\":3,\"content\":\"x\",\"single_word\":true}]"), LS_ERR_UNSUPPORTED,
     "single_word"},
    {"{\"normalizer\":{\"type\":\"NFC\"}," PRE MODEL "}", LS_ERR_UNSUPPORTED, "NFC"},
    {"{\"decoder\":{\"type\":\"Metaspace\"}," PRE MODEL "}", LS_ERR_UNSUPPORTED, "Metaspace"},
    {"{" PRE "\"model\":{\"byte_fallback\":true,\"vocab\":{},\"merges\":[]}}", LS_ERR_UNSUPPORTED,
     "byte_fallback"},
    {"{" PRE "\"model\":{\"dropout\":0.1,\"vocab\":{},\"merges\":[]}}", LS_ERR_UNSUPPORTED,
     "dropout"},
    {"{" PRE "\"model\":{\"end_of_word_suffix\":\"</w>\",\"vocab\":{},\"merges\":[]}}",
     LS_ERR_UNSUPPORTED, "end_of_word_suffix"},
    {"{" MODEL "}", LS_ERR_UNSUPPORTED, "must end with \"ByteLevel\""},
    {WITH_PRE("null"), LS_ERR_UNSUPPORTED, "must end with \"ByteLevel\""},
    {WITH_PRE("{\"type\":\"Whitespace\"}"), LS_ERR_UNSUPPORTED, "ends with Whitespace"},
    {WITH_PRE("{\"type\":\"ByteLevel\",\"add_prefix_space\":true}"), LS_ERR_UNSUPPORTED,
     "add_prefix_space"},
    {WITH_PRE("{\"type\":\"Sequence\",\"pretokenizers\":[]}"), LS_ERR_FORMAT, "pretokenizers"},
    {WITH_PRE("{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Punctuation\"},"
              "{\"type\":\"ByteLevel\"}]}"),
     LS_ERR_UNSUPPORTED, "Punctuation"},
    {WITH_PRE("{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":"
              "{\"Regex\":\"(\"},\"behavior\":\"Isolated\"},{\"type\":\"ByteLevel\"}]}"),
     LS_ERR_FORMAT, "no regular expression"},
    {WITH_PRE("{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":"
              "{\"Regex\":\"a\"},\"behavior\":\"Removed\"},{\"type\":\"ByteLevel\"}]}"),
     LS_ERR_UNSUPPORTED, "Removed"},
};
static void test_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        ls_tokenizer *tokenizer = NULL;
        ls_error_clear();
        const ls_status status = parse(refused[i].text, &tokenizer);
        if (status != refused[i].code || strstr(ls_error_message(), refused[i].part) == NULL ||
            strstr(ls_error_message(), "test.json") == NULL)
            fail_msg("case %zu: got %s with \"%s\", wanted %s with \"%s\"", i,
                     ls_status_words(status), ls_error_message(), ls_status_words(refused[i].code),
                     refused[i].part);
    }
    ls_tokenizer *tokenizer = NULL;
    check_fails(ls_tokenizer_open("no/tokenizer.json", &tokenizer), LS_ERR_NOT_FOUND,
                "no/tokenizer.json");
}

static void check_same(const ls_tokenizer *a, const ls_tokenizer *b) {
    assert_string_equal(ls_tokenizer_fingerprint(a), ls_tokenizer_fingerprint(b));
    assert_int_equal(ls_tokenizer_vocab_size(a), ls_tokenizer_vocab_size(b));
    assert_int_equal(ls_tokenizer_eot(a), ls_tokenizer_eot(b));
    for (int32_t id = 0; id < ls_tokenizer_vocab_size(a); id++) {
        size_t m = 0, n = 0;
        const unsigned char *p = ls_tokenizer_token(a, id, &m), *q = ls_tokenizer_token(b, id, &n);
        assert_int_equal(m, n);
        assert_memory_equal(p, q, n);
    }
}

/* Saved and opened again it is the same, and saving that gives the same bytes. */
static void check_saves(ls_tokenizer *tokenizer) {
    const char *path = check_path("one.json"), *again = check_path("two.json");
    ls_tokenizer *back = NULL;
    char *a = NULL, *b = NULL;
    size_t m = 0, n = 0;
    check_ok(ls_tokenizer_save(tokenizer, path));
    check_ok(ls_tokenizer_open(path, &back));
    check_same(tokenizer, back);
    check_ok(ls_tokenizer_save(back, again));
    check_ok(ls_file_read(path, &a, &m));
    check_ok(ls_file_read(again, &b, &n));
    assert_int_equal(m, n);
    assert_memory_equal(a, b, n);
    ls_free(a);
    ls_free(b);
    ls_tokenizer_destroy(back);
    ls_tokenizer_destroy(tokenizer);
}

static void test_saves_and_opens(void **state) {
    (void)state;
    ls_tokenizer *tokenizer = NULL;
    check_saves(train_tiny(1024));
    check_ok(ls_tokenizer_create_bytes(0, &tokenizer));
    check_saves(tokenizer);
    check_ok(ls_tokenizer_create_bytes(1, &tokenizer));
    check_saves(tokenizer);
    /* rules and switches of newer families: Llama 3's split, SmolLM's digits, ignore_merges */
    check_ok(parse(
        "{\"added_tokens\":[{\"id\":3,\"content\":\"<\xE2\x96\x81 s>\",\"special\":false}],"
        "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":["
        "{\"type\":\"Digits\",\"individual_digits\":true},"
        "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?i:'s|'t)|\\\\p{N}{1,3}| ?[^\\\\s]+\"},"
        "\"behavior\":\"Isolated\",\"invert\":false},"
        "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]},"
        "\"decoder\":{\"type\":\"ByteLevel\"},"
        "\"model\":{\"ignore_merges\":true,\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[]}}",
        &tokenizer));
    ls_ids ids = encode(tokenizer, "ab", 2);
    assert_int_equal(ids.count, 1); /* whole, though no merge makes it */
    ls_ids_deinit(&ids);
    check_saves(tokenizer);
}

static ls_status open_once(void *user) {
    ls_tokenizer *tokenizer = NULL;
    LS_TRY(ls_tokenizer_open(user, &tokenizer));
    ls_tokenizer_destroy(tokenizer);
    return LS_OK;
}

static ls_status save_once(void *user) {
    return ls_tokenizer_save(user, check_path("oom-save.json"));
}

static void test_out_of_memory(void **state) {
    (void)state;
    char path[512];
    snprintf(path, sizeof path, "%s",
             write_file("oom.json", "{" PRE MODEL "}", strlen("{" PRE MODEL "}")));
    assert_true(check_torture(open_once, path) > 10);
    ls_tokenizer *tokenizer = NULL;
    check_ok(ls_tokenizer_open(path, &tokenizer));
    assert_true(check_torture(save_once, tokenizer) > 3);
    ls_tokenizer_destroy(tokenizer);
}

static void test_disk_full(void **state) {
    (void)state;
    ls_tokenizer *tokenizer = NULL;
    check_ok(ls_tokenizer_create_bytes(0, &tokenizer));
    const char *path = write_file("full.json", "old", 3);
    ls_fs_fail_at(1, 28 /* ENOSPC */);
    check_fails(ls_tokenizer_save(tokenizer, path), LS_ERR_NO_SPACE, "full.json");
    ls_fs_fail_at(0, 0);
    char *text = NULL;
    size_t bytes = 0;
    check_ok(ls_file_read(path, &text, &bytes));
    assert_string_equal(text, "old");
    ls_free(text);
    ls_tokenizer_destroy(tokenizer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_file),      cmocka_unit_test(test_refused),
        cmocka_unit_test(test_saves_and_opens), cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_disk_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
