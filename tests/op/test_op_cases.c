/* Every case of every op: kernels against the reference, gradients against differences. Arguments are names of ops to run
 * (all when there are none); an unknown name is an error.
 * labels: cost=240 */
#include "op/op_harness.h"
#include <stdio.h>
#include <string.h>

static int is_chosen(const char *name, int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], name) == 0) return 1;
    return argc <= 1;
}

static int run_list(const ls_op_case_list *list, int *n_failures) {
    op_report report = {0};
    int n_timing_only = 0;
    for (int i = 0; i < list->n_cases; i++) {
        if (op_case_is_checked(list->op, &list->cases[i])) {
            op_check_kernels(list->op, &list->cases[i], &report);
            op_check_gradient(list->op, &list->cases[i], &report);
        } else {
            n_timing_only++;
        }
    }
    const int idle = report.n_checks == 0;
    printf("%-24s %3d cases %5d checks %s\n", list->op->name, list->n_cases - n_timing_only,
           report.n_checks,
           idle                ? "NOTHING CHECKED"
           : report.n_failures ? "FAILED"
                               : "ok");
    if (report.text.data) fputs(report.text.data, stdout);
    *n_failures += report.n_failures + idle;
    ls_text_deinit(&report.text);
    return report.n_checks;
}

int main(int argc, char **argv) {
    int n_failures = 0, n_checks = 0;
    for (int i = 1; i < argc; i++)
        if (!ls_op_find(argv[i])) {
            fprintf(stderr, "test_op_cases: no op named '%s'\n", argv[i]);
            return 2;
        }
    for (int i = 0; i < op_list_count(); i++)
        if (is_chosen(op_list_at(i)->op->name, argc, argv))
            n_checks += run_list(op_list_at(i), &n_failures);
    printf("%d checks, %d failures\n", n_checks, n_failures);
    return n_failures || n_checks == 0;
}
