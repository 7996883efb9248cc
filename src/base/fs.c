/* Reading whole files, maps and folders. */
#include "base/fs.h"
#include "base/alloc.h"
#include "base/fs_internal.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LARGEST_DEPTH = 128, FIRST_READ_BYTES = 4096 };

ls_status ls_fs_fail(int error_number, const char *verb, const char *path) {
    ls_status code = LS_ERR_IO;
    if (error_number == ENOENT) code = LS_ERR_NOT_FOUND;
    if (error_number == ENOSPC || error_number == EDQUOT) code = LS_ERR_NO_SPACE;
    if (error_number == ENOMEM) code = LS_ERR_NO_MEMORY;
    return LS_FAIL(code, "cannot %s %s: %s", verb, path, strerror(error_number));
}

/* Opens for reading and refuses folders, which open(2) would accept. */
static ls_status open_to_read(const char *path, int *fd_out, struct stat *info) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return ls_fs_fail(errno, "open", path);
    int error = fstat(fd, info) != 0 ? errno : 0;
    if (!error && S_ISDIR(info->st_mode)) error = EISDIR;
    if (error) {
        close(fd);
        return ls_fs_fail(error, "read", path);
    }
    *fd_out = fd;
    return LS_OK;
}

/* The size of a pipe or of a file in /proc is not known beforehand, so this reads until the end. */
static ls_status read_all(int fd, const char *path, char **data, size_t *bytes, int64_t capacity) {
    for (;;) {
        if ((int64_t)*bytes + 1 >= capacity) {
            void *items = *data;
            const ls_status status = ls_array_reserve(&items, &capacity, capacity + 1, 1);
            *data = items;
            if (status != LS_OK) return status;
        }
        const ssize_t n = read(fd, *data + *bytes, (size_t)capacity - *bytes - 1);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return ls_fs_fail(errno, "read", path);
        if (n == 0) return LS_OK;
        *bytes += (size_t)n;
    }
}

ls_status ls_file_read(const char *path, char **data_out, size_t *bytes_out) {
    int fd;
    struct stat info;
    LS_TRY(open_to_read(path, &fd, &info));
    /* One byte for the NUL and one so that the read at the end of the file finds room. */
    const int64_t capacity = info.st_size > 0 ? info.st_size + 2 : FIRST_READ_BYTES;
    char *data = ls_alloc((size_t)capacity);
    size_t bytes = 0;
    const ls_status status = data ? read_all(fd, path, &data, &bytes, capacity) : LS_ERR_NO_MEMORY;
    close(fd);
    if (status != LS_OK) {
        ls_free(data);
        return status;
    }
    data[bytes] = '\0';
    *data_out = data;
    *bytes_out = bytes;
    return LS_OK;
}

ls_status ls_map_open(const char *path, ls_map *out) {
    int fd;
    struct stat info;
    LS_TRY(open_to_read(path, &fd, &info));
    ls_map map = {NULL, (size_t)info.st_size};
    int error = 0;
    if (!S_ISREG(info.st_mode)) {
        error = EINVAL;
    } else if (map.bytes > 0) {
        void *base = mmap(NULL, map.bytes, PROT_READ, MAP_PRIVATE, fd, 0);
        if (base == MAP_FAILED)
            error = errno;
        else
            map.data = base;
    }
    close(fd);
    if (error) return ls_fs_fail(error, "map", path);
    *out = map;
    return LS_OK;
}

void ls_map_close(ls_map *map) {
    if (map->data) (void)munmap((void *)(uintptr_t)map->data, map->bytes);
    *map = (ls_map){NULL, 0};
}

int ls_path_exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0;
}

int ls_path_is_dir(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

int ls_file_read_start(const char *path, char *text, size_t room) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    const ssize_t n = read(fd, text, room - 1);
    (void)close(fd);
    if (n <= 0) return 0;
    text[n] = '\0';
    return 1;
}

ls_status ls_dir_make(const char *path) {
    if (path[0] == '\0') return LS_FAIL(LS_ERR_INVALID, "cannot make a folder with an empty name");
    char *part = ls_strdup(path);
    if (!part) return LS_ERR_NO_MEMORY;
    ls_status status = LS_OK;
    for (char *at = part + 1; status == LS_OK; at++) {
        if (*at != '/' && *at != '\0') continue;
        const char held = *at;
        *at = '\0';
        const int error = mkdir(part, 0777) != 0 ? errno : 0;
        if (error && !ls_path_is_dir(part))
            status =
                error == EEXIST
                    ? LS_FAIL(LS_ERR_IO, "cannot make the folder %s: a file has that name", part)
                    : ls_fs_fail(error, "make the folder", part);
        *at = held;
        if (held == '\0') break;
    }
    ls_free(part);
    return status;
}

ls_status ls_dir_sync(const char *path) {
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return ls_fs_fail(errno, "open the folder", path);
    /* Some filesystems cannot sync a folder and say EINVAL: there is nothing to wait for. */
    const int error = ls_fs_inject() || (fsync(fd) != 0 && errno != EINVAL) ? errno : 0;
    close(fd);
    return error ? ls_fs_fail(error, "sync the folder", path) : LS_OK;
}

static int is_dot_or_dots(const char *name) {
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static ls_status remove_contents(int fd, const char *path, int depth);

static ls_status remove_entry(int folder_fd, const char *name, const char *path, int depth) {
    if (unlinkat(folder_fd, name, 0) == 0 || errno == ENOENT) return LS_OK;
    if (errno != EISDIR && errno != EPERM) return ls_fs_fail(errno, "remove a file in", path);
    const int fd = openat(folder_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return ls_fs_fail(errno, "open a folder in", path);
    LS_TRY(remove_contents(fd, path, depth + 1));
    if (unlinkat(folder_fd, name, AT_REMOVEDIR) != 0)
        return ls_fs_fail(errno, "remove a folder in", path);
    return LS_OK;
}

/* Closes fd. Symbolic links are removed, not followed. */
static ls_status remove_contents(int fd, const char *path, int depth) {
    DIR *folder = depth < LARGEST_DEPTH ? fdopendir(fd) : NULL;
    if (!folder) {
        const int error = depth < LARGEST_DEPTH ? errno : ELOOP;
        close(fd);
        return ls_fs_fail(error, "list", path);
    }
    ls_status status = LS_OK;
    for (const struct dirent *entry; status == LS_OK && (entry = readdir(folder)) != NULL;)
        if (!is_dot_or_dots(entry->d_name))
            status = remove_entry(dirfd(folder), entry->d_name, path, depth);
    closedir(folder);
    return status;
}

/* Whether the path ends in "/", "." or "..", or is empty: not the name of a folder that may be removed. */
static int is_unsafe_to_remove(const char *path) {
    size_t n = strlen(path);
    while (n > 0 && path[n - 1] == '/') n--;
    if (n == 0) return 1;
    size_t start = n;
    while (start > 0 && path[start - 1] != '/') start--;
    const char *last = path + start;
    return (n - start == 1 && last[0] == '.') ||
           (n - start == 2 && last[0] == '.' && last[1] == '.');
}

ls_status ls_dir_remove(const char *path) {
    if (is_unsafe_to_remove(path))
        return LS_FAIL(LS_ERR_INVALID, "refusing to remove '%s': name one folder below the root",
                       path);
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return ls_fs_fail(errno, "open the folder", path);
    LS_TRY(remove_contents(fd, path, 0));
    if (rmdir(path) != 0) return ls_fs_fail(errno, "remove the folder", path);
    return LS_OK;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static ls_status list_into(DIR *folder, const char *path, char ***names, int64_t *n) {
    int64_t capacity = 0;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(folder);
        if (!entry) return errno ? ls_fs_fail(errno, "list", path) : LS_OK;
        if (is_dot_or_dots(entry->d_name)) continue;
        void *items = *names;
        const ls_status status = ls_array_reserve(&items, &capacity, *n + 1, sizeof **names);
        *names = items;
        LS_TRY(status);
        (*names)[*n] = ls_strdup(entry->d_name);
        if (!(*names)[*n]) return LS_ERR_NO_MEMORY;
        ++*n;
    }
}

ls_status ls_dir_list(const char *path, char ***names_out, int *n_out) {
    DIR *folder = opendir(path);
    if (!folder) return ls_fs_fail(errno, "list", path);
    char **names = NULL;
    int64_t n = 0;
    const ls_status status = list_into(folder, path, &names, &n);
    closedir(folder);
    if (status != LS_OK) {
        for (int64_t i = 0; i < n; i++) ls_free(names[i]);
        ls_free(names);
        return status;
    }
    if (n > 1) qsort(names, (size_t)n, sizeof *names, compare_names);
    *names_out = names;
    *n_out = (int)n;
    return LS_OK;
}
