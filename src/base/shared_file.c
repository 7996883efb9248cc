#include "base/shared_file.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
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

/* -1: not for this user, or an older kernel. Calls nothing that a child of a process with threads may not. */
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

typedef struct id_maps {
    char user[48], group[48]; /* "ID ID 1" */
} id_maps;

static int send_descriptor(int socket, int fd) {
    char byte = 0;
    struct iovec io = {&byte, 1};
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr message = {.msg_iov = &io,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(head), &fd, sizeof fd);
    return sendmsg(socket, &message, MSG_NOSIGNAL) == 1 ? 0 : -1;
}

static int receive_descriptor(int socket) {
    char byte;
    struct iovec io = {&byte, 1};
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr message = {.msg_iov = &io,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    ssize_t n;
    while ((n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) continue;
    const struct cmsghdr *head = n == 1 ? CMSG_FIRSTHDR(&message) : NULL;
    int fd = -1;
    if (head && head->cmsg_type == SCM_RIGHTS) memcpy(&fd, CMSG_DATA(head), sizeof fd);
    return fd;
}

/* The child: in a user namespace of its own, where it may make a tmpfs. Its ids are mapped to themselves, so that the file is this
 * user's. */
static void make_in_namespace(int socket, const id_maps *maps) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return;
    if (write_text("/proc/self/setgroups", "deny", 4) != 0) return;
    if (write_text("/proc/self/uid_map", maps->user, strlen(maps->user)) != 0) return;
    if (write_text("/proc/self/gid_map", maps->group, strlen(maps->group)) != 0) return;
    const int fd = open_huge_file();
    if (fd >= 0) (void)send_descriptor(socket, fd);
}

static int ask_child(void) {
    int ends[2];
    id_maps maps;
    (void)snprintf(maps.user, sizeof maps.user, "%u %u 1", geteuid(), geteuid());
    (void)snprintf(maps.group, sizeof maps.group, "%u %u 1", getegid(), getegid());
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return -1;
    const pid_t pid = fork();
    if (pid == 0) {
        make_in_namespace(ends[1], &maps);
        _exit(0);
    }
    (void)close(ends[1]);
    const int fd = pid > 0 ? receive_descriptor(ends[0]) : -1;
    (void)close(ends[0]);
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR) continue;
    return fd;
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
