#include "op/op_case.h"
#include "op/scale/scale.h"

static const ls_scale_attr third = {1.0 / 3}, negative = {-1024};
#define X(...)                                       \
    {                                                \
        .dtype = LS_CASE_T, .shape = { __VA_ARGS__ } \
    }
static const ls_case_in scalar[] = {X(0)};
static const ls_case_in tail[] = {X(3, {3, 5, 7})};
static const ls_case_in tasks[] = {X(2, {3, 16391})};
static const ls_case_in big[] = {X(2, {4096, 1024})};

static const ls_op_case cases[] = {
    {.name = "scalar", .attr = &third, .n_in = 1, .in = scalar, .dtypes = LS_CASE_FLOATS},
    {.name = "tail", .attr = &third, .n_in = 1, .in = tail, .dtypes = LS_CASE_FLOATS},
    {.name = "negative", .attr = &negative, .n_in = 1, .in = tail, .dtypes = LS_CASE_FLOATS},
    {.name = "tasks",
     .attr = &third,
     .n_in = 1,
     .in = tasks,
     .dtypes = LS_CASE_FLOATS,
     .grad_step = -1},
    {.name = "bench_4096x1024",
     .attr = &third,
     .n_in = 1,
     .in = big,
     .dtypes = LS_CASE_F32 | LS_CASE_BF16,
     .grad_step = -1,
     .bench = 1},
};
LS_CASE_LIST(scale, cases);
