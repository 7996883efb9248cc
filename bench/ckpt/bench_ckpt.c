/* What a checkpoint costs: the state of a GPT-2 in f32 with AdamW's moments, held by ranks that are processes of this host, saved while
 * it waits and behind its back, and loaded; beside a plain memcpy, plain writes with fsync and plain reads of as many bytes.
 *   bench_ckpt --dir DIR [--ranks R] [--zero Z] [--model gpt2_124m|small] [--times N]
 * Every line is "what seconds bytes": the time of the slowest rank, the bytes of all ranks together. Loads and reads are of files that were
 * put out of the page cache (posix_fadvise). Every save goes to a folder of its own, so that nothing is linked. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/thread.h"
#include "comm/job.h"
#include "exec/program.h"
#include "lockstep/checkpoint.h"
#include "lockstep/model.h"
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_RANKS = 64, WRITE_BYTES = 8 << 20 };

typedef struct bench_options {
    const char *dir;
    int ranks, zero, times, is_small;
} bench_options;

typedef struct bench {
    const bench_options *options;
    ls_comm *comm;
    ls_device *device;
    ls_pool *pool;
    ls_plan *plan;
    ls_program *program;
    char *from, *to; /* plain memory, as much as this rank copies */
    int64_t copy_bytes;
} bench;

/* --- the state ------------------------------------------------------------------------------------------------------- */

static ls_model_options shape_of(const bench_options *options) {
    ls_model_options model = ls_model_default();
    model.kind = LS_MODEL_GPT2;
    model.layers = options->is_small ? 2 : 12;
    model.width = options->is_small ? 64 : 768;
    model.heads = options->is_small ? 2 : 12;
    model.context = options->is_small ? 64 : 1024;
    model.vocab = options->is_small ? 512 : 50257;
    model.dropout = 0;
    return model;
}

static ls_status make_plan(bench *b) {
    enum { TOKENS = 8 };
    const ls_model_options model = shape_of(b->options);
    const ls_optim_options optim = ls_optim_default();
    const int lanes = b->options->ranks;
    const ls_model_batch batch = {.batch = 1,
                                  .tokens = TOKENS,
                                  .lanes = lanes,
                                  .grad_scale = 1.0 / TOKENS / lanes,
                                  .training = 1,
                                  .with_loss = 1};
    const ls_plan_options options = {.mode = LS_PLAN_TRAIN,
                                     .device = "cpu",
                                     .threads = 1,
                                     .lanes = lanes,
                                     .zero = b->options->zero,
                                     .optim = &optim,
                                     .static_count = TOKENS * lanes};
    const ls_mesh mesh = {.dp = b->options->ranks};
    ls_graph *graph = NULL;
    LS_TRY(ls_graph_create(&graph));
    ls_status status = ls_model_build(&model, &batch, graph);
    if (status == LS_OK) status = ls_plan_make(graph, &mesh, &options, &b->plan);
    ls_graph_destroy(graph);
    return status;
}

/* Other values than zeros, in pages that are there. */
static ls_status fill_state(bench *b) {
    ls_arena *arena = NULL;
    ls_plan_part *parts;
    int n;
    LS_TRY(ls_arena_create(&arena));
    const ls_status status = ls_plan_parts(b->plan, b->comm->rank, arena, &parts, &n);
    for (int i = 0; status == LS_OK && i < n; i++) {
        if (parts[i].whole.dtype != LS_DTYPE_F32) continue;
        float *x = ls_program_part_address(b->program, &parts[i]);
        for (int64_t k = 0; k < parts[i].count; k++)
            x[k] = 1e-3f * (float)((parts[i].first + k) * 2654435761u % 1000003u) + (float)i;
    }
    ls_arena_destroy(arena);
    return status;
}

static ls_status make_bench(bench *b) {
    LS_TRY(ls_device_create("cpu", 0, &b->device));
    LS_TRY(ls_pool_create(1, 0, &b->pool));
    LS_TRY(make_plan(b));
    const ls_lower_options lower = {.device = b->device, .pool = b->pool, .comm = b->comm};
    LS_TRY(ls_program_lower(b->plan, b->comm->rank, &lower, &b->program));
    LS_TRY(fill_state(b));
    b->copy_bytes = ls_ckpt_snapshot_bytes(b->plan, b->comm->rank);
    b->from = ls_alloc_pages((size_t)b->copy_bytes);
    b->to = ls_alloc_pages((size_t)b->copy_bytes);
    if (!b->from || !b->to) return LS_ERR_NO_MEMORY;
    memset(b->from, 1, (size_t)b->copy_bytes);
    memset(b->to, 2, (size_t)b->copy_bytes);
    return LS_OK;
}

static void free_bench(bench *b) {
    ls_free_pages(b->from, (size_t)b->copy_bytes);
    ls_free_pages(b->to, (size_t)b->copy_bytes);
    ls_program_destroy(b->program);
    ls_plan_destroy(b->plan);
    ls_pool_destroy(b->pool);
    ls_device_destroy(b->device);
    ls_comm_close(b->comm);
}

/* --- time ------------------------------------------------------------------------------------------------------------ */

typedef struct figure {
    double seconds;
    int64_t bytes;
} figure;

/* All ranks stand here. */
static ls_status meet(bench *b) {
    return ls_comm_exchange(b->comm, "ready", NULL, 0, NULL);
}

/* What was written or removed before is over: it must not be charged to what comes next. */
static ls_status settle(bench *b) {
    if (b->comm->rank == 0) sync();
    return meet(b);
}

static ls_status tell(bench *b, const char *what, double seconds, int64_t bytes) {
    const figure mine = {seconds, bytes};
    figure all[MAX_RANKS], sum = {0};
    LS_TRY(ls_comm_exchange(b->comm, "figures", &mine, sizeof mine, all));
    for (int r = 0; r < b->comm->size; r++) {
        sum.seconds = fmax(sum.seconds, all[r].seconds);
        sum.bytes += all[r].bytes;
    }
    if (b->comm->rank == 0) printf("%s %.6f %lld\n", what, sum.seconds, (long long)sum.bytes);
    fflush(stdout);
    return LS_OK;
}

static void forget_file(const char *path) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    (void)fsync(fd);
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
}

/* Puts the files of a folder out of the page cache. */
static ls_status forget_folder(bench *b, const char *dir) {
    char **names = NULL;
    int n = 0;
    if (b->comm->rank == 0) {
        LS_TRY(ls_dir_list(dir, &names, &n));
        for (int i = 0; i < n; i++) {
            char *path = ls_format("%s/%s", dir, names[i]);
            if (path) forget_file(path);
            ls_free(path);
            ls_free(names[i]);
        }
        ls_free(names);
    }
    return meet(b);
}

/* --- plain ----------------------------------------------------------------------------------------------------------- */

static ls_status time_memcpy(bench *b) {
    LS_TRY(meet(b));
    const double start = ls_clock_seconds();
    memcpy(b->to, b->from, (size_t)b->copy_bytes);
    return tell(b, "memcpy", ls_clock_seconds() - start, b->copy_bytes);
}

static ls_status move_file(int fd, char *data, int64_t bytes, int writes) {
    if (writes) (void)posix_fallocate(fd, 0, (off_t)bytes); /* faster where it can be done */
    for (int64_t at = 0; at < bytes;) {
        const size_t n = bytes - at < WRITE_BYTES ? (size_t)(bytes - at) : (size_t)WRITE_BYTES;
        const ssize_t moved = writes ? write(fd, data + at, n) : read(fd, data + at, n);
        if (moved <= 0) return LS_FAIL(LS_ERR_IO, "plain file: %zd of %zu bytes", moved, n);
        at += moved;
    }
    return writes && fsync(fd) != 0 ? LS_FAIL(LS_ERR_IO, "plain file: fsync failed") : LS_OK;
}

/* Each rank writes and reads a file of its own. */
static ls_status time_disk(bench *b) {
    char *path = ls_format("%s/plain-%d", b->options->dir, b->comm->rank);
    if (!path) return LS_ERR_NO_MEMORY;
    ls_status status = settle(b);
    for (int writes = 1; status == LS_OK && writes >= 0; writes--) {
        const double start = ls_clock_seconds();
        const int fd =
            open(path, (writes ? O_WRONLY | O_CREAT | O_TRUNC : O_RDONLY) | O_CLOEXEC, 0666);
        status = fd < 0 ? LS_FAIL(LS_ERR_IO, "cannot open %s", path)
                        : move_file(fd, b->from, b->copy_bytes, writes);
        const double seconds = ls_clock_seconds() - start;
        if (fd >= 0) close(fd);
        if (writes) forget_file(path);
        if (status == LS_OK)
            status = tell(b, writes ? "disk_write" : "disk_read", seconds, b->copy_bytes);
    }
    (void)unlink(path);
    ls_free(path);
    return status;
}

/* --- checkpoints ----------------------------------------------------------------------------------------------------- */

static const ls_ckpt_content content = {.step = 1, .seed = 1, .config_json = "{}", .score = NAN};

static ls_status time_save(bench *b, const char *dir) {
    LS_TRY(settle(b));
    const double start = ls_clock_seconds();
    LS_TRY(ls_ckpt_save(b->program, &content, dir, NULL));
    return tell(b, "save", ls_clock_seconds() - start, b->copy_bytes);
}

static ls_status time_load(bench *b, const char *dir) {
    ls_ckpt *ckpt = NULL;
    LS_TRY(forget_folder(b, dir));
    const double start = ls_clock_seconds();
    LS_TRY(ls_ckpt_open(dir, &ckpt));
    ls_status status = ls_ckpt_load(ckpt, b->program, 0);
    ls_ckpt_close(ckpt);
    if (status == LS_OK) status = meet(b);
    LS_TRY(status);
    return tell(b, "load", ls_clock_seconds() - start, b->copy_bytes);
}

static ls_status time_saver(bench *b, ls_ckpt_saver *saver, const char *dir) {
    LS_TRY(settle(b));
    const double start = ls_clock_seconds();
    LS_TRY(ls_ckpt_saver_begin(saver, &content, dir, NULL));
    const double stall = ls_clock_seconds() - start;
    LS_TRY(ls_ckpt_saver_wait(saver));
    const double total = ls_clock_seconds() - start;
    const ls_ckpt_save_times times = ls_ckpt_saver_times(saver);
    LS_TRY(tell(b, "async_stall", stall, times.copy_bytes));
    LS_TRY(tell(b, "async_copy", times.copy_seconds, times.copy_bytes));
    return tell(b, "async_total", total, times.copy_bytes);
}

static ls_status run_once(bench *b, ls_ckpt_saver *saver) {
    char *root = ls_format("%s/save", b->options->dir),
         *dir = ls_format("%s/save/one", b->options->dir);
    ls_status status = root && dir ? LS_OK : LS_ERR_NO_MEMORY;
    for (int async = 0; status == LS_OK && async < 2; async++) {
        if (b->comm->rank == 0 && ls_path_exists(root)) status = ls_dir_remove(root);
        if (status == LS_OK && b->comm->rank == 0) status = ls_dir_make(root);
        status = ls_comm_agree(b->comm, "make the folder", status);
        if (status == LS_OK) status = async ? time_saver(b, saver, dir) : time_save(b, dir);
        if (status == LS_OK && !async) status = time_load(b, dir);
    }
    if (b->comm->rank == 0 && status == LS_OK) status = ls_dir_remove(root);
    ls_free(root);
    ls_free(dir);
    return status;
}

static ls_status run_all(bench *b) {
    ls_ckpt_saver *saver = NULL;
    LS_TRY(make_bench(b));
    LS_TRY(ls_ckpt_saver_create(b->program, &saver));
    ls_status status = LS_OK;
    for (int i = 0; status == LS_OK && i < b->options->times; i++) {
        status = time_memcpy(b);
        /* In turn: what comes first finds another state of disk and page cache. */
        if (status == LS_OK && i % 2 == 0) status = time_disk(b);
        if (status == LS_OK) status = run_once(b, saver);
        if (status == LS_OK && i % 2) status = time_disk(b);
    }
    ls_ckpt_saver_destroy(saver);
    return status;
}

/* --- ranks ----------------------------------------------------------------------------------------------------------- */

static ls_status run_rank(ls_job *job, int rank, const bench_options *options) {
    bench b = {.options = options};
    ls_status status = ls_job_enter(job, rank);
    if (status == LS_OK) status = ls_comm_open(NULL, &b.comm);
    if (status == LS_OK) status = run_all(&b);
    if (status != LS_OK) fprintf(stderr, "bench_ckpt: rank %d: %s\n", rank, ls_error_message());
    if (status != LS_OK) ls_comm_abort(b.comm, ls_error_message());
    free_bench(&b);
    return status;
}

static int parse_options(int argc, char **argv, bench_options *options) {
    *options = (bench_options){.ranks = 2, .zero = 1, .times = 3};
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--dir") == 0)
            options->dir = argv[i + 1];
        else if (strcmp(argv[i], "--ranks") == 0)
            options->ranks = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--zero") == 0)
            options->zero = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--times") == 0)
            options->times = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--model") == 0)
            options->is_small = strcmp(argv[i + 1], "small") == 0;
        else
            return 0;
    }
    const int r = options->ranks;
    return argc % 2 == 1 && options->dir && options->zero >= 0 && options->zero <= 3 && r >= 1 &&
           r <= MAX_RANKS && (r & (r - 1)) == 0;
}

int main(int argc, char **argv) {
    bench_options options;
    ls_job *job = NULL;
    int n_failed = 0;
    if (!parse_options(argc, argv, &options)) {
        fprintf(stderr, "usage: bench_ckpt --dir DIR [--ranks R (a power of two)] [--zero 0-3] "
                        "[--model gpt2_124m|small] [--times N]\n");
        return 2;
    }
    if (ls_dir_make(options.dir) != LS_OK ||
        ls_job_create(options.ranks, "bench_ckpt", &job) != LS_OK) {
        fprintf(stderr, "bench_ckpt: %s\n", ls_error_message());
        return 1;
    }
    for (int r = 0; r < options.ranks; r++)
        if (fork() == 0) _exit(run_rank(job, r, &options) != LS_OK);
    for (int r = 0; r < options.ranks; r++) {
        int state = 0;
        (void)wait(&state);
        n_failed += state != 0;
    }
    ls_job_destroy(job);
    return n_failed > 0;
}
