#include "op/op_case.h"

#define X(...) \
    { .dtype = LS_CASE_T, .shape = {__VA_ARGS__}, .b = 2 }
#define THREE(...) \
    { X(__VA_ARGS__), X(__VA_ARGS__), X(__VA_ARGS__) }
static const ls_case_in scalar[] = THREE(0);
static const ls_case_in tail[] = THREE(3, {3, 5, 7});
static const ls_case_in tasks[] = THREE(2, {3, 16391});
static const ls_case_in big[] = THREE(2, {4096, 1024});

#define CASES(inputs)                                                                              \
    {.name = "scalar", .n_in = inputs, .in = scalar, .dtypes = LS_CASE_FLOATS},                    \
        {.name = "tail", .n_in = inputs, .in = tail, .dtypes = LS_CASE_FLOATS},                    \
        {.name = "tasks", .n_in = inputs, .in = tasks, .dtypes = LS_CASE_FLOATS, .grad_step = -1}, \
    {                                                                                              \
        .name = "bench_4096x1024", .n_in = inputs, .in = big,                                      \
        .dtypes = LS_CASE_F32 | LS_CASE_BF16, .grad_step = -1, .bench = 1                          \
    }

static const ls_op_case cases[] = {CASES(2)};
static const ls_op_case grad_cases[] = {CASES(3)};
LS_CASE_LIST(swiglu, cases);
LS_CASE_LIST(swiglu_grad, grad_cases);
