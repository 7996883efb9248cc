#include "data_check.h"
#include <sys/stat.h>
#include <zstd.h>

typedef struct seen {
    ls_text text; /* documents, each closed by '|' */
    int n_documents, n_cut;
    int stop_at; /* 0 = never */
} seen;

static ls_status see(void *user, const ls_document *document) {
    seen *s = user;
    assert_int_equal(document->index, s->n_documents);
    assert_true(document->bytes > 0);
    s->n_documents++;
    s->n_cut += !document->complete;
    ls_text_append_bytes(&s->text, document->text, document->bytes);
    ls_text_append_bytes(&s->text, "|", 1);
    if (s->n_documents == s->stop_at) return LS_FAIL(LS_ERR_INTERRUPTED, "enough");
    return s->text.status;
}

static void check_documents(const char *path, const ls_dataset_options *options, const char *want) {
    ls_dataset *dataset = NULL;
    seen s = {0};
    check_ok(ls_dataset_open(path, options, &dataset));
    check_ok(ls_dataset_each(dataset, see, &s));
    assert_string_equal(s.text.data, want);
    ls_text_deinit(&s.text);
    ls_dataset_close(dataset);
}

/* Opening or reading fails. */
static void check_refused(const char *path, const ls_dataset_options *options, ls_status code,
                          const char *part) {
    ls_dataset *dataset = NULL;
    seen s = {0};
    ls_error_clear();
    ls_status status = ls_dataset_open(path, options, &dataset);
    if (status == LS_OK) status = ls_dataset_each(dataset, see, &s);
    ls_text_deinit(&s.text);
    ls_dataset_close(dataset);
    if (status != code || strstr(ls_error_message(), part) == NULL)
        fail_msg("%s: got %s with \"%s\", wanted \"%s\"", path, ls_status_words(status),
                 ls_error_message(), part);
}

static const char *write_zst(const char *name, const void *data, size_t bytes, size_t keep) {
    const size_t bound = ZSTD_compressBound(bytes);
    char *packed = ls_alloc(bound);
    const size_t n = ZSTD_compress(packed, bound, data, bytes, 3);
    assert_false(ZSTD_isError(n));
    const char *path = write_file(name, packed, keep > 0 ? keep : n);
    ls_free(packed);
    return path;
}

static void test_plain_text(void **state) {
    (void)state;
    check_documents(write_file("a.txt", "one\ntwo\n", 8), NULL, "one\ntwo\n|");
    /* an unknown ending is plain text when the file itself is named */
    check_documents(write_file("a.data", "\xC3\xA9", 2), NULL, "\xC3\xA9|");
    const ls_dataset_options raw = {.raw_bytes = 1};
    check_documents(write_file("a.txt", "\xFF\x80", 2), &raw, "\xFF\x80|");
}

static void test_json_lines(void **state) {
    (void)state;
    static const char lines[] = "{\"text\": \"one\", \"id\": 1}\n"
                                "\n"
                                "{\"id\": 2, \"text\": \"\"}\r\n"
                                "{\"text\": \"tw\\u00f6\\n\"}\n"
                                "{\"body\": \"three\", \"text\": \"3\"}";
    check_documents(write_file("a.jsonl", lines, sizeof lines - 1), NULL, "one|tw\xC3\xB6\n|3|");
    static const char bodies[] = "{\"body\": \"a\"}\n{\"body\": \"b\", \"text\": 1}\n";
    const ls_dataset_options body = {.text_field = "body"};
    check_documents(write_file("a.ndjson", bodies, sizeof bodies - 1), &body, "a|b|");
}

static void test_zstd(void **state) {
    (void)state;
    check_documents(write_zst("a.txt.zst", "squeezed", 8, 0), NULL, "squeezed|");
    /* lines longer than one decompression step, and across steps */
    ls_text lines = {0}, want = {0};
    char *word = ls_alloc(300001);
    for (int i = 0; i < 20; i++) {
        memset(word, 'a' + i, 300000);
        ls_text_append(&lines, "{\"text\": \"%s\"}\n", word);
        ls_text_append(&want, "%s|", word);
    }
    check_documents(write_zst("a.jsonl.zst", lines.data, lines.size, 0), NULL, want.data);
    ls_free(word);
    ls_text_deinit(&lines);
    ls_text_deinit(&want);
}

static void test_zstd_frames_follow_each_other(void **state) {
    (void)state;
    char packed[256];
    const size_t first = ZSTD_compress(packed, sizeof packed, "one ", 4, 1);
    const size_t second = ZSTD_compress(packed + first, sizeof packed - first, "two", 3, 1);
    check_documents(write_file("two.txt.zst", packed, first + second), NULL, "one two|");
}

static void test_folder(void **state) {
    (void)state;
    char folder[512], path[600];
    snprintf(folder, sizeof folder, "%s", check_path("folder"));
    check_ok(ls_dir_make(folder));
    check_refused(folder, NULL, LS_ERR_DATA, "no text file");
    static const char *const files[][2] = {
        {"b.txt", "bee"}, {"a.jsonl", "{\"text\": \"ay\"}\n"}, {"c.md", "sea"}, {".hidden", "no"}};
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i][0]);
        check_ok(ls_file_write_atomic(path, files[i][1], strlen(files[i][1])));
    }
    check_documents(folder, NULL, "ay|bee|sea|");
    ls_dataset *dataset = open_dataset(folder);
    assert_int_equal(ls_dataset_file_count(dataset), 3);
    int64_t n_documents = 0, n_bytes = 0;
    check_ok(ls_dataset_size(dataset, &n_documents, &n_bytes));
    assert_int_equal(n_documents, 3);
    assert_int_equal(n_bytes, 8);
    ls_dataset_close(dataset);
    snprintf(path, sizeof path, "%s/d.pdf", folder);
    check_ok(ls_file_write_atomic(path, "x", 1));
    check_refused(folder, NULL, LS_ERR_UNSUPPORTED, "d.pdf");
    check_ok(ls_dir_remove(folder));
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *name, *data;
        size_t bytes;
        ls_status code;
        const char *part;
    } cases[] = {
        {"empty.txt", "", 0, LS_ERR_DATA, "empty corpus"},
        {"empty.jsonl", "\n\n", 2, LS_ERR_DATA, "empty corpus"},
        {"no-text.jsonl", "{\"text\": \"\"}", 12, LS_ERR_DATA, "empty corpus"},
        {"bad.txt", "good\xFF", 5, LS_ERR_DATA, "bad.txt: byte 0xff at offset 4"},
        {"cut.txt", "caf\xC3", 4, LS_ERR_DATA, "byte 0xc3 at offset 3"},
        {"bad.jsonl", "{\"text\":\"a\"}\n{\"text\":\"\xC0\"}\n", 26, LS_ERR_DATA, "at offset 22"},
        {"syntax.jsonl", "{\"text\":\"a\"}\n{\"text\":\n", 22, LS_ERR_FORMAT,
         "syntax.jsonl, line 2"},
        {"field.jsonl", "{\"body\":\"a\"}\n", 13, LS_ERR_DATA, "\"text\", found no such member"},
        {"type.jsonl", "{\"text\":7}\n", 11, LS_ERR_DATA, "another type"},
        {"array.jsonl", "[1]\n", 4, LS_ERR_DATA, "something else than an object"},
        {"twice.jsonl", "{\"text\":\"a\",\"text\":\"b\"}", 23, LS_ERR_FORMAT, "line 1"},
        {"zstd.txt.zst", "no zstd data", 12, LS_ERR_FORMAT, "damaged zstd"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_refused(write_file(cases[i].name, cases[i].data, cases[i].bytes), NULL, cases[i].code,
                      cases[i].part);
    check_refused("no/such/file.txt", NULL, LS_ERR_NOT_FOUND, "no/such/file.txt");
    check_refused(write_zst("short.txt.zst", "some text that is cut off", 25, 14), NULL,
                  LS_ERR_FORMAT, "cut off");
}

static void test_size_limit(void **state) {
    (void)state;
    const ls_dataset_options small = {.max_document_bytes = 10};
    check_documents(write_file("ten.txt", "0123456789", 10), &small, "0123456789|");
    check_refused(write_file("eleven.txt", "0123456789a", 11), &small, LS_ERR_DATA,
                  "more than 10 bytes");
    check_refused(write_file("line.jsonl", "{\"text\":\"123456\"}", 17), &small, LS_ERR_DATA,
                  "one line has more than 10");
    /* a bomb: 64 MiB of zeros in a few KiB, refused before it is all there */
    const size_t bytes = (size_t)64 << 20;
    char *zeros = ls_alloc(bytes);
    const ls_dataset_options limit = {.max_document_bytes = 1 << 20, .raw_bytes = 1};
    check_refused(write_zst("bomb.txt.zst", zeros, bytes, 0), &limit, LS_ERR_DATA,
                  "after decompression");
    check_refused(write_zst("bomb.jsonl.zst", zeros, bytes, 0), &limit, LS_ERR_DATA,
                  "after decompression");
    ls_free(zeros);
}

static void test_callback_error_ends_the_pass(void **state) {
    (void)state;
    ls_dataset *dataset = open_dataset(
        write_file("s.jsonl", "{\"text\":\"a\"}\n{\"text\":\"b\"}\n{\"text\":\"c\"}\n", 39));
    seen s = {.stop_at = 2};
    check_fails(ls_dataset_each(dataset, see, &s), LS_ERR_INTERRUPTED, "enough");
    assert_int_equal(s.n_documents, 2);
    ls_text_deinit(&s.text);
    ls_dataset_close(dataset);
}

static char *read_part(const char *path, double begin, double end, size_t *bytes) {
    const ls_dataset_options options = {.begin = begin, .end = end};
    ls_dataset *dataset = NULL;
    char *text = NULL;
    check_ok(ls_dataset_open(path, &options, &dataset));
    check_ok(ls_dataset_read(dataset, &text, bytes));
    ls_dataset_close(dataset);
    return text;
}

/* The three parts put together are the text, whatever the characters at the cuts. */
static void test_split_covers_the_text(void **state) {
    (void)state;
    static const char *const texts[] = {
        "\xF0\x9F\x98\x80\xF0\x9F\x98\x80\xE2\x82\xAC\xC3\xA9",
        "\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC"
        "\xE2\x82\xAC\xE2\x82\xAC"};
    for (int t = 0; t < 2; t++) {
        const char *path = write_file("split.txt", texts[t], strlen(texts[t]));
        for (double cut = 0.1; cut < 0.7; cut += 0.01) {
            size_t a_bytes = 0, b_bytes = 0;
            char *a = read_part(path, 0, cut, &a_bytes), *b = read_part(path, cut, 1, &b_bytes);
            assert_int_equal(a_bytes + b_bytes, strlen(texts[t]));
            assert_memory_equal(a, texts[t], a_bytes);
            assert_memory_equal(b, texts[t] + a_bytes, b_bytes);
            assert_true(((unsigned char)b[0] & 0xC0) != 0x80);
            assert_int_equal(a_bytes, ls_split_cut(texts[t], strlen(texts[t]), cut));
            ls_free(a);
            ls_free(b);
        }
    }
}

static void test_usual_split(void **state) {
    (void)state;
    char *whole = NULL;
    size_t whole_bytes = 0, at = 0;
    check_ok(ls_file_read(TINY_PATH, &whole, &whole_bytes));
    for (int split = LS_SPLIT_TRAIN; split <= LS_SPLIT_HELD; split++) {
        double begin = -1, end = -1;
        size_t bytes = 0;
        ls_split_range(split, &begin, &end);
        char *part = read_part(TINY_PATH, begin, end, &bytes);
        assert_memory_equal(part, whole + at, bytes);
        at += bytes;
        if (split == LS_SPLIT_HELD) assert_int_equal(bytes, (whole_bytes + 19) / 20);
        ls_free(part);
    }
    assert_int_equal(at, whole_bytes);
    ls_free(whole);
}

/* Cuts across documents: only the one that is cut loses its end. */
static void test_split_of_documents(void **state) {
    (void)state;
    const char *path =
        write_file("d.jsonl", "{\"text\":\"aaaa\"}\n{\"text\":\"bbbb\"}\n{\"text\":\"cc\"}\n", 46);
    static const struct {
        double begin, end;
        const char *want;
        int n_cut;
    } cases[] = {{0, 0.4, "aaaa|", 0},       {0, 0.5, "aaaa|b|", 1}, {0.5, 1, "bbb|cc|", 0},
                 {0.4, 0.8, "bbbb|", 0},     {0.85, 1, "cc|", 0},    {0.5, 0.6, "b|", 1},
                 {0, 1, "aaaa|bbbb|cc|", 0}, {0.95, 1, "c|", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const ls_dataset_options options = {.begin = cases[i].begin, .end = cases[i].end};
        ls_dataset *dataset = NULL;
        seen s = {0};
        check_ok(ls_dataset_open(path, &options, &dataset));
        check_ok(ls_dataset_each(dataset, see, &s));
        assert_string_equal(s.text.data, cases[i].want);
        assert_int_equal(s.n_cut, cases[i].n_cut);
        ls_text_deinit(&s.text);
        ls_dataset_close(dataset);
    }
    const ls_dataset_options empty = {.begin = 0.01, .end = 0.02};
    check_refused(path, &empty, LS_ERR_DATA, "no text in the part");
    const ls_dataset_options wrong[] = {
        {.begin = 0.5, .end = 0.4}, {.begin = -1, .end = 1}, {.end = 2}};
    for (int i = 0; i < 3; i++) check_refused(path, &wrong[i], LS_ERR_INVALID, "begin < end");
}

static ls_status read_everything(void *user) {
    ls_dataset *dataset = NULL;
    const ls_dataset_options options = {.end = 0.5};
    LS_TRY(ls_dataset_open(user, &options, &dataset));
    char *text = NULL;
    size_t bytes = 0;
    const ls_status status = ls_dataset_read(dataset, &text, &bytes);
    ls_free(text);
    ls_dataset_close(dataset);
    return status;
}

static void test_out_of_memory(void **state) {
    (void)state;
    char path[512];
    snprintf(path, sizeof path, "%s", write_zst("oom.jsonl.zst", "{\"text\":\"abcdef\"}\n", 18, 0));
    assert_true(check_torture(read_everything, path) > 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_text),
        cmocka_unit_test(test_json_lines),
        cmocka_unit_test(test_zstd),
        cmocka_unit_test(test_zstd_frames_follow_each_other),
        cmocka_unit_test(test_folder),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_size_limit),
        cmocka_unit_test(test_callback_error_ends_the_pass),
        cmocka_unit_test(test_split_covers_the_text),
        cmocka_unit_test(test_usual_split),
        cmocka_unit_test(test_split_of_documents),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
