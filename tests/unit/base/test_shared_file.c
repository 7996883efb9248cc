/* Shared memory by descriptor: zeros, right size, seen by others through /proc, in huge pages where the system gives them. */
#include "base/shared_file.h"
#include "unit/base/check.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { HUGE = 2 << 20, SMALL = 3 * 4096 + 5, LARGE = 33 * HUGE + 4096 };

static void test_sizes(void **state) {
    static const uint64_t sizes[] = {1, SMALL, 15 << 20, 16 << 20, LARGE};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        int fd = -1;
        struct stat info;
        char last = 1;
        assert_int_equal(ls_shared_file_create("lockstep-test", sizes[i], &fd), LS_OK);
        assert_int_equal(fstat(fd, &info), 0);
        assert_int_equal(info.st_size, sizes[i]);
        assert_int_equal(info.st_uid, geteuid());
        assert_int_equal(pread(fd, &last, 1, (off_t)sizes[i] - 1), 1);
        assert_int_equal(last, 0);
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        const int64_t page = ls_shared_file_page_bytes(fd);
        assert_true(page == 4096 || (page == HUGE && sizes[i] >= 16 << 20));
        assert_int_equal(close(fd), 0);
    }
}

/* As peers map each other's memory: through /proc/PID/fd, read-only; what one writes the other sees. */
static void test_peer(void **state) {
    (void)state;
    int fd = -1, ended = -1;
    char path[64];
    assert_int_equal(ls_shared_file_create("lockstep-test", LARGE, &fd), LS_OK);
    char *mine = mmap(NULL, LARGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(mine, MAP_FAILED);
    memset(mine, 7, LARGE);
    (void)snprintf(path, sizeof path, "/proc/%d/fd/%d", getpid(), fd);
    const pid_t pid = fork();
    if (pid == 0) {
        const int theirs = open(path, O_RDONLY | O_CLOEXEC);
        const char *seen = mmap(NULL, LARGE, PROT_READ, MAP_SHARED, theirs, 0);
        _exit(theirs < 0 ? 1 : seen == MAP_FAILED ? 2 : seen[LARGE - 1] != 7 ? 3 : 0);
    }
    assert_int_equal(waitpid(pid, &ended, 0), pid);
    assert_true(WIFEXITED(ended));
    assert_int_equal(WEXITSTATUS(ended), 0);
    (void)munmap(mine, LARGE);
    (void)close(fd);
}

/* kB of the process's shared memory that is mapped by huge pages. */
static long count_huge_kilobytes(void) {
    char line[256];
    long sum = 0, kilobytes;
    FILE *file = fopen("/proc/self/smaps", "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "ShmemPmdMapped: %ld kB", &kilobytes) == 1) sum += kilobytes;
    if (file) fclose(file);
    return sum;
}

static void test_huge_pages(void **state) {
    (void)state;
    int fd = -1;
    assert_int_equal(ls_shared_file_create("lockstep-test", LARGE, &fd), LS_OK);
    if (ls_shared_file_page_bytes(fd) != HUGE) {
        (void)close(fd);
        print_message("no tmpfs of one's own here (no CAP_SYS_ADMIN and no user namespaces, or an "
                      "older kernel): skipped\n");
        skip();
    }
    const long before = count_huge_kilobytes();
    char *mine = mmap(NULL, LARGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(mine, MAP_FAILED);
    memset(mine, 1, LARGE);
    const long huge = count_huge_kilobytes() - before;
    (void)munmap(mine, LARGE);
    (void)close(fd);
    if (huge == 0) {
        print_message("no huge page was free: skipped\n");
        skip();
    }
    assert_true(huge % (HUGE / 1024) == 0 && huge <= (LARGE + HUGE) / 1024);
}

static void test_too_large(void **state) {
    (void)state;
    int fd = -1;
    check_fails(ls_shared_file_create("lockstep-test", UINT64_MAX, &fd), LS_ERR_NO_MEMORY,
                "18446744073709551615 bytes of shared memory");
    assert_int_equal(fd, -1);
}

static int count_descriptors(void) {
    int n = 0;
    for (int fd = 0; fd < 256; fd++) n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* Sizes that no file can have: an error that names them, nothing written, nothing left open. */
static void test_impossible_sizes(void **state) {
    static const uint64_t sizes[] = {UINT64_MAX, 1ull << 63, INT64_MAX};
    (void)state;
    const int before = count_descriptors();
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        int fd = 4711;
        char bytes[32];
        (void)snprintf(bytes, sizeof bytes, "%llu bytes of", (unsigned long long)sizes[i]);
        /* A kernel may well make a file of 2^63 - 1 bytes: without any in it. */
        if (sizes[i] == INT64_MAX &&
            ls_shared_file_create("lockstep-test", sizes[i], &fd) == LS_OK) {
            assert_int_equal(close(fd), 0);
            continue;
        }
        check_fails(ls_shared_file_create("lockstep-test", sizes[i], &fd), LS_ERR_NO_MEMORY, bytes);
        assert_int_equal(fd, 4711);
    }
    assert_int_equal(count_descriptors(), before);
    assert_int_equal(ls_shared_file_page_bytes(-1), 0);
}

static void test_no_descriptors(void **state) {
    struct rlimit limit, none;
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = limit;
    none.rlim_cur = 0;
    for (uint64_t bytes = 1; bytes <= LARGE; bytes += LARGE - 1) {
        int fd = 4711;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
        ls_error_clear();
        const ls_status status = ls_shared_file_create("lockstep-test", bytes, &fd);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        assert_int_equal(status, LS_ERR_NO_MEMORY);
        assert_non_null(strstr(ls_error_message(), "no shared memory: Too many open files"));
        assert_int_equal(fd, 4711);
    }
}

/* Who is not root gets the same file, by a namespace of its own or without huge pages. */
static void test_other_user(void **state) {
    int ended = -1;
    (void)state;
    const pid_t pid = fork();
    if (pid == 0) {
        int fd = -1;
        struct stat info;
        char last = 1;
        if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) _exit(0);
        if (ls_shared_file_create("lockstep-test", LARGE, &fd) != LS_OK) _exit(1);
        if (fstat(fd, &info) != 0 || info.st_size != LARGE || info.st_uid != geteuid()) _exit(2);
        if (pwrite(fd, "x", 1, LARGE - 1) != 1 || pread(fd, &last, 1, LARGE - 1) != 1) _exit(3);
        _exit(last == 'x' ? 0 : 4);
    }
    assert_int_equal(waitpid(pid, &ended, 0), pid);
    assert_true(WIFEXITED(ended));
    assert_int_equal(WEXITSTATUS(ended), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_impossible_sizes),
        cmocka_unit_test(test_no_descriptors),
        cmocka_unit_test(test_other_user),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_peer),
        cmocka_unit_test(test_huge_pages),
        cmocka_unit_test(test_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
