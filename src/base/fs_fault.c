/* The fault hook over every write, fsync, rename, link and creation of a file. */
#include "base/config.h"
#include "base/fs.h"
#include "base/fs_internal.h"
#include "base/log.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The countdown runs to 1, the operation that fails, and then 0; below 0 every operation fails. fail_left: how many fail from there. */
static _Atomic int64_t n_operations, fail_countdown, fail_left;
static atomic_int fail_errno, fail_kind;
static pthread_once_t read_once = PTHREAD_ONCE_INIT;

static void set_fault(int64_t n, int64_t count, ls_fs_fault kind, int error_number) {
    atomic_store(&fail_left, count);
    atomic_store(&fail_errno, error_number);
    atomic_store(&fail_kind, (int)kind);
    atomic_store(&fail_countdown, n);
}

/* Whoever asks for a fault must not get a run without one in silence. */
static void read_environment(void) {
    static const char *const kinds[] = {"fail", "torn", "kill"};
    const char *text = ls_config_env("LOCKSTEP_FS_FAULT");
    long long n = 0;
    char kind[8] = "", rest = 0;
    if (!text) return;
    if (sscanf(text, "n=%lld,kind=%7[a-z]%c", &n, kind, &rest) == 2 && n > 0)
        for (int k = 0; k < 3; k++)
            if (strcmp(kind, kinds[k]) == 0) {
                set_fault(n, 1, (ls_fs_fault)k, EIO);
                return;
            }
    ls_log(LS_LOG_WARN,
           "LOCKSTEP_FS_FAULT must be like n=37,kind=torn (fail, torn or kill), got '%s'", text);
}

void ls_fs_fault_at(int64_t n, ls_fs_fault kind, int error_number) {
    (void)pthread_once(&read_once, read_environment); /* so that it cannot come later and win */
    set_fault(n, 1, kind, error_number);
}

void ls_fs_fail_at(int64_t n, int error_number) {
    ls_fs_fault_at(n, LS_FS_FAULT_FAIL, error_number);
}

void ls_fs_fail_for(int64_t count, int error_number) {
    (void)pthread_once(&read_once, read_environment);
    set_fault(count > 0 ? 1 : 0, count, LS_FS_FAULT_FAIL, error_number);
}

int64_t ls_fs_op_count(void) {
    return atomic_load(&n_operations);
}

static int is_hit(int is_write) {
    (void)pthread_once(&read_once, read_environment);
    atomic_fetch_add(&n_operations, 1);
    int64_t left = atomic_load(&fail_countdown);
    if (left == 0 || (!is_write && atomic_load(&fail_kind) == LS_FS_FAULT_TEAR)) return 0;
    while (left > 1 && !atomic_compare_exchange_weak(&fail_countdown, &left, left - 1)) {
    }
    if (left != 1) return left < 0;
    const int64_t n = atomic_fetch_sub(&fail_left, 1);
    if (n <= 1) atomic_store(&fail_countdown, 0);
    return n >= 1;
}

int ls_fs_inject_write(int fd, const void *data, size_t bytes, int64_t offset) {
    if (!is_hit(data != NULL)) return 0;
    const int kind = atomic_load(&fail_kind);
    if (kind != LS_FS_FAULT_FAIL && bytes / 2 > 0) {
        const ssize_t n =
            offset < 0 ? write(fd, data, bytes / 2) : pwrite(fd, data, bytes / 2, offset);
        (void)n; /* half, or less of it: torn either way */
    }
    if (kind == LS_FS_FAULT_KILL || kind == LS_FS_FAULT_TEAR) (void)kill(getpid(), SIGKILL);
    errno = atomic_load(&fail_errno);
    return 1;
}

int ls_fs_inject(void) {
    return ls_fs_inject_write(-1, NULL, 0, -1);
}
