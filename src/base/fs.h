/* Files: whole reads, maps, atomic replacement. A failure names the path and what the system said; ENOSPC and EDQUOT become
 * LS_ERR_NO_SPACE, ENOENT LS_ERR_NOT_FOUND. Local; thread-safe except for the fault hook. */
#ifndef LS_BASE_FS_H
#define LS_BASE_FS_H
#include "lockstep/status.h"
#include <stddef.h>
#include <stdint.h>

/* Reads a whole file; *data_out is ls_alloc'ed with one NUL after the end. */
LS_API ls_status ls_file_read(const char *path, char **data_out, size_t *bytes_out);
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
LS_API int ls_path_exists(const char *path);
LS_API int ls_path_is_dir(const char *path);
/* Names in a folder, sorted, without "." and ".."; free each and the array with ls_free. */
LS_API ls_status ls_dir_list(const char *path, char ***names_out, int *n_out);

/* Fault hook for tests: the n-th write/fsync/rename from now (1 = next) fails with `error_number` (e.g. ENOSPC); -1:
 * every one from now on; 0 switches off. ls_fs_op_count counts such operations since start. */
LS_API void ls_fs_fail_at(int64_t n, int error_number);
LS_API int64_t ls_fs_op_count(void);

#endif
