/* What checkpoints are written with: a file written in large pieces and synced, then read back from the disk. */
#include <fcntl.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fs.h"
#include "measure/measure.h"

enum { PIECE = 4 << 20, PIECES = 64, QUICK_PIECES = 8, RUNS = 3 };

static ls_status time_write(const char *path, const char *piece, int n, double *rate_out) {
    ls_file *file = NULL;
    const double begun = ls_clock_seconds();
    LS_TRY(ls_file_create(path, (int64_t)n * PIECE, &file));
    ls_status status = LS_OK;
    for (int i = 0; status == LS_OK && i < n; i++)
        status = ls_file_pwrite(file, piece, PIECE, (int64_t)i * PIECE);
    if (status == LS_OK) status = ls_file_sync(file);
    ls_file_close(file);
    *rate_out = (double)n * PIECE / (ls_clock_seconds() - begun);
    return status;
}

/* What was just written is in memory: the kernel is asked to forget it. */
static void forget(const char *path) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    (void)close(fd);
}

static ls_status time_read(const char *path, char *piece, int n, double *rate_out) {
    ls_file *file = NULL;
    forget(path);
    const double begun = ls_clock_seconds();
    LS_TRY(ls_file_open(path, 0, &file));
    ls_status status = LS_OK;
    for (int i = 0; status == LS_OK && i < n; i++)
        status = ls_file_pread(file, piece, PIECE, (int64_t)i * PIECE);
    ls_file_close(file);
    *rate_out = (double)n * PIECE / (ls_clock_seconds() - begun);
    return status;
}

static ls_status measure(ls_meter *meter, const char *path, char *piece, ls_machine *m) {
    const int n = meter->options.quick ? QUICK_PIECES : PIECES;
    double writes[RUNS], reads[RUNS];
    for (int i = 0; i < RUNS; i++) {
        ls_status status = time_write(path, piece, n, &writes[i]);
        if (status == LS_OK) status = time_read(path, piece, n, &reads[i]);
        (void)unlink(path);
        LS_TRY(status);
    }
    m->disk_write = ls_measure_of(writes, RUNS);
    m->disk_read = ls_measure_of(reads, RUNS);
    return LS_OK;
}

ls_status ls_measure_disk(ls_meter *meter, const char *folder, ls_machine *m) {
    if (!ls_path_is_dir(folder))
        return LS_FAIL(LS_ERR_NOT_FOUND,
                       "--disk %s: no such folder; name one on the disk that checkpoints go to",
                       folder);
    ls_meter_tell(meter, "disk");
    char *path = ls_format("%s/lockstep-bench-%ld.tmp", folder, (long)getpid());
    char *piece = path ? ls_alloc(PIECE) : NULL;
    ls_status status = LS_ERR_NO_MEMORY;
    if (piece) {
        ls_fill_random_bytes(piece, PIECE, 1);
        status = measure(meter, path, piece, m);
    }
    ls_free(piece);
    ls_free(path);
    return status;
}
