#include "op/embedding/embedding.h"
#include "op/op_case.h"

#define T(...)                                       \
    {                                                \
        .dtype = LS_CASE_T, .shape = { __VA_ARGS__ } \
    }
#define IDS(limit, ...) \
    { .dtype = LS_DTYPE_I32, .shape = {__VA_ARGS__}, .fill = LS_FILL_INTEGER, .b = limit }
static const ls_case_in one[] = {T(2, {1, 3}), IDS(1, 1, {2})};
static const ls_case_in matrix[] = {T(2, {11, 37}), IDS(11, 2, {3, 5})};
static const ls_case_in scalar[] = {T(2, {11, 16}), IDS(11, 0)};
static const ls_case_in tasks[] = {T(2, {500, 129}), IDS(500, 1, {900})};
static const ls_case_in big[] = {T(2, {2048, 256}), IDS(2048, 1, {4096})};

static const ls_op_case cases[] = {
    {.name = "one", .n_in = 2, .in = one, .dtypes = LS_CASE_FLOATS},
    {.name = "matrix", .n_in = 2, .in = matrix, .dtypes = LS_CASE_FLOATS},
    {.name = "scalar", .n_in = 2, .in = scalar, .dtypes = LS_CASE_FLOATS},
    {.name = "tasks", .n_in = 2, .in = tasks, .dtypes = LS_CASE_FLOATS, .grad_step = -1},
    {.name = "bench_4096x256",
     .n_in = 2,
     .in = big,
     .dtypes = LS_CASE_F32 | LS_CASE_BF16,
     .grad_step = -1,
     .bench = 1},
};
LS_CASE_LIST(embedding, cases);

static const ls_embedding_grad_attr of_11 = {11, LS_DTYPE_F32}, of_70 = {70, LS_DTYPE_F32},
                                    of_2048 = {2048, LS_DTYPE_F32};
static const ls_case_in grad_matrix[] = {IDS(11, 2, {3, 5}), T(3, {3, 5, 37})};
static const ls_case_in grad_skewed[] = {IDS(3, 1, {400}), T(2, {400, 40})};
static const ls_case_in sum_matrix[] = {
    IDS(11, 2, {3, 5}), T(3, {3, 5, 37}), {.dtype = LS_DTYPE_F32, .shape = {2, {11, 37}}}};
static const ls_case_in sum_skewed[] = {
    IDS(3, 1, {400}), T(2, {400, 40}), {.dtype = LS_DTYPE_F32, .shape = {2, {70, 40}}}};
static const ls_case_in sum_none[] = {
    IDS(11, 1, {0}), T(2, {0, 37}), {.dtype = LS_DTYPE_F32, .shape = {2, {11, 37}}}};
static const ls_case_in grad_big[] = {IDS(2048, 1, {4096}), T(2, {4096, 256})};

static const ls_op_case grad_cases[] = {
    {.name = "matrix", .attr = &of_11, .n_in = 2, .in = grad_matrix, .dtypes = LS_CASE_FLOATS},
    {.name = "skewed", .attr = &of_70, .n_in = 2, .in = grad_skewed, .dtypes = LS_CASE_FLOATS},
    {.name = "sum", .attr = &of_11, .n_in = 3, .in = sum_matrix, .dtypes = LS_CASE_FLOATS},
    {.name = "sum_skewed", .attr = &of_70, .n_in = 3, .in = sum_skewed, .dtypes = LS_CASE_FLOATS},
    {.name = "sum_of_no_ids", .attr = &of_11, .n_in = 3, .in = sum_none, .dtypes = LS_CASE_FLOATS},
    {.name = "bench_4096x256",
     .attr = &of_2048,
     .n_in = 2,
     .in = grad_big,
     .dtypes = LS_CASE_F32 | LS_CASE_BF16,
     .bench = 1},
};
LS_CASE_LIST(embedding_grad, grad_cases);
