/* Writing: atomic replacement and append-only logs. */
#include "base/alloc.h"
#include "base/fs.h"
#include "base/fs_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const size_t write_chunk_bytes = (size_t)1 << 30;

struct ls_file_writer {
    int fd;
    char *path, *temporary;
};

struct ls_file_log {
    int fd;
    char *path;
};

static ls_status write_fully(int fd, const char *path, const void *data, size_t bytes) {
    const char *at = data;
    while (bytes > 0) {
        const size_t chunk = bytes < write_chunk_bytes ? bytes : write_chunk_bytes;
        const ssize_t n = ls_fs_inject_write(fd, at, chunk, -1) ? -1 : write(fd, at, chunk);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return ls_fs_fail(errno, "write", path);
        at += n;
        bytes -= (size_t)n;
    }
    return LS_OK;
}

/* Syncs the folder that holds `path`, so that a rename in it survives a crash. */
static ls_status sync_parent(const char *path) {
    char *folder = ls_strdup(path);
    if (!folder) return LS_ERR_NO_MEMORY;
    char *slash = strrchr(folder, '/');
    if (slash == folder)
        slash[1] = '\0';
    else if (slash)
        *slash = '\0';
    const ls_status status = ls_dir_sync(slash ? folder : ".");
    ls_free(folder);
    return status;
}

ls_status ls_path_rename(const char *from, const char *to) {
    if (ls_fs_inject() || rename(from, to) != 0)
        return ls_error_prefix(ls_fs_fail(errno, "rename to", to), "%s", from);
    return sync_parent(to);
}

ls_status ls_path_exchange(const char *a, const char *b) {
    const int failed = ls_fs_inject() || renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) != 0;
    if (failed && (errno == ENOSYS || errno == EINVAL))
        return LS_FAIL(LS_ERR_UNSUPPORTED, "%s: this file system cannot swap two paths", b);
    if (failed) return ls_error_prefix(ls_fs_fail(errno, "swap with", b), "%s", a);
    return sync_parent(b);
}

ls_status ls_path_link(const char *from, const char *to) {
    if (!ls_fs_inject() && link(from, to) == 0) return LS_OK;
    const int error = errno;
    if (error == EPERM || error == EXDEV || error == EMLINK || error == ENOSYS ||
        error == EOPNOTSUPP)
        return LS_FAIL(LS_ERR_UNSUPPORTED, "%s: this file system cannot link it: %s", to,
                       strerror(error));
    return ls_error_prefix(ls_fs_fail(error, "link as", to), "%s", from);
}

static void free_writer(ls_file_writer *writer) {
    if (writer->fd >= 0) close(writer->fd);
    ls_free(writer->path);
    ls_free(writer->temporary);
    ls_free(writer);
}

ls_status ls_file_writer_begin(const char *path, ls_file_writer **out) {
    ls_file_writer *writer = ls_alloc(sizeof *writer);
    if (!writer) return LS_ERR_NO_MEMORY;
    writer->fd = -1;
    writer->path = ls_strdup(path);
    if (writer->path) writer->temporary = ls_format("%s.tmp.%ld", path, (long)getpid());
    ls_status status = writer->temporary ? LS_OK : LS_ERR_NO_MEMORY;
    if (status == LS_OK) {
        writer->fd = open(writer->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        if (writer->fd < 0) status = ls_fs_fail(errno, "create", writer->temporary);
    }
    if (status != LS_OK) {
        free_writer(writer);
        return status;
    }
    *out = writer;
    return LS_OK;
}

ls_status ls_file_writer_write(ls_file_writer *writer, const void *data, size_t bytes) {
    return write_fully(writer->fd, writer->path, data, bytes);
}

/* fsync, close, rename, sync of the folder; close can report a write that failed late. */
static ls_status finish_writer(ls_file_writer *writer) {
    if (ls_fs_inject() || fsync(writer->fd) != 0) return ls_fs_fail(errno, "sync", writer->path);
    const int closed = close(writer->fd);
    writer->fd = -1;
    if (closed != 0) return ls_fs_fail(errno, "close", writer->path);
    return ls_path_rename(writer->temporary, writer->path);
}

ls_status ls_file_writer_commit(ls_file_writer *writer) {
    const ls_status status = finish_writer(writer);
    if (status != LS_OK)
        (void)unlink(writer->temporary); /* gone already when only the sync failed */
    free_writer(writer);
    return status;
}

void ls_file_writer_abort(ls_file_writer *writer) {
    if (!writer) return;
    (void)unlink(writer->temporary);
    free_writer(writer);
}

ls_status ls_file_write_atomic(const char *path, const void *data, size_t bytes) {
    ls_file_writer *writer;
    LS_TRY(ls_file_writer_begin(path, &writer));
    const ls_status status = ls_file_writer_write(writer, data, bytes);
    if (status == LS_OK) return ls_file_writer_commit(writer);
    ls_file_writer_abort(writer);
    return status;
}

ls_status ls_file_log_open(const char *path, int truncate, ls_file_log **out) {
    ls_file_log *log = ls_alloc(sizeof *log);
    if (!log) return LS_ERR_NO_MEMORY;
    log->path = ls_strdup(path);
    if (!log->path) {
        ls_free(log);
        return LS_ERR_NO_MEMORY;
    }
    const int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (truncate ? O_TRUNC : 0);
    log->fd = open(path, flags, 0666);
    if (log->fd < 0) {
        const ls_status status = ls_fs_fail(errno, "open", path);
        ls_file_log_close(log);
        return status;
    }
    *out = log;
    return LS_OK;
}

ls_status ls_file_log_write(ls_file_log *log, const void *data, size_t bytes) {
    return write_fully(log->fd, log->path, data, bytes);
}

void ls_file_log_close(ls_file_log *log) {
    if (!log) return;
    if (log->fd >= 0) close(log->fd);
    ls_free(log->path);
    ls_free(log);
}
