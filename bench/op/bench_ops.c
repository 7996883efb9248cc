/* Times the bench cases of every op: each kernel this machine can run, on each dtype of the case.
 *   bench_ops [--json] [--roof] [--seconds S] [--threads N] [OP...]
 * A line gives GFLOP/s and GB/s by the op's own cost rule, and how many times faster than the reference kernel it is. With --roof also the
 * share of the memory bandwidth that bench/op/triad.c measures with as many threads just before; the cases "dram" are larger than the
 * caches, others may do better than memory. */
#include "op/op_harness.h"
#include "op/triad.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct bench_options {
    int json, roof, threads, n_ops;
    double triad_gbps; /* 0: not measured */
    double seconds;
    char **ops;
} bench_options;

static void print_text(void *user, const op_timing *t) {
    const bench_options *options = user;
    printf("%-18s %-22s %-28s %-5s %10.3f ms %9.1f GFLOP/s %8.2f GB/s %9.1fx", t->op, t->case_name,
           t->kernel, ls_dtype_name(t->dtype), t->seconds * 1e3, t->gflops, t->gbps, t->ratio);
    if (options->triad_gbps > 0) printf(" %5.0f %% of triad", 100 * t->gbps / options->triad_gbps);
    printf("\n");
    fflush(stdout);
}

static void print_json(void *user, const op_timing *t) {
    const bench_options *options = user;
    printf("{\"op\":\"%s\",\"case\":\"%s\",\"kernel\":\"%s\",\"dtype\":\"%s\",\"threads\":%d,"
           "\"seconds\":%.9g,\"gflops\":%.6g,\"gbps\":%.6g,\"ratio_to_ref\":%.6g,"
           "\"triad_gbps\":%.6g}\n",
           t->op, t->case_name, t->kernel, ls_dtype_name(t->dtype), t->threads, t->seconds,
           t->gflops, t->gbps, t->ratio, options->triad_gbps);
    fflush(stdout);
}

static int is_chosen(const bench_options *options, const char *name) {
    for (int i = 0; i < options->n_ops; i++)
        if (strcmp(options->ops[i], name) == 0) return 1;
    return options->n_ops == 0;
}

static int run_list(bench_options *options, const ls_op_case_list *list) {
    if (!is_chosen(options, list->op->name)) return 0;
    for (int i = 0; i < list->n_cases; i++) {
        if (!list->cases[i].bench) continue;
        if (op_time_case(list->op, &list->cases[i], options->threads, options->seconds,
                         options->json ? print_json : print_text, options) != LS_OK) {
            fprintf(stderr, "bench_ops: op %s, case %s: %s\n", list->op->name, list->cases[i].name,
                    ls_error_message());
            return 1;
        }
    }
    return 0;
}

static int parse_options(int argc, char **argv, bench_options *options) {
    *options = (bench_options){.threads = ls_cpu_count(), .seconds = 0.2, .ops = argv + 1};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            options->json = 1;
        else if (strcmp(argv[i], "--roof") == 0)
            options->roof = 1;
        else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc)
            options->seconds = atof(argv[++i]);
        else if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc)
            options->threads = atoi(argv[++i]);
        else if (ls_op_find(argv[i]))
            options->ops[options->n_ops++] = argv[i];
        else
            return 1;
    }
    return options->threads < 1;
}

static ls_status measure_roof(bench_options *options) {
    triad_result triad;
    LS_TRY(triad_measure(options->threads, options->seconds, &triad));
    options->triad_gbps =
        triad.triad_gbps > triad.stored_gbps ? triad.triad_gbps : triad.stored_gbps;
    if (!options->json)
        printf("triad of %lld MB arrays, %d threads: %.2f GB/s past the caches, %.2f GB/s through "
               "them; "
               "read %.2f GB/s\n",
               (long long)(triad.array_bytes >> 20), options->threads, triad.triad_gbps,
               triad.stored_gbps, triad.read_gbps);
    return LS_OK;
}

int main(int argc, char **argv) {
    bench_options options;
    int failed = 0;
    if (parse_options(argc, argv, &options)) {
        fprintf(stderr, "usage: bench_ops [--json] [--roof] [--seconds S] [--threads N] [OP...]\n");
        return 2;
    }
    if (options.roof && measure_roof(&options) != LS_OK) {
        fprintf(stderr, "bench_ops: %s\n", ls_error_message());
        return 1;
    }
    for (int i = 0; i < op_list_count(); i++) failed |= run_list(&options, op_list_at(i));
    return failed;
}
