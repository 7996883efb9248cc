/* Files: whole reads, maps, atomic replacement, positioned reads and writes. A failure names the path and what the system said;
 * ENOSPC and EDQUOT become LS_ERR_NO_SPACE, ENOENT LS_ERR_NOT_FOUND. Local; thread-safe. */
#ifndef LS_BASE_FS_H
#define LS_BASE_FS_H
#include "lockstep/status.h"
#include <stddef.h>
#include <stdint.h>

/* Reads a whole file; *data_out is ls_alloc'ed with one NUL after the end. */
LS_API ls_status ls_file_read(const char *path, char **data_out, size_t *bytes_out);
/* The start of a small file of /proc or /sys as text, NUL-terminated; 0 = it cannot be read or is empty. Allocates nothing. */
LS_API int ls_file_read_start(const char *path, char *text, size_t room);
/* Writes path.tmp.<pid>, fsyncs, renames onto path, fsyncs the folder: path has the old or the new bytes. */
LS_API ls_status ls_file_write_atomic(const char *path, const void *data, size_t bytes);

/* Streamed atomic write: begin, write..., commit (fsync + rename) or abort (removes the temporary). */
typedef struct ls_file_writer ls_file_writer;
LS_API ls_status ls_file_writer_begin(const char *path, ls_file_writer **out);
LS_API ls_status ls_file_writer_write(ls_file_writer *writer, const void *data, size_t bytes);
LS_API ls_status
ls_file_writer_commit(ls_file_writer *writer);            /* frees the writer, also on failure */
LS_API void ls_file_writer_abort(ls_file_writer *writer); /* frees; NULL is fine */

/* Append-only log file (metrics): each call is one write(2) of the whole line. */
typedef struct ls_file_log ls_file_log;
LS_API ls_status ls_file_log_open(const char *path, int truncate, ls_file_log **out);
LS_API ls_status ls_file_log_write(ls_file_log *log, const void *data, size_t bytes);
LS_API void ls_file_log_close(ls_file_log *log);

/* A file that is read and written at positions, by several processes at once. Not atomic: for files in a folder that is renamed
 * when it is complete. */
typedef struct ls_file ls_file;
/* A new file of `bytes` zeros (a hole where the file system has them); LS_ERR_IO when there is one already. */
LS_API ls_status ls_file_create(const char *path, int64_t bytes, ls_file **out);
LS_API ls_status ls_file_open(const char *path, int writable, ls_file **out);
LS_API ls_status ls_file_size(const ls_file *file, int64_t *bytes_out);
LS_API ls_status ls_file_pwrite(ls_file *file, const void *data, size_t bytes, int64_t offset);
/* All `bytes`, or LS_ERR_FORMAT when the file ends before. */
LS_API ls_status ls_file_pread(const ls_file *file, void *data, size_t bytes, int64_t offset);
/* Lets the disk begin with what was written there, so that the sync at the end finds little to do. */
LS_API void ls_file_start_sync(ls_file *file, size_t bytes, int64_t offset);
LS_API ls_status ls_file_sync(ls_file *file);
LS_API void ls_file_close(ls_file *file); /* NULL is fine */

typedef struct ls_map {
    const unsigned char *data; /* read-only, private; NULL when bytes is 0 */
    size_t bytes;
} ls_map;
LS_API ls_status ls_map_open(const char *path, ls_map *out);
LS_API void ls_map_close(ls_map *map);

LS_API ls_status ls_dir_make(const char *path);   /* mkdir -p */
LS_API ls_status ls_dir_remove(const char *path); /* rm -r, refuses "" and "/" */
LS_API ls_status ls_dir_sync(const char *path);
LS_API ls_status ls_path_rename(const char *from,
                                const char *to); /* rename(2), then syncs the folder */
/* Swaps two paths in one step, then syncs the folder of `b`; LS_ERR_UNSUPPORTED where the file system cannot. */
LS_API ls_status ls_path_exchange(const char *a, const char *b);
/* A further name of a file; LS_ERR_UNSUPPORTED where the file system has no links or no more of them. */
LS_API ls_status ls_path_link(const char *from, const char *to);
LS_API int ls_path_exists(const char *path);
LS_API ls_status ls_path_bytes(const char *path, int64_t *bytes_out); /* of a regular file */
LS_API int ls_path_is_dir(const char *path);
/* Names in a folder, sorted, without "." and ".."; free each and the array with ls_free. */
LS_API ls_status ls_dir_list(const char *path, char ***names_out, int *n_out);

/* Fault hook for tests: the n-th write, fsync, rename, link or creation from now (1 = next) fails with `error_number` (e.g.
 * ENOSPC); -1: every one from now on; 0 switches off. ls_fs_op_count counts such operations since start. */
LS_API void ls_fs_fail_at(int64_t n, int error_number);
LS_API int64_t ls_fs_op_count(void);
typedef enum ls_fs_fault {
    LS_FS_FAULT_FAIL, /* the operation is not done */
    LS_FS_FAULT_TORN, /* a write leaves the first half of its bytes; other operations are not done */
    LS_FS_FAULT_KILL, /* the same, and then the process ends as by kill -9 */
    LS_FS_FAULT_TEAR  /* as KILL, but writes alone are counted: something is left half written */
} ls_fs_fault;
/* As ls_fs_fail_at. The environment can say the same for a process from its start: LOCKSTEP_FS_FAULT="n=37,kind=torn" (kinds fail,
 * torn, kill; error EIO). */
LS_API void ls_fs_fault_at(int64_t n, ls_fs_fault kind, int error_number);
/* A disk that is full for a while: the next `count` operations fail with `error_number`. */
LS_API void ls_fs_fail_for(int64_t count, int error_number);

#endif
