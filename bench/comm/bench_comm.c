/* All-reduce of random f32 among processes of one host, in shared memory: the calls of the shm transport with the sums in tree
 * order, in place. The figure to hold beside MPI_Allreduce.
 *   bench_comm [--ranks R] [--seconds S] [--json]
 * A line gives the median and the best time of a call on the slowest rank, and bytes of the tensor per second. */
#include "base/alloc.h"
#include "base/clock.h"
#include "comm/comm.h"
#include "comm/job.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_RANKS = 64, MAX_RUNS = 20000, WARM_UPS = 5, SMALL_BYTES = 16 << 10, N_SIZES = 4 };

static const size_t tensor_bytes[N_SIZES] = {1 << 10, 1 << 20, 16 << 20, 64 << 20};

typedef struct bench_options {
    int ranks, json;
    double seconds;
} bench_options;

typedef struct buffers {
    ls_comm *comm;
    float *x;
    const float *from[MAX_RANKS];
    float small[SMALL_BYTES / 4];
} buffers;

/* Members first .. first + n - 1 in tree order, one block at a time so that it stays in cache. n is a power of two. */
static void add_tree(float *out, const float *const *x, int n, int64_t first, int64_t count) {
    enum { BLOCK = 1024 };
    float right[BLOCK];
    if (n == 2) {
        for (int64_t i = 0; i < count; i++) out[i] = x[0][first + i] + x[1][first + i];
        return;
    }
    if (n == 1) {
        memmove(out, x[0] + first, (size_t)count * sizeof *out);
        return;
    }
    for (int64_t at = 0; at < count; at += BLOCK) {
        const int64_t some = count - at < BLOCK ? count - at : BLOCK;
        add_tree(right, x + n / 2, n / 2, first + at, some);
        float left[BLOCK];
        add_tree(left, x, n / 2, first + at, some);
        for (int64_t i = 0; i < some; i++) out[at + i] = left[i] + right[i];
    }
}

static ls_status begin(buffers *b, const char *op, int scatter, ls_comm_part part) {
    const ls_comm_call call = {.op = op,
                               .dtype = LS_DTYPE_F32,
                               .shape = {1, {(int64_t)part.bytes / 4}},
                               .ticket = scatter,
                               .scatter = scatter,
                               .from = -1,
                               .to = -1,
                               .n_parts = 1,
                               .parts = &part};
    LS_TRY(b->comm->ops->start(b->comm, &call));
    for (int p = 0; p < b->comm->size; p++) {
        ls_comm_view view;
        LS_TRY(b->comm->ops->arrive(b->comm, call.ticket, p, &view));
        b->from[p] = view.data;
    }
    return LS_OK;
}

/* One call, everybody adds everything. */
static ls_status all_reduce_small(buffers *b, size_t bytes) {
    const ls_comm_part part = {b->x, bytes * (size_t)b->comm->size, bytes};
    LS_TRY(begin(b, "all_reduce", 0, part));
    add_tree(b->small, b->from, b->comm->size, 0, (int64_t)bytes / 4);
    LS_TRY(b->comm->ops->finish(b->comm, 0));
    memcpy(b->x, b->small, bytes);
    return LS_OK;
}

/* reduce_scatter and all_gather, both in place: nobody reads my own piece of mine while I sum into it. */
static ls_status all_reduce_large(buffers *b, size_t bytes) {
    const int size = b->comm->size, rank = b->comm->rank;
    const size_t piece = bytes / (size_t)size;
    float *mine = b->x + (size_t)rank * piece / 4;
    LS_TRY(begin(b, "reduce_scatter", 1, (ls_comm_part){b->x, bytes, piece}));
    add_tree(mine, b->from, size, 0, (int64_t)piece / 4);
    LS_TRY(b->comm->ops->finish(b->comm, 1));
    LS_TRY(begin(b, "all_gather", 0, (ls_comm_part){mine, bytes, piece}));
    for (int k = 1; k < size; k++) {
        const int p = (rank + k) % size;
        memcpy(b->x + (size_t)p * piece / 4, b->from[p], piece);
    }
    return b->comm->ops->finish(b->comm, 0);
}

static ls_status all_reduce(buffers *b, size_t bytes) {
    return bytes <= SMALL_BYTES ? all_reduce_small(b, bytes) : all_reduce_large(b, bytes);
}

/* The element as each rank gives it: all know all, so that the sum can be checked. */
static float value_of(int rank, size_t i) {
    return (float)(int32_t)((uint32_t)(i + 1) * 2654435761u * (uint32_t)(rank + 3)) * 0x1p-31f;
}

static ls_status check_sum(buffers *b, size_t bytes) {
    const int size = b->comm->size;
    float values[MAX_RANKS], sum;
    const float *rows[MAX_RANKS];
    for (int r = 0; r < size; r++) rows[r] = &values[r];
    for (size_t i = 0; i < bytes / 4; i++) b->x[i] = value_of(b->comm->rank, i);
    LS_TRY(all_reduce(b, bytes));
    for (size_t i = 0; i < bytes / 4; i++) {
        for (int r = 0; r < size; r++) values[r] = value_of(r, i);
        add_tree(&sum, rows, size, 0, 1);
        if (b->x[i] != sum)
            return LS_FAIL(LS_ERR_NUMERIC, "element %zu is %g, not %g", i, b->x[i], sum);
    }
    return LS_OK;
}

static int compare_doubles(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The sums double with every run, so the tensor is filled anew before they overflow. */
static ls_status time_size(buffers *b, const bench_options *options, size_t bytes, double *runs) {
    int n = 0, go_on = 1;
    double spent = 0;
    for (int warm = 0; warm < WARM_UPS; warm++) LS_TRY(check_sum(b, warm == 0 ? bytes : 1024));
    while (go_on) {
        if (n % 32 == 0)
            for (size_t i = 0; i < bytes / 4; i++) b->x[i] = value_of(b->comm->rank, i) * 0x1p-20f;
        LS_TRY(ls_comm_exchange(b->comm, "ready", NULL, 0, NULL));
        const double begun = ls_clock_seconds();
        LS_TRY(all_reduce(b, bytes));
        runs[n] = ls_clock_seconds() - begun;
        spent += runs[n++];
        double all[MAX_RANKS];
        LS_TRY(ls_comm_exchange(b->comm, "time", &runs[n - 1], sizeof *all, all));
        for (int r = 0; r < b->comm->size; r++)
            if (all[r] > runs[n - 1]) runs[n - 1] = all[r];
        int mine = spent < options->seconds && n < MAX_RUNS, others[MAX_RANKS];
        LS_TRY(ls_comm_exchange(b->comm, "again", &mine, sizeof mine, others));
        go_on = others[0];
    }
    qsort(runs, (size_t)n, sizeof *runs, compare_doubles);
    if (b->comm->rank != 0) return LS_OK;
    const double median = runs[n / 2];
    if (options->json)
        printf("{\"bench\":\"all_reduce_shm\",\"ranks\":%d,\"bytes\":%zu,\"median_us\":%.3f,\"best_"
               "us\":%.3f,"
               "\"runs\":%d}\n",
               b->comm->size, bytes, median * 1e6, runs[0] * 1e6, n);
    else
        printf("all_reduce f32 shm %d ranks %9zu bytes: median %10.2f us  best %10.2f us  %6.2f "
               "GB/s  (%d runs)\n",
               b->comm->size, bytes, median * 1e6, runs[0] * 1e6, 1e-9 * (double)bytes / median, n);
    fflush(stdout);
    return LS_OK;
}

static ls_status run_rank(ls_job *job, int rank, const bench_options *options) {
    buffers *b = ls_alloc(sizeof *b);
    double *runs = ls_alloc(MAX_RUNS * sizeof *runs);
    void *memory = NULL;
    ls_status status = b && runs ? ls_job_enter(job, rank) : LS_ERR_NO_MEMORY;
    if (status == LS_OK) status = ls_comm_open(NULL, &b->comm);
    if (status == LS_OK)
        status = ls_comm_memory_create(b->comm, tensor_bytes[N_SIZES - 1], &memory);
    if (status == LS_OK) b->x = memory;
    for (int i = 0; status == LS_OK && i < N_SIZES; i++)
        status = time_size(b, options, tensor_bytes[i], runs);
    if (status != LS_OK) fprintf(stderr, "bench_comm: rank %d: %s\n", rank, ls_error_message());
    if (b) ls_comm_close(b->comm);
    ls_free(runs);
    ls_free(b);
    return status;
}

static int parse_options(int argc, char **argv, bench_options *options) {
    *options = (bench_options){.ranks = 2, .seconds = 1.0};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            options->json = 1;
        else if (strcmp(argv[i], "--ranks") == 0 && i + 1 < argc)
            options->ranks = atoi(argv[++i]);
        else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc)
            options->seconds = atof(argv[++i]);
        else
            return 0;
    }
    const int r = options->ranks;
    return r >= 1 && r <= MAX_RANKS && (r & (r - 1)) == 0;
}

int main(int argc, char **argv) {
    bench_options options;
    ls_job *job = NULL;
    int n_failed = 0;
    if (!parse_options(argc, argv, &options)) {
        fprintf(stderr, "usage: bench_comm [--ranks R (a power of two)] [--seconds S] [--json]\n");
        return 2;
    }
    if (ls_job_create(options.ranks, "bench_comm", &job) != LS_OK) {
        fprintf(stderr, "bench_comm: %s\n", ls_error_message());
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
