#include "op/op_case.h"

#define X(...)                                       \
    {                                                \
        .dtype = LS_CASE_T, .shape = { __VA_ARGS__ } \
    }
static const ls_case_in scalar[] = {X(0), X(0)};
static const ls_case_in tail[] = {X(3, {3, 5, 7}), X(3, {3, 5, 7})};
static const ls_case_in empty[] = {X(2, {0, 7}), X(2, {0, 7})};
static const ls_case_in tasks[] = {X(2, {3, 16391}), X(2, {3, 16391})};
static const ls_case_in big[] = {X(2, {4096, 1024}), X(2, {4096, 1024})};

static const ls_op_case cases[] = {
    {.name = "scalar", .n_in = 2, .in = scalar, .dtypes = LS_CASE_FLOATS},
    {.name = "tail", .n_in = 2, .in = tail, .dtypes = LS_CASE_FLOATS},
    {.name = "empty", .n_in = 2, .in = empty, .dtypes = LS_CASE_FLOATS, .grad_step = -1},
    {.name = "tasks", .n_in = 2, .in = tasks, .dtypes = LS_CASE_FLOATS, .grad_step = -1},
    {.name = "bench_4096x1024",
     .n_in = 2,
     .in = big,
     .dtypes = LS_CASE_F32 | LS_CASE_BF16,
     .grad_step = -1,
     .bench = 1},
};
LS_CASE_LIST(add, cases);
