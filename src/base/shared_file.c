#include "base/shared_file.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef SYS_fsopen
#include <linux/mount.h>
#endif

/* Below it, huge pages would be mostly empty. */
static const uint64_t least_huge_bytes = 16 << 20;

/* --- a tmpfs that nothing is mounted on -------------------------------------------------------------------------- */

#ifdef SYS_fsopen
static int set_option(int fs, const char *key, const char *value) {
    return (int)syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, key, value, 0);
}

/* -1: not for this user, or an older kernel. */
static int open_huge_file(void) {
    const int fs = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);
    if (fs < 0) return -1;
    int root = -1, file = -1;
    if (set_option(fs, "huge", "always") == 0 && set_option(fs, "size", "0") == 0 &&
        syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
        root = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
    if (root >= 0) file = openat(root, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (root >= 0) (void)close(root);
    (void)close(fs);
    return file;
}

static int write_text(const char *path, const char *text, size_t bytes) {
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    const ssize_t n = write(fd, text, bytes);
    (void)close(fd);
    return n == (ssize_t)bytes ? 0 : -1;
}

typedef struct child_job {
    char user_map[48], group_map[48]; /* "ID ID 1" */
    int fd;
} child_job;

/* The child: in a user namespace of its own, where it may make a tmpfs. Its ids are mapped to themselves, so that the file is this
 * user's. */
static int make_in_namespace(void *user) {
    child_job *job = user;
    if (write_text("/proc/self/setgroups", "deny", 4) != 0) return 1;
    if (write_text("/proc/self/uid_map", job->user_map, strlen(job->user_map)) != 0) return 1;
    if (write_text("/proc/self/gid_map", job->group_map, strlen(job->group_map)) != 0) return 1;
    job->fd = open_huge_file();
    return 0;
}

/* The child shares memory and descriptors with this thread, which waits: nothing is copied on write (memory that a network card
 * writes to must not be), and nobody is told by a signal. */
static int ask_child(void) {
    enum { STACK_BYTES = 64 << 10 };
    char stack[STACK_BYTES] __attribute__((aligned(64)));
    const int flags = CLONE_VM | CLONE_VFORK | CLONE_FILES | CLONE_NEWUSER | CLONE_NEWNS;
    child_job job = {.fd = -1};
    (void)snprintf(job.user_map, sizeof job.user_map, "%u %u 1", geteuid(), geteuid());
    (void)snprintf(job.group_map, sizeof job.group_map, "%u %u 1", getegid(), getegid());
    const pid_t pid = clone(make_in_namespace, stack + STACK_BYTES, flags, &job);
    while (pid > 0 && waitpid(pid, NULL, __WCLONE) < 0 && errno == EINTR) continue;
    return job.fd;
}

static int create_huge(void) {
    const int fd = open_huge_file();
    return fd >= 0 ? fd : ask_child();
}
#else
static int create_huge(void) {
    return -1;
}
#endif

/* --- either ------------------------------------------------------------------------------------------------------ */

ls_status ls_shared_file_create(const char *name, uint64_t bytes, int *fd_out) {
    int fd = bytes >= least_huge_bytes ? create_huge() : -1;
    if (fd >= 0 && ftruncate(fd, (off_t)bytes) != 0) {
        (void)close(fd);
        fd = -1;
    }
    if (fd < 0) fd = memfd_create(name, MFD_CLOEXEC);
    if (fd < 0) return LS_FAIL(LS_ERR_NO_MEMORY, "no shared memory: %s", strerror(errno));
    if (ftruncate(fd, (off_t)bytes) == 0) {
        *fd_out = fd;
        return LS_OK;
    }
    const int error = errno;
    (void)close(fd);
    return LS_FAIL(LS_ERR_NO_MEMORY, "%llu bytes of shared memory: %s", (unsigned long long)bytes,
                   strerror(error));
}

int64_t ls_shared_file_page_bytes(int fd) {
    struct stat info;
    return fstat(fd, &info) == 0 ? (int64_t)info.st_blksize : 0;
}
