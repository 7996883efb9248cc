/* A case made concrete for one dtype: what the files of the op harness share. */
#ifndef LS_TEST_OP_APPLIED_H
#define LS_TEST_OP_APPLIED_H
#include "op/op_harness.h"

enum { OP_TESTED_DTYPES = 3 };
extern const ls_dtype op_tested_dtypes[OP_TESTED_DTYPES];

typedef struct applied { /* storage of one application of an op */
    const ls_op *op;
    const ls_op_case *c;
    ls_dtype dtype;
    ls_type *in_types;
    ls_type out_types[LS_MAX_OUT];
    ls_sig sig;
    ls_tensor *in;
    ls_tensor out[LS_MAX_OUT];
} applied;

/* Deinit also after a failure. wide: f32 inputs become f64. */
ls_status op_applied_init(applied *a, const ls_op *op, const ls_op_case *c, ls_dtype dtype,
                          int wide);
void op_applied_deinit(applied *a);
/* Results are poisoned; those that live in an input (op->alias) start as a copy of it. */
void op_applied_prepare(applied *a);
ls_cost op_sig_cost(const ls_sig *sig);
int op_kernel_runs_here(const ls_kernel *kernel, const ls_sig *sig);
int op_case_has_dtype(const ls_op_case *c, ls_dtype dtype);

#endif
