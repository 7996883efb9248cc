#include "op/op_case.h"

#define X(...)                                       \
    {                                                \
        .dtype = LS_CASE_T, .shape = { __VA_ARGS__ } \
    }
static const ls_case_in vector[] = {X(1, {5}), X(1, {5})};
static const ls_case_in tail[] = {X(3, {3, 5, 37}), X(1, {37})};
static const ls_case_in wide[] = {X(2, {3, 2100}), X(1, {2100})};
static const ls_case_in mixed[] = {X(2, {9, 48}), {.dtype = LS_DTYPE_F32, .shape = {1, {48}}}};
static const ls_case_in tasks[] = {X(2, {500, 129}), X(1, {129})};
static const ls_case_in big[] = {X(2, {4096, 1024}), X(1, {1024})};

static const ls_op_case cases[] = {
    {.name = "vector", .n_in = 2, .in = vector, .dtypes = LS_CASE_FLOATS},
    {.name = "tail", .n_in = 2, .in = tail, .dtypes = LS_CASE_FLOATS},
    {.name = "wide", .n_in = 2, .in = wide, .dtypes = LS_CASE_FLOATS, .grad_step = -1},
    {.name = "f32_bias", .n_in = 2, .in = mixed, .dtypes = LS_CASE_FLOATS},
    {.name = "tasks", .n_in = 2, .in = tasks, .dtypes = LS_CASE_FLOATS, .grad_step = -1},
    {.name = "bench_4096x1024",
     .n_in = 2,
     .in = big,
     .dtypes = LS_CASE_F32 | LS_CASE_BF16,
     .grad_step = -1,
     .bench = 1},
};
LS_CASE_LIST(bias, cases);
