#include "op/mean_squared_error/mean_squared_error.h"
#include "op/op_case.h"

static const ls_mean_squared_error_attr plain = {1}, scaled = {0.125f};
#define X(...)                                       \
    {                                                \
        .dtype = LS_CASE_T, .shape = { __VA_ARGS__ } \
    }
#define Y(...) \
    { .dtype = LS_CASE_T, .shape = {__VA_ARGS__}, .no_grad = 1 }
static const ls_case_in scalar[] = {X(0), Y(0)};
static const ls_case_in tail[] = {X(3, {3, 5, 7}), Y(3, {3, 5, 7})};
static const ls_case_in tasks[] = {X(2, {3, 16391}), Y(2, {3, 16391})};
static const ls_case_in big[] = {X(2, {4096, 1024}), Y(2, {4096, 1024})};

static const ls_op_case cases[] = {
    {.name = "scalar", .attr = &plain, .n_in = 2, .in = scalar, .dtypes = LS_CASE_FLOATS},
    {.name = "tail", .attr = &plain, .n_in = 2, .in = tail, .dtypes = LS_CASE_FLOATS},
    {.name = "scaled", .attr = &scaled, .n_in = 2, .in = tail, .dtypes = LS_CASE_FLOATS},
    {.name = "tasks",
     .attr = &plain,
     .n_in = 2,
     .in = tasks,
     .dtypes = LS_CASE_FLOATS,
     .grad_step = -1},
    {.name = "bench_4096x1024",
     .attr = &plain,
     .n_in = 2,
     .in = big,
     .dtypes = LS_CASE_F32 | LS_CASE_BF16,
     .grad_step = -1,
     .bench = 1},
};
LS_CASE_LIST(mean_squared_error, cases);
