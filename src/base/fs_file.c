/* Files that are read and written at positions. */
#include "base/alloc.h"
#include "base/fs.h"
#include "base/fs_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const size_t largest_transfer = (size_t)1 << 30;

struct ls_file {
    int fd;
    char *path;
};

static ls_status open_file(const char *path, int flags, const char *verb, ls_file **out) {
    ls_file *file = ls_alloc(sizeof *file);
    if (!file) return LS_ERR_NO_MEMORY;
    file->fd = -1;
    file->path = ls_strdup(path);
    ls_status status = file->path ? LS_OK : LS_ERR_NO_MEMORY;
    if (status == LS_OK && (file->fd = open(path, flags | O_CLOEXEC, 0666)) < 0)
        status = ls_fs_fail(errno, verb, path);
    if (status != LS_OK) {
        ls_file_close(file);
        return status;
    }
    *out = file;
    return LS_OK;
}

ls_status ls_file_create(const char *path, int64_t bytes, ls_file **out) {
    ls_file *file = NULL;
    if (ls_fs_inject()) return ls_fs_fail(errno, "create", path);
    LS_TRY(open_file(path, O_RDWR | O_CREAT | O_EXCL, "create", &file));
    if (ftruncate(file->fd, bytes) != 0) {
        const ls_status status = ls_fs_fail(errno, "give its size to", path);
        ls_file_close(file);
        return status;
    }
    *out = file;
    return LS_OK;
}

ls_status ls_file_open(const char *path, int writable, ls_file **out) {
    return open_file(path, writable ? O_RDWR : O_RDONLY, "open", out);
}

ls_status ls_file_size(const ls_file *file, int64_t *bytes_out) {
    struct stat info;
    if (fstat(file->fd, &info) != 0) return ls_fs_fail(errno, "look at", file->path);
    if (!S_ISREG(info.st_mode)) return ls_fs_fail(EINVAL, "read", file->path);
    *bytes_out = info.st_size;
    return LS_OK;
}

ls_status ls_path_bytes(const char *path, int64_t *bytes_out) {
    struct stat info;
    if (stat(path, &info) != 0) return ls_fs_fail(errno, "look at", path);
    if (!S_ISREG(info.st_mode)) return ls_fs_fail(EINVAL, "read", path);
    *bytes_out = info.st_size;
    return LS_OK;
}

ls_status ls_file_pwrite(ls_file *file, const void *data, size_t bytes, int64_t offset) {
    const char *at = data;
    while (bytes > 0) {
        const size_t part = bytes < largest_transfer ? bytes : largest_transfer;
        const ssize_t n = ls_fs_inject_write(file->fd, at, part, offset)
                              ? -1
                              : pwrite(file->fd, at, part, offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return ls_fs_fail(errno, "write", file->path);
        at += n;
        offset += n;
        bytes -= (size_t)n;
    }
    return LS_OK;
}

ls_status ls_file_pread(const ls_file *file, void *data, size_t bytes, int64_t offset) {
    char *at = data;
    while (bytes > 0) {
        const size_t part = bytes < largest_transfer ? bytes : largest_transfer;
        const ssize_t n = pread(file->fd, at, part, offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return ls_fs_fail(errno, "read", file->path);
        if (n == 0)
            return LS_FAIL(LS_ERR_FORMAT, "%s ends at byte %lld; %zu more should follow",
                           file->path, (long long)offset, bytes);
        at += n;
        offset += n;
        bytes -= (size_t)n;
    }
    return LS_OK;
}

void ls_file_start_sync(ls_file *file, size_t bytes, int64_t offset) {
    (void)sync_file_range(file->fd, offset, (off_t)bytes, SYNC_FILE_RANGE_WRITE); /* only a wish */
}

ls_status ls_file_sync(ls_file *file) {
    if (ls_fs_inject() || fsync(file->fd) != 0) return ls_fs_fail(errno, "sync", file->path);
    return LS_OK;
}

void ls_file_close(ls_file *file) {
    if (!file) return;
    if (file->fd >= 0) close(file->fd);
    ls_free(file->path);
    ls_free(file);
}
