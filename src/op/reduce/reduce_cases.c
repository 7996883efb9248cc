#include "op/op_case.h"
#include "op/reduce/reduce.h"

static const ls_reduce_attr sum_all = {LS_REDUCE_SUM, -1}, mean_all = {LS_REDUCE_MEAN, -1},
                            max_all = {LS_REDUCE_MAX, -1}, sum_0 = {LS_REDUCE_SUM, 0},
                            mean_1 = {LS_REDUCE_MEAN, 1}, max_1 = {LS_REDUCE_MAX, 1},
                            sum_2 = {LS_REDUCE_SUM, 2}, max_2 = {LS_REDUCE_MAX, 2};
#define X(...)                                       \
    {                                                \
        .dtype = LS_CASE_T, .shape = { __VA_ARGS__ } \
    }
static const ls_case_in scalar[] = {X(0)};
static const ls_case_in cube[] = {X(3, {3, 5, 37})};
static const ls_case_in long_line[] = {X(1, {9001})};
static const ls_case_in long_lines[] = {X(3, {2, 3, 8200})};
static const ls_case_in rows[] = {X(2, {199, 523})};
static const ls_case_in many[] = {X(3, {3, 200, 21})};
static const ls_case_in empty[] = {X(2, {0, 5})};
static const ls_case_in big[] = {X(2, {4096, 1024})};

#define SUMS .dtypes = LS_CASE_FLOATS, .tolerance = 2e-5
static const ls_op_case cases[] = {
    {.name = "scalar", .attr = &sum_all, .n_in = 1, .in = scalar, SUMS},
    {.name = "sum_all", .attr = &sum_all, .n_in = 1, .in = cube, SUMS},
    {.name = "mean_all", .attr = &mean_all, .n_in = 1, .in = cube, SUMS},
    {.name = "max_all", .attr = &max_all, .n_in = 1, .in = cube, SUMS},
    {.name = "sum_first", .attr = &sum_0, .n_in = 1, .in = cube, SUMS},
    {.name = "mean_middle", .attr = &mean_1, .n_in = 1, .in = cube, SUMS},
    {.name = "max_middle", .attr = &max_1, .n_in = 1, .in = cube, SUMS},
    {.name = "sum_last", .attr = &sum_2, .n_in = 1, .in = cube, SUMS},
    {.name = "max_last", .attr = &max_2, .n_in = 1, .in = cube, SUMS},
    {.name = "empty_sum", .attr = &sum_0, .n_in = 1, .in = empty, .grad_step = -1},
    {.name = "long_line", .attr = &sum_all, .n_in = 1, .in = long_line, SUMS, .grad_step = -1},
    {.name = "long_max", .attr = &max_2, .n_in = 1, .in = long_lines, SUMS, .grad_step = -1},
    {.name = "long_sum", .attr = &sum_2, .n_in = 1, .in = long_lines, SUMS, .grad_step = -1},
    {.name = "rows", .attr = &sum_0, .n_in = 1, .in = rows, SUMS, .grad_step = -1},
    {.name = "many_mean", .attr = &mean_1, .n_in = 1, .in = many, SUMS, .grad_step = -1},
    {.name = "many_max", .attr = &max_1, .n_in = 1, .in = many, SUMS, .grad_step = -1},
    {.name = "bench_rows_4096x1024",
     .attr = &sum_0,
     .n_in = 1,
     .in = big,
     .dtypes = LS_CASE_F32 | LS_CASE_BF16,
     .grad_step = -1,
     .bench = 1},
    {.name = "bench_all_4096x1024",
     .attr = &sum_all,
     .n_in = 1,
     .in = big,
     .dtypes = LS_CASE_F32 | LS_CASE_BF16,
     .grad_step = -1,
     .bench = 1},
};
LS_CASE_LIST(reduce, cases);

static const ls_case_in max_grad_last[] = {
    {.dtype = LS_CASE_T, .shape = {2, {4, 5}}, .fill = LS_FILL_CONSTANT, .a = 2},
    {.dtype = LS_CASE_T, .shape = {1, {4}}, .fill = LS_FILL_CONSTANT, .a = 2},
    X(1, {4})};
static const ls_op_case max_grad_cases[] = {
    {.name = "ties", .attr = &max_1, .n_in = 3, .in = max_grad_last, .dtypes = LS_CASE_FLOATS},
};
LS_CASE_LIST(reduce_max_grad, max_grad_cases);
