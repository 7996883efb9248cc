#include "op/op_case.h"

#define X(...)                                       \
    {                                                \
        .dtype = LS_CASE_T, .shape = { __VA_ARGS__ } \
    }
#define S32 \
    { .dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 1024.5 }
static const ls_case_in scalars[] = {X(0), X(0)};
static const ls_case_in tail[] = {X(3, {3, 5, 7}), X(3, {3, 5, 7})};
static const ls_case_in by_scalar[] = {X(2, {3, 37}), X(0)};
static const ls_case_in by_f32[] = {X(2, {3, 37}), S32};
static const ls_case_in tasks[] = {X(2, {3, 16391}), X(2, {3, 16391})};
static const ls_case_in big[] = {X(2, {4096, 1024}), X(2, {4096, 1024})};

static const ls_op_case cases[] = {
    {.name = "scalars", .n_in = 2, .in = scalars, .dtypes = LS_CASE_FLOATS},
    {.name = "tail", .n_in = 2, .in = tail, .dtypes = LS_CASE_FLOATS},
    {.name = "by_scalar", .n_in = 2, .in = by_scalar, .dtypes = LS_CASE_FLOATS},
    {.name = "by_f32", .n_in = 2, .in = by_f32, .dtypes = LS_CASE_FLOATS},
    {.name = "tasks", .n_in = 2, .in = tasks, .dtypes = LS_CASE_FLOATS, .grad_step = -1},
    {.name = "bench_4096x1024",
     .n_in = 2,
     .in = big,
     .dtypes = LS_CASE_F32 | LS_CASE_BF16,
     .grad_step = -1,
     .bench = 1},
};
LS_CASE_LIST(mul, cases);
