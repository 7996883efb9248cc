/* Times the bench cases of every op: each kernel this machine can run, on each dtype of the case.
 *   bench_ops [--json] [--roof] [--seconds S] [--threads N] [OP...]
 * A line gives GFLOP/s and GB/s by the op's own cost rule, and how many times faster than the reference kernel it is.
 * With --roof only the kernels that a plan chooses, of the ops that memory bounds unless others are named: the bytes that must move, and
 * the share of what memory gives, and of what plain loops give that move as many bytes, both measured beside the kernel
 * (bench/op/roof.h says how). A kernel short of ENOUGH of memory is measured twice more with its roof: of three, the one in the middle
 * counts. Cases "dram" are larger than the caches, others may do better than memory. The last lines: what memory gives now, and how many
 * of the optimizer steps, norms and cross entropies have ENOUGH of it. */
#include "op/op_harness.h"
#include "op/roof.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Share of memory's bandwidth that is held to be near it. */
static const double ENOUGH = 0.80;
enum { ROUNDS = 3, MOST_SHORT = 128, N_ROOFS = ROOF_UPDATE + 1 };

typedef struct ceiling {
    roof_kind kind;
    double memory, as_many; /* GB/s; 0: not measured */
} ceiling;

typedef struct round { /* one measurement of a kernel and its roof */
    op_timing timing;
    ceiling ceiling;
} round;

typedef struct short_row { /* a row without ENOUGH */
    const char *op, *case_name, *dtype, *suffix;
    double share;
} short_row;

typedef struct bench_options {
    int json, n_ops;
    op_timing_options timing;
    char **ops;
    roof *roof;             /* NULL: not asked for */
    double memory[N_ROOFS]; /* GB/s at the start */
    round rounds[ROUNDS];   /* of the kernel at hand */
    int n_rounds, n_counted, n_short;
    short_row shorts[MOST_SHORT];
    ls_status status;
} bench_options;

/* Ops whose time is that of their bytes, and whether they are counted at the end. */
static const struct bounded {
    const char *name;
    int is_counted;
} bounded[] = {{"adadelta_step", 1},  {"adagrad_step", 1}, {"adam_step", 1},
               {"lamb_step", 1},      {"lion_step", 1},    {"nadam_step", 1},
               {"rmsprop_step", 1},   {"sgd_step", 1},     {"layernorm", 1},
               {"layernorm_grad", 1}, {"rmsnorm", 1},      {"rmsnorm_grad", 1},
               {"cross_entropy", 1},  {"softmax", 0},      {"softmax_grad", 0},
               {"cast", 0},           {"reduce_rows", 0},  {"sum_squares", 0}};
enum { N_BOUNDED = sizeof bounded / sizeof bounded[0] };

static const struct bounded *find_bounded(const char *op) {
    for (int i = 0; i < N_BOUNDED; i++)
        if (strcmp(bounded[i].name, op) == 0) return &bounded[i];
    return NULL;
}

/* --- what was timed -------------------------------------------------------------------------------------------------- */

/* A kernel that writes less than this share of its bytes is one that reads. */
static const double least_written = 0.05;

static ls_status find_ceiling(bench_options *options, const op_timing *t, ceiling *out) {
    const ls_op *op = ls_op_find(t->op);
    const double bytes = t->bytes_read + t->bytes_written;
    *out = (ceiling){ROOF_COPY, 0, 0};
    if (!options->roof) return LS_OK;
    if (t->bytes_written < least_written * bytes)
        out->kind = ROOF_READ;
    else if ((op->flags & LS_OP_UPDATE) && !strstr(t->kernel, " kept"))
        out->kind = ROOF_UPDATE;
    LS_TRY(roof_measure(options->roof, out->kind, bytes, &out->as_many));
    return roof_measure_memory(options->roof, out->kind, &out->memory);
}

static void print_roof(const op_timing *t, const ceiling *c) {
    printf("%-15s %-32s %-5s %-28s %9.2f %10.3f %8.2f  %-6s %5.0f %% %5.0f %%\n", t->op,
           t->case_name, ls_dtype_name(t->dtype), t->kernel,
           (t->bytes_read + t->bytes_written) * 1e-6, t->seconds * 1e3, t->gbps,
           roof_kind_names[c->kind], 100 * t->gbps / c->memory, 100 * t->gbps / c->as_many);
}

static void print_text(const op_timing *t) {
    printf("%-18s %-22s %-28s %-5s %10.3f ms %9.1f GFLOP/s %8.2f GB/s %9.1fx\n", t->op,
           t->case_name, t->kernel, ls_dtype_name(t->dtype), t->seconds * 1e3, t->gflops, t->gbps,
           t->ratio);
}

static void print_json(const op_timing *t, const ceiling *c) {
    printf("{\"op\":\"%s\",\"case\":\"%s\",\"kernel\":\"%s\",\"dtype\":\"%s\",\"threads\":%d,"
           "\"bytes\":%.0f,\"seconds\":%.9g,\"gflops\":%.6g,\"gbps\":%.6g,\"ratio_to_ref\":%.6g,"
           "\"memory_gbps\":%.6g,\"as_many_gbps\":%.6g}\n",
           t->op, t->case_name, t->kernel, ls_dtype_name(t->dtype), t->threads,
           t->bytes_read + t->bytes_written, t->seconds, t->gflops, t->gbps, t->ratio, c->memory,
           c->as_many);
}

static double share_of(const round *r) {
    return r->ceiling.memory > 0 ? r->timing.gbps / r->ceiling.memory : 1;
}

static int compare_rounds(const void *a, const void *b) {
    const double x = share_of(a), y = share_of(b);
    return (x > y) - (x < y);
}

static void count_row(bench_options *options, const round *r) {
    const op_timing *t = &r->timing;
    const struct bounded *op = find_bounded(t->op);
    if (!options->roof || !op || !op->is_counted) return;
    options->n_counted++;
    if (share_of(r) >= ENOUGH || options->n_short == MOST_SHORT) return;
    options->shorts[options->n_short++] =
        (short_row){t->op, t->case_name, ls_dtype_name(t->dtype),
                    strstr(t->kernel, " kept") ? " kept" : "", share_of(r)};
}

static void print_round(bench_options *options, const round *r) {
    if (options->json)
        print_json(&r->timing, &r->ceiling);
    else if (options->roof)
        print_roof(&r->timing, &r->ceiling);
    else
        print_text(&r->timing);
    fflush(stdout);
    count_row(options, r);
}

/* Prints a kernel's first round where that is enough, otherwise the middle one of ROUNDS. */
static int take_timing(void *user, const op_timing *t) {
    bench_options *options = user;
    if (options->status != LS_OK) return 0;
    round *r = &options->rounds[options->n_rounds++];
    r->timing = *t;
    options->status = find_ceiling(options, t, &r->ceiling);
    if (options->status != LS_OK) return 0;
    if (share_of(&options->rounds[0]) < ENOUGH && options->n_rounds < ROUNDS) return 1;
    qsort(options->rounds, (size_t)options->n_rounds, sizeof *r, compare_rounds);
    print_round(options, &options->rounds[options->n_rounds / 2]);
    options->n_rounds = 0;
    return 0;
}

/* --- what to time ---------------------------------------------------------------------------------------------------- */

static int is_chosen(const bench_options *options, const char *name) {
    for (int i = 0; i < options->n_ops; i++)
        if (strcmp(options->ops[i], name) == 0) return 1;
    return options->n_ops == 0 && (!options->roof || find_bounded(name));
}

static int run_list(bench_options *options, const ls_op_case_list *list) {
    if (!is_chosen(options, list->op->name)) return 0;
    for (int i = 0; i < list->n_cases; i++) {
        if (!list->cases[i].bench) continue;
        ls_status status =
            op_time_case(list->op, &list->cases[i], &options->timing, take_timing, options);
        if (status == LS_OK) status = options->status;
        if (status != LS_OK) {
            fprintf(stderr, "bench_ops: op %s, case %s: %s\n", list->op->name, list->cases[i].name,
                    ls_error_message());
            return 1;
        }
    }
    return 0;
}

static int parse_options(int argc, char **argv, bench_options *options) {
    *options = (bench_options){.timing = {.threads = ls_cpu_count(), .seconds = 0.2}};
    options->ops = argv + 1;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            options->json = 1;
        else if (strcmp(argv[i], "--roof") == 0)
            options->timing.is_first_only = 1;
        else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc)
            options->timing.seconds = atof(argv[++i]);
        else if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc)
            options->timing.threads = atoi(argv[++i]);
        else if (ls_op_find(argv[i]))
            options->ops[options->n_ops++] = argv[i];
        else
            return 1;
    }
    return options->timing.threads < 1;
}

static ls_status open_roof(bench_options *options) {
    const op_timing_options *t = &options->timing;
    LS_TRY(roof_create(t->threads, t->seconds, &options->roof));
    if (options->json) return LS_OK;
    for (int kind = 0; kind < N_ROOFS; kind++) {
        LS_TRY(roof_measure_memory(options->roof, (roof_kind)kind, &options->memory[kind]));
        printf("memory, %d threads, %s: %.2f GB/s\n", t->threads, roof_kind_names[kind],
               options->memory[kind]);
    }
    printf("%-15s %-32s %-5s %-28s %9s %10s %8s  %-6s %7s %7s\n", "op", "case", "type", "kernel",
           "MB", "ms", "GB/s", "roof", "memory", "size");
    return LS_OK;
}

/* How far memory has moved meanwhile, and what is short of it. */
static ls_status print_end(const bench_options *options) {
    for (int kind = 0; kind < N_ROOFS; kind++) {
        double now;
        LS_TRY(roof_measure_memory(options->roof, (roof_kind)kind, &now));
        printf("memory, %d threads, %s: %.2f GB/s (%+.0f %% since the start)\n",
               options->timing.threads, roof_kind_names[kind], now,
               100 * (now / options->memory[kind] - 1));
    }
    for (int i = 0; i < options->n_short; i++) {
        const short_row *row = &options->shorts[i];
        printf("short: %-15s %-32s %-5s%-5s %3.0f %%\n", row->op, row->case_name, row->dtype,
               row->suffix, 100 * row->share);
    }
    printf("optimizer steps, norms, cross entropy: %d of %d rows at %.0f %% of memory or more\n",
           options->n_counted - options->n_short, options->n_counted, 100 * ENOUGH);
    return LS_OK;
}

int main(int argc, char **argv) {
    bench_options options;
    int failed = 0;
    if (parse_options(argc, argv, &options)) {
        fprintf(stderr, "usage: bench_ops [--json] [--roof] [--seconds S] [--threads N] [OP...]\n");
        return 2;
    }
    if (options.timing.is_first_only && open_roof(&options) != LS_OK) {
        fprintf(stderr, "bench_ops: %s\n", ls_error_message());
        failed = 1;
    }
    for (int i = 0; !failed && i < op_list_count(); i++) failed = run_list(&options, op_list_at(i));
    if (!failed && options.roof && !options.json && print_end(&options) != LS_OK) {
        fprintf(stderr, "bench_ops: %s\n", ls_error_message());
        failed = 1;
    }
    roof_destroy(options.roof);
    return failed;
}
