#include "op/gather/gather.h"
#include "op/op_case.h"

static const ls_gather_attr first = {0, 6}, middle = {1, 5}, last = {2, 7}, rows = {0, 4096};
#define X(...)                                       \
    {                                                \
        .dtype = LS_CASE_T, .shape = { __VA_ARGS__ } \
    }
#define IDS(limit, ...) \
    { .dtype = LS_DTYPE_I32, .shape = {__VA_ARGS__}, .fill = LS_FILL_INTEGER, .b = limit }
static const ls_case_in by_first[] = {X(3, {6, 5, 7}), IDS(6, 1, {9})};
static const ls_case_in by_middle[] = {X(3, {6, 5, 7}), IDS(5, 1, {3})};
static const ls_case_in by_last[] = {X(3, {6, 5, 7}), IDS(7, 1, {20})};
static const ls_case_in nothing[] = {X(3, {6, 5, 7}), IDS(5, 1, {0})};
static const ls_case_in big[] = {X(2, {4096, 1024}), IDS(4096, 1, {4096})};

static const ls_op_case cases[] = {
    {.name = "first", .attr = &first, .n_in = 2, .in = by_first, .dtypes = LS_CASE_FLOATS},
    {.name = "middle", .attr = &middle, .n_in = 2, .in = by_middle, .dtypes = LS_CASE_FLOATS},
    {.name = "last", .attr = &last, .n_in = 2, .in = by_last, .dtypes = LS_CASE_FLOATS},
    {.name = "nothing", .attr = &middle, .n_in = 2, .in = nothing, .dtypes = LS_CASE_FLOATS},
    {.name = "bench_4096x1024",
     .attr = &rows,
     .n_in = 2,
     .in = big,
     .dtypes = LS_CASE_F32 | LS_CASE_BF16,
     .grad_step = -1,
     .bench = 1},
};
LS_CASE_LIST(gather, cases);

static const ls_case_in grad_middle[] = {IDS(5, 1, {12}), X(3, {3, 12, 7})};
static const ls_op_case grad_cases[] = {
    {.name = "middle", .attr = &middle, .n_in = 2, .in = grad_middle, .dtypes = LS_CASE_FLOATS},
};
LS_CASE_LIST(gather_grad, grad_cases);
