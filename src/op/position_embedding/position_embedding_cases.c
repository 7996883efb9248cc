#include "op/op_case.h"
#include "op/position_embedding/position_embedding.h"

#define X(...)                                       \
    {                                                \
        .dtype = LS_CASE_T, .shape = { __VA_ARGS__ } \
    }
static const ls_case_in whole[] = {X(3, {3, 5, 32}), X(2, {5, 32})};
static const ls_case_in tail[] = {X(3, {2, 5, 19}), X(2, {9, 19})};
static const ls_case_in single[] = {X(3, {1, 1, 1}), X(2, {4, 1})};
static const ls_case_in wide_table[] = {X(3, {2, 3, 20}),
                                        {.dtype = LS_DTYPE_F32, .shape = {2, {3, 20}}}};
static const ls_case_in big[] = {X(3, {8, 256, 768}), X(2, {1024, 768})};

static const ls_op_case cases[] = {
    {.name = "whole", .n_in = 2, .in = whole, .dtypes = LS_CASE_FLOATS},
    {.name = "tail", .n_in = 2, .in = tail, .dtypes = LS_CASE_FLOATS},
    {.name = "single", .n_in = 2, .in = single, .dtypes = LS_CASE_FLOATS},
    {.name = "wide_table", .n_in = 2, .in = wide_table, .dtypes = LS_CASE_FLOATS},
    {.name = "bench_8x256x768",
     .n_in = 2,
     .in = big,
     .dtypes = LS_CASE_F32 | LS_CASE_BF16,
     .grad_step = -1,
     .bench = 1},
};
LS_CASE_LIST(position_embedding, cases);

#define ATTR(rows)                              \
    &(const ls_position_embedding_grad_attr) {  \
        .dtype = LS_DTYPE_F32, .n_rows = (rows) \
    }
static const ls_op_case grad_cases[] = {
    {.name = "whole", .attr = ATTR(5), .n_in = 1, .in = whole, .dtypes = LS_CASE_FLOATS},
    {.name = "tail", .attr = ATTR(9), .n_in = 1, .in = tail, .dtypes = LS_CASE_FLOATS},
    {.name = "single", .attr = ATTR(4), .n_in = 1, .in = single, .dtypes = LS_CASE_FLOATS},
    {.name = "bench_8x256x768",
     .attr = ATTR(1024),
     .n_in = 1,
     .in = big,
     .dtypes = LS_CASE_F32 | LS_CASE_BF16,
     .grad_step = -1,
     .bench = 1},
};
LS_CASE_LIST(position_embedding_grad, grad_cases);
