#include "base/fs.h"
#include "unit/base/check.h"
#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void check_content(const char *path, const char *wanted, size_t bytes) {
    char *data;
    size_t n;
    check_ok(ls_file_read(path, &data, &n));
    assert_int_equal(n, bytes);
    assert_memory_equal(data, wanted, bytes);
    assert_int_equal(data[n], '\0');
    ls_free(data);
}

static void test_write_and_read(void **state) {
    (void)state;
    const char *path = check_path("a.bin");
    check_ok(ls_file_write_atomic(path, "one\0two", 7));
    check_content(path, "one\0two", 7);
    check_ok(ls_file_write_atomic(path, "", 0));
    check_content(path, "", 0);
    check_ok(ls_file_write_atomic(path, "again", 5));
    check_content(path, "again", 5);
    assert_true(ls_path_exists(path));
    assert_false(ls_path_is_dir(path));
    unlink(path);
    assert_false(ls_path_exists(path));
}

static void test_read_of_files_without_a_size(void **state) {
    (void)state;
    char *data;
    size_t n;
    check_ok(ls_file_read("/proc/self/status", &data, &n));
    assert_true(n > 100 && strlen(data) == n);
    ls_free(data);
}

static void test_read_errors_name_the_path(void **state) {
    (void)state;
    char *data = NULL;
    size_t n;
    check_fails(ls_file_read("no/such/file", &data, &n), LS_ERR_NOT_FOUND, "open no/such/file");
    check_fails(ls_file_read("/proc", &data, &n), LS_ERR_IO, "read /proc: Is a directory");
    ls_map map;
    check_fails(ls_map_open("no/such/file", &map), LS_ERR_NOT_FOUND, "no/such/file");
    check_fails(ls_map_open("/dev/null", &map), LS_ERR_IO, "map /dev/null");
    assert_null(data);
}

static void test_map(void **state) {
    (void)state;
    const char *path = check_path("map.bin");
    ls_map map;
    check_ok(ls_file_write_atomic(path, "mapped", 6));
    check_ok(ls_map_open(path, &map));
    assert_int_equal(map.bytes, 6);
    assert_memory_equal(map.data, "mapped", 6);
    ls_map_close(&map);
    assert_null(map.data);
    check_ok(ls_file_write_atomic(path, "", 0));
    check_ok(ls_map_open(path, &map));
    assert_int_equal(map.bytes, 0);
    assert_null(map.data);
    ls_map_close(&map);
    unlink(path);
}

static int count_entries(const char *folder) {
    char **names;
    int n;
    check_ok(ls_dir_list(folder, &names, &n));
    for (int i = 0; i < n; i++) ls_free(names[i]);
    ls_free(names);
    return n;
}

static void test_aborted_write_leaves_nothing(void **state) {
    (void)state;
    const char *folder = check_path("abort");
    char path[600];
    snprintf(path, sizeof path, "%s/x", folder);
    check_ok(ls_dir_make(folder));
    ls_file_writer *writer;
    check_ok(ls_file_writer_begin(path, &writer));
    check_ok(ls_file_writer_write(writer, "abc", 3));
    assert_int_equal(count_entries(folder), 1); /* the temporary file */
    ls_file_writer_abort(writer);
    ls_file_writer_abort(NULL);
    assert_int_equal(count_entries(folder), 0);
    check_ok(ls_dir_remove(folder));
    check_fails(ls_file_writer_begin(path, &writer), LS_ERR_NOT_FOUND, "create ");
}

/* Whatever fails, the file has its old or its new bytes and no temporary stays; what fails is told. */
static void test_every_write_sync_and_rename_may_fail(void **state) {
    (void)state;
    const char *folder = check_path("faults");
    char path[600];
    snprintf(path, sizeof path, "%s/x", folder);
    check_ok(ls_dir_make(folder));
    check_ok(ls_file_write_atomic(path, "old", 3));
    int64_t n = 1;
    for (;; n++) {
        const int64_t before = ls_fs_op_count();
        ls_fs_fail_at(n, ENOSPC);
        const ls_status status = ls_file_write_atomic(path, "new", 3);
        ls_fs_fail_at(0, 0);
        const int was_hit = ls_fs_op_count() - before >= n;
        assert_int_equal(status, was_hit ? LS_ERR_NO_SPACE : LS_OK);
        assert_int_equal(count_entries(folder), 1);
        if (!was_hit) break;
        assert_non_null(strstr(ls_error_message(), "No space left"));
        assert_non_null(strstr(ls_error_message(), folder));
        char *data;
        size_t bytes;
        check_ok(ls_file_read(path, &data, &bytes));
        assert_string_equal(data,
                            n <= 3 ? "old" : "new"); /* write, fsync, rename | sync of folder */
        ls_free(data);
    }
    assert_int_equal(n - 1, 4);
    check_content(path, "new", 3);
    ls_fs_fail_at(1, EIO);
    check_fails(ls_file_write_atomic(path, "more", 4), LS_ERR_IO, "cannot write");
    check_ok(ls_file_write_atomic(path, "more", 4));
    ls_fs_fail_at(-1, ENOSPC);
    for (int i = 0; i < 3; i++)
        check_fails(ls_file_write_atomic(path, "most", 4), LS_ERR_NO_SPACE, "No space left");
    ls_fs_fail_at(0, 0);
    check_content(path, "more", 4);
    check_ok(ls_dir_remove(folder));
}

static void test_files_at_positions(void **state) {
    (void)state;
    const char *path = check_path("positions");
    ls_file *file, *again;
    char back[8];
    int64_t bytes;
    check_ok(ls_file_create(path, 10, &file));
    check_fails(ls_file_create(path, 10, &again), LS_ERR_IO, "cannot create");
    check_ok(ls_file_pwrite(file, "end", 3, 7));
    check_ok(ls_file_open(path, 1, &again));
    check_ok(ls_file_pwrite(again, "start", 5, 0));
    check_ok(ls_file_sync(again));
    check_ok(ls_file_pread(file, back, 5, 0));
    assert_memory_equal(back, "start", 5);
    check_ok(ls_file_size(file, &bytes));
    assert_int_equal(bytes, 10);
    check_fails(ls_file_pread(file, back, 4, 7), LS_ERR_FORMAT, "ends at byte 10; 1 more");
    ls_file_close(again);
    ls_file_close(file);
    ls_file_close(NULL);
    check_content(path, "start\0\0end", 10);
    check_ok(ls_path_bytes(path, &bytes));
    assert_int_equal(bytes, 10);
    check_ok(ls_file_open(path, 0, &file));
    check_fails(ls_file_pwrite(file, "x", 1, 0), LS_ERR_IO, "cannot write");
    ls_file_close(file);
    char other[600];
    snprintf(other, sizeof other, "%s.link", path);
    check_ok(ls_path_link(path, other));
    check_fails(ls_path_link(path, other), LS_ERR_IO, "cannot link");
    check_content(other, "start\0\0end", 10);
    unlink(other);
    unlink(path);
    check_fails(ls_file_open(path, 0, &file), LS_ERR_NOT_FOUND, "cannot open");
    check_fails(ls_path_bytes(path, &bytes), LS_ERR_NOT_FOUND, "cannot look at");
    check_fails(ls_path_bytes("/", &bytes), LS_ERR_IO, "cannot read");
}

/* A torn write leaves its first half. */
static void test_torn_writes(void **state) {
    (void)state;
    const char *path = check_path("torn");
    ls_file *file;
    check_ok(ls_file_create(path, 6, &file));
    ls_fs_fault_at(1, LS_FS_FAULT_TORN, EIO);
    check_fails(ls_file_pwrite(file, "abcdef", 6, 0), LS_ERR_IO, "cannot write");
    check_content(path, "abc\0\0\0", 6);
    ls_fs_fault_at(2, LS_FS_FAULT_TORN, ENOSPC);
    check_ok(ls_file_pwrite(file, "ABCDEF", 6, 0));
    check_fails(ls_file_sync(file), LS_ERR_NO_SPACE, "cannot sync");
    check_ok(ls_file_sync(file));
    check_content(path, "ABCDEF", 6);
    ls_file_close(file);
    unlink(path);
    const pid_t pid = fork();
    if (pid == 0) {
        ls_fs_fault_at(1, LS_FS_FAULT_KILL, EIO);
        (void)!ls_file_write_atomic(path, "abcdef", 6);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_false(ls_path_exists(path));
    char other[600];
    snprintf(other, sizeof other, "%s.tmp.%ld", path, (long)pid);
    check_content(other, "abc", 3);
    unlink(other);
}

/* So many operations fail, and no more. */
static void test_a_disk_that_is_full_for_a_while(void **state) {
    (void)state;
    const char *path = check_path("full");
    ls_file *file;
    check_ok(ls_file_create(path, 3, &file));
    ls_fs_fail_for(3, ENOSPC);
    check_fails(ls_file_pwrite(file, "abc", 3, 0), LS_ERR_NO_SPACE, "cannot write");
    check_fails(ls_file_sync(file), LS_ERR_NO_SPACE, "cannot sync");
    check_fails(ls_file_pwrite(file, "abc", 3, 0), LS_ERR_NO_SPACE, "cannot write");
    check_ok(ls_file_pwrite(file, "abc", 3, 0));
    ls_fs_fail_for(3, ENOSPC);
    ls_fs_fail_for(0, ENOSPC);
    check_ok(ls_file_sync(file));
    check_content(path, "abc", 3);
    ls_file_close(file);
    unlink(path);
}

/* The second write, whatever else is done before it. */
static void test_a_tear_waits_for_its_write(void **state) {
    (void)state;
    const char *path = check_path("tear");
    int status;
    const pid_t pid = fork();
    if (pid == 0) {
        ls_file *file;
        if (ls_file_create(path, 6, &file) != LS_OK) _exit(1);
        ls_fs_fault_at(2, LS_FS_FAULT_TEAR, EIO);
        if (ls_file_sync(file) != LS_OK || ls_file_pwrite(file, "ABCDEF", 6, 0) != LS_OK ||
            ls_file_sync(file) != LS_OK || ls_file_sync(file) != LS_OK)
            _exit(2);
        (void)!ls_file_pwrite(file, "abcdef", 6, 0);
        _exit(3);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    check_content(path, "abcDEF", 6);
    unlink(path);
}

static void test_log_appends_or_truncates(void **state) {
    (void)state;
    const char *path = check_path("log.jsonl");
    ls_file_log *log;
    check_ok(ls_file_log_open(path, 1, &log));
    check_ok(ls_file_log_write(log, "a\n", 2));
    ls_file_log_close(log);
    check_ok(ls_file_log_open(path, 0, &log));
    check_ok(ls_file_log_write(log, "b\n", 2));
    ls_file_log_close(log);
    check_content(path, "a\nb\n", 4);
    check_ok(ls_file_log_open(path, 1, &log));
    ls_fs_fail_at(1, EDQUOT);
    check_fails(ls_file_log_write(log, "c\n", 2), LS_ERR_NO_SPACE, "log.jsonl");
    ls_file_log_close(log);
    ls_file_log_close(NULL);
    check_content(path, "", 0);
    unlink(path);
    check_fails(ls_file_log_open("no/such/folder/log", 0, &log), LS_ERR_NOT_FOUND, "open");
}

static void test_folders_are_made_listed_renamed_and_removed(void **state) {
    (void)state;
    const char *root = check_path("tree");
    char path[700], moved[700];
    snprintf(path, sizeof path, "%s/a/b//c/", root);
    check_ok(ls_dir_make(path));
    check_ok(ls_dir_make(path)); /* again is fine */
    assert_true(ls_path_is_dir(path));
    check_ok(ls_dir_sync(path));
    static const char *const names[] = {"zeta", "alpha", "Mid"};
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/a/%s", root, names[i]);
        check_ok(ls_file_write_atomic(path, names[i], 3));
        check_fails(ls_dir_make(path), LS_ERR_IO, "make the folder");
    }
    snprintf(path, sizeof path, "%s/a", root);
    char **listed;
    int n;
    check_ok(ls_dir_list(path, &listed, &n));
    assert_int_equal(n, 4);
    static const char *const sorted[] = {"Mid", "alpha", "b", "zeta"};
    for (int i = 0; i < n; i++) {
        assert_string_equal(listed[i], sorted[i]);
        ls_free(listed[i]);
    }
    ls_free(listed);
    snprintf(moved, sizeof moved, "%s/moved", root);
    check_ok(ls_path_rename(path, moved));
    assert_false(ls_path_exists(path));
    check_fails(ls_path_rename(path, moved), LS_ERR_NOT_FOUND, "rename to");
    check_ok(ls_dir_remove(root));
    assert_false(ls_path_exists(root));
    check_fails(ls_dir_list(root, &listed, &n), LS_ERR_NOT_FOUND, "list");
    check_fails(ls_dir_remove(root), LS_ERR_NOT_FOUND, "open the folder");
}

static void test_removal_does_not_follow_links(void **state) {
    (void)state;
    const char *outside = check_path("outside"), *root = check_path("links");
    char path[700];
    check_ok(ls_dir_make(outside));
    snprintf(path, sizeof path, "%s/keep", outside);
    check_ok(ls_file_write_atomic(path, "x", 1));
    check_ok(ls_dir_make(root));
    char link[700];
    snprintf(link, sizeof link, "%s/link", root);
    assert_int_equal(symlink(outside, link), 0);
    check_fails(ls_dir_remove(link), LS_ERR_IO, "open the folder");
    check_ok(ls_dir_remove(root));
    assert_true(ls_path_exists(path));
    check_ok(ls_dir_remove(outside));
}

static void test_unsafe_removals_are_refused(void **state) {
    (void)state;
    static const char *const paths[] = {"",  "/",  "//",   "/.",   "/..",
                                        ".", "..", "x/..", "x/./", "./"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        check_fails(ls_dir_remove(paths[i]), LS_ERR_INVALID, "refusing to remove");
    check_fails(ls_dir_make(""), LS_ERR_INVALID, "empty name");
    check_fails(ls_dir_make("/dev/null"), LS_ERR_IO, "/dev/null: a file has that name");
    check_fails(ls_dir_make("/dev/null/x"), LS_ERR_IO, "/dev/null: a file has that name");
    /* The reason is mkdir's, not that of the look whether it is there already: nobody may make folders there. */
    if (ls_path_is_dir("/sys/kernel")) {
        assert_true(ls_dir_make("/sys/kernel/lockstep") != LS_OK);
        if (strstr(ls_error_message(), "No such file")) fail_msg("%s", ls_error_message());
    }
}

static ls_status use_files(void *user) {
    const char *root = user;
    char path[700];
    snprintf(path, sizeof path, "%s/d/x", root);
    LS_TRY(ls_dir_make(root));
    snprintf(path, sizeof path, "%s/x", root);
    LS_TRY(ls_file_write_atomic(path, "abc", 3));
    ls_file_log *log;
    LS_TRY(ls_file_log_open(path, 0, &log));
    ls_status status = ls_file_log_write(log, "def", 3);
    ls_file_log_close(log);
    LS_TRY(status);
    char *data, **names;
    size_t bytes;
    LS_TRY(ls_file_read(path, &data, &bytes));
    ls_free(data);
    LS_TRY(ls_file_read("/proc/self/smaps", &data, &bytes)); /* grows its buffer */
    ls_free(data);
    int n;
    LS_TRY(ls_dir_list(root, &names, &n));
    for (int i = 0; i < n; i++) ls_free(names[i]);
    ls_free(names);
    return LS_OK;
}

static void test_torture(void **state) {
    (void)state;
    char root[512];
    snprintf(root, sizeof root, "%s", check_path("torture"));
    assert_true(check_torture(use_files, root) > 10);
    check_ok(ls_dir_remove(root));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write_and_read),
        cmocka_unit_test(test_read_of_files_without_a_size),
        cmocka_unit_test(test_read_errors_name_the_path),
        cmocka_unit_test(test_map),
        cmocka_unit_test(test_aborted_write_leaves_nothing),
        cmocka_unit_test(test_every_write_sync_and_rename_may_fail),
        cmocka_unit_test(test_files_at_positions),
        cmocka_unit_test(test_torn_writes),
        cmocka_unit_test(test_a_disk_that_is_full_for_a_while),
        cmocka_unit_test(test_a_tear_waits_for_its_write),
        cmocka_unit_test(test_log_appends_or_truncates),
        cmocka_unit_test(test_folders_are_made_listed_renamed_and_removed),
        cmocka_unit_test(test_removal_does_not_follow_links),
        cmocka_unit_test(test_unsafe_removals_are_refused),
        cmocka_unit_test(test_torture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
