/* Times the bench cases of every op: each kernel this machine can run, on each dtype of the case.
 *   bench_ops [--json] [--seconds S] [--threads N] [OP...]
 * A line gives GFLOP/s and GB/s by the op's own cost rule, and how many times faster than the reference kernel it is. */
#include "op/op_harness.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct bench_options {
    int json, threads, n_ops;
    double seconds;
    char **ops;
} bench_options;

static void print_text(void *user, const op_timing *t) {
    (void)user;
    printf("%-18s %-22s %-28s %-5s %10.3f ms %9.1f GFLOP/s %8.2f GB/s %9.1fx\n", t->op,
           t->case_name, t->kernel, ls_dtype_name(t->dtype), t->seconds * 1e3, t->gflops, t->gbps,
           t->ratio);
    fflush(stdout);
}

static void print_json(void *user, const op_timing *t) {
    (void)user;
    printf("{\"op\":\"%s\",\"case\":\"%s\",\"kernel\":\"%s\",\"dtype\":\"%s\",\"threads\":%d,"
           "\"seconds\":%.9g,\"gflops\":%.6g,\"gbps\":%.6g,\"ratio_to_ref\":%.6g}\n",
           t->op, t->case_name, t->kernel, ls_dtype_name(t->dtype), t->threads, t->seconds,
           t->gflops, t->gbps, t->ratio);
    fflush(stdout);
}

static int is_chosen(const bench_options *options, const char *name) {
    for (int i = 0; i < options->n_ops; i++)
        if (strcmp(options->ops[i], name) == 0) return 1;
    return options->n_ops == 0;
}

static int run_list(const bench_options *options, const ls_op_case_list *list) {
    if (!is_chosen(options, list->op->name)) return 0;
    for (int i = 0; i < list->n_cases; i++) {
        if (!list->cases[i].bench) continue;
        if (op_time_case(list->op, &list->cases[i], options->threads, options->seconds,
                         options->json ? print_json : print_text, NULL) != LS_OK) {
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

int main(int argc, char **argv) {
    bench_options options;
    int failed = 0;
    if (parse_options(argc, argv, &options)) {
        fprintf(stderr, "usage: bench_ops [--json] [--seconds S] [--threads N] [OP...]\n");
        return 2;
    }
    for (int i = 0; i < op_list_count(); i++) failed |= run_list(&options, op_list_at(i));
    return failed;
}
