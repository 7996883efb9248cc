/* The note beside kept tokens: what is the same text, what is not, and what is read to know it. */
#include "base/fs.h"
#include "train/source_note.h"
#include "unit/base/check.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

enum { LONG_AGO = 1000000000 };

static char folder[512], text_path[600], tokenizer_path[600], note_path[600];

static void set_age(const char *path, time_t modified) {
    const struct timespec times[2] = {{modified, 0}, {modified, 0}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void write_text(const char *path, const char *text) {
    check_ok(ls_file_write_atomic(path, text, strlen(text)));
    set_age(path, LONG_AGO);
}

static ls_train_config make_config(void) {
    ls_train_config c = {0};
    c.data.path = text_path;
    c.data.tokenizer = "byte";
    c.data.split = 1;
    return c;
}

static int set_up(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "%s", check_path("note"));
    snprintf(text_path, sizeof text_path, "%s/a.txt", folder);
    snprintf(tokenizer_path, sizeof tokenizer_path, "%s/t.json", folder);
    snprintf(note_path, sizeof note_path, "%s/source.txt", folder);
    check_ok(ls_dir_make(folder));
    write_text(text_path, "one text\n");
    write_text(tokenizer_path, "{\"a\": 1}");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    return ls_dir_remove(folder) == LS_OK ? 0 : 1;
}

static void store(const ls_train_config *c) {
    ls_source_note note;
    check_ok(ls_source_note_init(c, &note));
    /* the files were written just now; as if it were later */
    note.newest_ms = 0;
    check_ok(ls_source_note_hash(&note));
    check_ok(ls_source_note_store(&note, note_path));
    ls_source_note_deinit(&note);
}

/* Whether it matches, and bytes that were read to know it. */
static int match(const ls_train_config *c, int64_t *read_out) {
    ls_source_note note;
    int matches = -1;
    check_ok(ls_source_note_init(c, &note));
    note.newest_ms = 0;
    check_ok(ls_source_note_matches(&note, note_path, &matches));
    *read_out = note.hashed_bytes;
    ls_source_note_deinit(&note);
    return matches;
}

static void test_same(void **state) {
    (void)state;
    int64_t n_read = -1;
    const ls_train_config c = make_config();
    assert_false(match(&c, &n_read)); /* there is none yet */
    store(&c);
    assert_true(match(&c, &n_read));
    assert_int_equal(n_read, 0);
}

/* Touched or copied: read once, known from then on. */
static void test_touched(void **state) {
    (void)state;
    int64_t n_read = -1;
    const ls_train_config c = make_config();
    store(&c);
    set_age(text_path, LONG_AGO + 7);
    assert_true(match(&c, &n_read));
    assert_int_equal(n_read, 9);
    assert_true(match(&c, &n_read));
    assert_int_equal(n_read, 0);
    write_text(text_path, "one text\n"); /* another file of the same bytes and time */
    assert_true(match(&c, &n_read));
    assert_int_equal(n_read, 9);
}

/* Changed behind the same size and time of modification. */
static void test_changed(void **state) {
    (void)state;
    int64_t n_read = -1;
    const ls_train_config c = make_config();
    store(&c);
    write_text(text_path, "two text\n");
    assert_false(match(&c, &n_read));
    assert_int_equal(n_read, 9);
    write_text(text_path, "one text, longer\n");
    assert_false(match(&c, &n_read));
    assert_int_equal(n_read, 0); /* its size says it */
}

/* What changed within the file system's resolution of time before it was noted is read again. */
static void test_unsettled(void **state) {
    (void)state;
    int64_t n_read = -1;
    const ls_train_config c = make_config();
    ls_source_note note;
    check_ok(ls_source_note_init(&c, &note)); /* changed just now */
    check_ok(ls_source_note_hash(&note));
    check_ok(ls_source_note_store(&note, note_path));
    ls_source_note_deinit(&note);
    assert_true(match(&c, &n_read));
    assert_int_equal(n_read, 9);
    assert_true(match(&c, &n_read));
    assert_int_equal(n_read, 0);
}

static void test_choices(void **state) {
    (void)state;
    int64_t n_read = -1;
    ls_train_config c = make_config();
    store(&c);
    c.data.split = 0;
    assert_false(match(&c, &n_read));
    c = make_config();
    c.data.tokenizer = "bpe";
    assert_false(match(&c, &n_read));
    c.data.tokenizer = tokenizer_path;
    assert_false(match(&c, &n_read));
    store(&c);
    assert_true(match(&c, &n_read));
    write_text(tokenizer_path, "{\"a\": 2}");
    assert_false(match(&c, &n_read));
    assert_int_equal(n_read, 17); /* both files */
}

static void test_folder(void **state) {
    (void)state;
    int64_t n_read = -1;
    char path[600], a[700], b[700];
    snprintf(path, sizeof path, "%s/texts", folder);
    snprintf(a, sizeof a, "%s/a.txt", path);
    snprintf(b, sizeof b, "%s/b.txt", path);
    check_ok(ls_dir_make(path));
    write_text(a, "first");
    write_text(b, "second");
    ls_train_config c = make_config();
    c.data.path = path;
    store(&c);
    assert_true(match(&c, &n_read));
    assert_int_equal(n_read, 0);
    write_text(b, "decond");
    assert_false(match(&c, &n_read));
    assert_int_equal(n_read, 11);
    store(&c);
    unlink(b);
    assert_false(match(&c, &n_read));
}

/* A cache that cannot be written serves as long as it is of this text. */
static void test_read_only(void **state) {
    (void)state;
    int64_t n_read = -1;
    const ls_train_config c = make_config();
    store(&c);
    set_age(text_path, LONG_AGO + 7);
    for (int i = 0; i < 2; i++) {
        ls_fs_fail_at(-1, EROFS);
        assert_true(match(&c, &n_read));
        ls_fs_fail_at(0, 0);
        assert_int_equal(n_read, 9); /* each time */
        assert_string_equal(ls_error_message(), "");
    }
}

static void test_foreign_notes(void **state) {
    (void)state;
    int64_t n_read = -1;
    const ls_train_config c = make_config();
    ls_source_note note;
    check_ok(ls_source_note_init(&c, &note));
    char whole[2048];
    const char *const tails[] = {"", "content XXH3 ", "content XXH3 zzzzzzzzzzzzzzzz\n",
                                 "content XXH3 0123456789abcdef\n",
                                 "content XXH4 0123456789abcdef\n"};
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        snprintf(whole, sizeof whole, "%s%s", note.what.data, tails[i]);
        write_text(note_path, whole);
        assert_false(match(&c, &n_read));
    }
    write_text(note_path, "source 2: something older\n");
    assert_false(match(&c, &n_read));
    ls_source_note_deinit(&note);
}

static void test_missing(void **state) {
    (void)state;
    ls_source_note note;
    ls_train_config c = make_config();
    c.data.path = "nothing/here";
    check_fails(ls_source_note_init(&c, &note), LS_ERR_NOT_FOUND, "data.path 'nothing/here'");
    ls_source_note_deinit(&note);
    c = make_config();
    c.data.tokenizer = "nothing.json";
    check_fails(ls_source_note_init(&c, &note), LS_ERR_NOT_FOUND, "data.tokenizer: 'nothing.json'");
    ls_source_note_deinit(&note);
}

static ls_status make_and_match(void *user) {
    ls_source_note note;
    int matches;
    ls_status status = ls_source_note_init(user, &note);
    if (status == LS_OK) status = ls_source_note_matches(&note, note_path, &matches);
    if (status == LS_OK && !matches) status = LS_ERR_INTERNAL;
    ls_source_note_deinit(&note);
    return status;
}

static void test_memory(void **state) {
    (void)state;
    ls_train_config c = make_config();
    store(&c);
    assert_true(check_torture(make_and_match, &c) > 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_same, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_touched, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_changed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unsettled, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_choices, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_folder, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_read_only, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_foreign_notes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_missing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_memory, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
