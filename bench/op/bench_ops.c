/* Times the bench cases of every op: each kernel this machine can run, on each dtype of the case.
 *   bench_ops [--json] [--roof] [--seconds S] [--threads N] [OP...]
 * A line gives GFLOP/s and GB/s by the op's own cost rule, and how many times faster than the reference kernel it is.
 * With --roof only the kernels that a plan chooses, of the ops that memory bounds unless others are named: the bytes that must move, and
 * the share of what memory gives, and of what plain loops give that move as many bytes, both measured beside the kernel
 * (bench/op/roof.h says how). Cases "dram" are larger than the caches, others may do better than memory. */
#include "op/op_harness.h"
#include "op/roof.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct ceiling {
    roof_kind kind;
    double memory, as_many; /* GB/s; 0: not measured */
} ceiling;

typedef struct bench_options {
    int json, n_ops;
    op_timing_options timing;
    char **ops;
    roof *roof;      /* NULL: not asked for */
    ceiling ceiling; /* of the kernel at hand */
    ls_status status;
} bench_options;

/* Ops whose time is that of their bytes. */
static const char *const bounded[] = {"adadelta_step",
                                      "adagrad_step",
                                      "adam_step",
                                      "lamb_step",
                                      "lion_step",
                                      "nadam_step",
                                      "rmsprop_step",
                                      "sgd_step",
                                      "layernorm",
                                      "layernorm_grad",
                                      "rmsnorm",
                                      "rmsnorm_grad",
                                      "softmax",
                                      "softmax_grad",
                                      "cross_entropy",
                                      "cast",
                                      "reduce_rows",
                                      "sum_squares",
                                      NULL};

/* --- what was timed -------------------------------------------------------------------------------------------------- */

/* A kernel that writes less than this share of its bytes is one that reads. */
static const double least_written = 0.05;

static ls_status find_ceiling(bench_options *options, const op_timing *t) {
    ceiling *out = &options->ceiling;
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

static void print_timing(void *user, const op_timing *t) {
    bench_options *options = user;
    if (options->status != LS_OK) return;
    options->status = find_ceiling(options, t);
    if (options->status != LS_OK) return;
    if (options->json)
        print_json(t, &options->ceiling);
    else if (options->roof)
        print_roof(t, &options->ceiling);
    else
        print_text(t);
    fflush(stdout);
}

/* --- what to time ---------------------------------------------------------------------------------------------------- */

static int is_chosen(const bench_options *options, const char *name) {
    for (int i = 0; i < options->n_ops; i++)
        if (strcmp(options->ops[i], name) == 0) return 1;
    for (int i = 0; options->n_ops == 0 && options->roof && bounded[i]; i++)
        if (strcmp(bounded[i], name) == 0) return 1;
    return options->n_ops == 0 && !options->roof;
}

static int run_list(bench_options *options, const ls_op_case_list *list) {
    if (!is_chosen(options, list->op->name)) return 0;
    for (int i = 0; i < list->n_cases; i++) {
        if (!list->cases[i].bench) continue;
        ls_status status =
            op_time_case(list->op, &list->cases[i], &options->timing, print_timing, options);
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
    for (int kind = ROOF_READ; kind <= ROOF_UPDATE; kind++) {
        double gbps;
        LS_TRY(roof_measure_memory(options->roof, (roof_kind)kind, &gbps));
        printf("memory, %d threads, %s: %.2f GB/s\n", t->threads, roof_kind_names[kind], gbps);
    }
    printf("%-15s %-32s %-5s %-28s %9s %10s %8s  %-6s %7s %7s\n", "op", "case", "type", "kernel",
           "MB", "ms", "GB/s", "roof", "memory", "size");
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
    roof_destroy(options.roof);
    return failed;
}
