/* One small case struct, three uses (op/op_case.h): every kernel against the reference, the gradient against central differences
 * in f64, and timing.
 *
 * A kernel check also demands: the same bytes with 1, 2 and 3 threads and when run twice; the same bytes when out[0] overwrites an
 * input the op allows it to, and when the results of an update have memory of their own; nothing unwritten, nothing written past
 * the end of a result or of the workspace.
 * Cases too large to check (more than OP_CHECK_ELEMENTS elements or OP_CHECK_FLOPS) are for timing only. Local. */
#ifndef LS_TEST_OP_HARNESS_H
#define LS_TEST_OP_HARNESS_H
#include "op/op_case.h"

enum { OP_CHECK_ELEMENTS = 1 << 20, OP_CHECK_FLOPS = 1 << 26 };

typedef struct op_report {
    int n_checks;
    int n_failures;
    ls_text text; /* one line a failure: op, case, kernel, dtype, index, got, want */
} op_report;

/* The case lists of every line of op.def. */
int op_list_count(void);
const ls_op_case_list *op_list_at(int i);

int op_case_is_checked(const ls_op *op, const ls_op_case *c);
/* The kernel runs on this machine and accepts the case in one of its dtypes. */
int op_case_reaches(const ls_op *op, const ls_op_case *c, const ls_kernel *kernel);
/* Every kernel this machine can run, for each dtype of the case. */
void op_check_kernels(const ls_op *op, const ls_op_case *c, op_report *report);
/* Skipped (no check counted) where the op has no gradient or the case says so. */
void op_check_gradient(const ls_op *op, const ls_op_case *c, op_report *report);

typedef struct op_timing {
    const char *op, *case_name;
    const char *kernel; /* " kept" behind it: an update with results in other memory */
    ls_dtype dtype;
    int threads;
    double seconds;                   /* best of the runs */
    double bytes_read, bytes_written; /* by the op's cost rule */
    double gflops, gbps;
    double ratio; /* reference seconds / seconds; 0 where the reference is too slow to time */
} op_timing;
/* Not 0: the kernel is to be timed once more. */
typedef int (*op_timing_fn)(void *user, const op_timing *timing);
typedef struct op_timing_options {
    int threads;
    double seconds;    /* the least time spent on one kernel */
    int is_first_only; /* only the kernel that a plan would choose; the reference is not timed */
} op_timing_options;
/* Times each kernel on each dtype of the case. */
ls_status op_time_case(const ls_op *op, const ls_op_case *c, const op_timing_options *options,
                       op_timing_fn fn, void *user);

#endif
