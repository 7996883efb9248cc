#include "op/op_case.h"
#include "op/slice/slice.h"

static const ls_slice_attr first = {0, 1, 3}, middle = {1, 2, 5}, last = {2, 0, 4},
                           nothing = {1, 3, 3}, qkv = {1, 1024, 2048};
#define X(...)                                       \
    {                                                \
        .dtype = LS_CASE_T, .shape = { __VA_ARGS__ } \
    }
static const ls_case_in cube[] = {X(3, {4, 6, 7})};
static const ls_case_in ids[] = {
    {.dtype = LS_DTYPE_I64, .shape = {3, {4, 6, 7}}, .fill = LS_FILL_INTEGER, .b = 1e6}};
static const ls_case_in big[] = {X(2, {4096, 3072})};

static const ls_op_case cases[] = {
    {.name = "first", .attr = &first, .n_in = 1, .in = cube, .dtypes = LS_CASE_FLOATS},
    {.name = "middle", .attr = &middle, .n_in = 1, .in = cube, .dtypes = LS_CASE_FLOATS},
    {.name = "last", .attr = &last, .n_in = 1, .in = cube, .dtypes = LS_CASE_FLOATS},
    {.name = "nothing", .attr = &nothing, .n_in = 1, .in = cube, .dtypes = LS_CASE_FLOATS},
    {.name = "ids", .attr = &middle, .n_in = 1, .in = ids},
    {.name = "bench_4096x1024",
     .attr = &qkv,
     .n_in = 1,
     .in = big,
     .dtypes = LS_CASE_F32 | LS_CASE_BF16,
     .grad_step = -1,
     .bench = 1},
};
LS_CASE_LIST(slice, cases);

static const ls_slice_attr back_first = {0, 1, 9}, back_middle = {1, 0, 6}, back_last = {2, 3, 40},
                           back_qkv = {1, 1024, 3072};
static const ls_case_in grad_big[] = {X(2, {4096, 1024})};
static const ls_op_case grad_cases[] = {
    {.name = "first", .attr = &back_first, .n_in = 1, .in = cube, .dtypes = LS_CASE_FLOATS},
    {.name = "middle", .attr = &back_middle, .n_in = 1, .in = cube, .dtypes = LS_CASE_FLOATS},
    {.name = "last", .attr = &back_last, .n_in = 1, .in = cube, .dtypes = LS_CASE_FLOATS},
    {.name = "bench_4096x3072",
     .attr = &back_qkv,
     .n_in = 1,
     .in = grad_big,
     .dtypes = LS_CASE_F32 | LS_CASE_BF16,
     .bench = 1},
};
LS_CASE_LIST(slice_grad, grad_cases);
