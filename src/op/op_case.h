/* Test cases of ops: one small struct, three uses: every kernel against the reference kernel, the gradient against finite
 * differences in f64, and timing. src/op/<op>/<op>_cases.c defines `const ls_op_case_list ls_cases_<name>` for every line of
 * op.def (compiled into the test harness, not into the library). */
#ifndef LS_OP_OP_CASE_H
#define LS_OP_OP_CASE_H
#include "op/op.h"

typedef enum ls_fill {
    LS_FILL_NORMAL,  /* mean a, standard deviation b (b 0 means 1) */
    LS_FILL_UNIFORM, /* [a, b) */
    LS_FILL_INTEGER, /* whole numbers in [a, b) */
    LS_FILL_CONSTANT /* a */
} ls_fill;

enum { LS_CASE_T = -1 }; /* dtype placeholder: the dtype under test */
#define LS_CASE_F32    (1u << LS_DTYPE_F32)
#define LS_CASE_BF16   (1u << LS_DTYPE_BF16)
#define LS_CASE_F16    (1u << LS_DTYPE_F16)
#define LS_CASE_FLOATS (LS_CASE_F32 | LS_CASE_BF16 | LS_CASE_F16)

typedef struct ls_case_in {
    int dtype; /* ls_dtype or LS_CASE_T */
    ls_shape shape;
    ls_fill fill;
    double a, b;
    int no_grad; /* skip this input in the gradient check (integers are skipped anyway) */
} ls_case_in;

typedef struct ls_op_case {
    const char *name;
    const void *attr;
    int n_in;
    const ls_case_in *in;
    unsigned dtypes; /* LS_CASE_* mask of values for LS_CASE_T; 0 means F32 only */
    double
        tolerance; /* |kernel - ref| <= tolerance * (1 + |ref|) for f32; bf16 and f16 add their rounding step. 0 means 1e-5 */
    double grad_step; /* finite-difference step in f64; 0 means 1e-5; negative: no gradient check */
    double grad_tolerance; /* 0 means 1e-6 relative to the largest gradient */
    int in_place;          /* out aliases an input: the harness copies inputs before each run */
    int bench;             /* also timed by `make bench` */
} ls_op_case;

typedef struct ls_op_case_list {
    const ls_op *op;
    const ls_op_case *cases;
    int n_cases;
} ls_op_case_list;

#define LS_SHAPE(...)                                                                  \
    (ls_shape) {                                                                       \
        .n_dims = (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), .dims = { \
            __VA_ARGS__                                                                \
        }                                                                              \
    }
#define LS_CASE_LIST(op_name, array)                                     \
    extern const ls_op_case_list ls_cases_##op_name;                     \
    const ls_op_case_list ls_cases_##op_name = {&ls_op_##op_name, array, \
                                                (int)(sizeof(array) / sizeof((array)[0]))}

#endif
