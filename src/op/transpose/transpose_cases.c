#include "op/op_case.h"
#include "op/transpose/transpose.h"

static const ls_transpose_attr swap_2 = {2, {1, 0}}, same = {3, {0, 1, 2}},
                               heads = {4, {0, 2, 1, 3}}, turn = {3, {2, 0, 1}},
                               reverse = {4, {3, 2, 1, 0}}, none = {0};
#define X(...)                                       \
    {                                                \
        .dtype = LS_CASE_T, .shape = { __VA_ARGS__ } \
    }
static const ls_case_in scalar[] = {X(0)};
static const ls_case_in matrix[] = {X(2, {35, 67})};
static const ls_case_in row[] = {X(2, {1, 67})};
static const ls_case_in cube[] = {X(3, {3, 5, 37})};
static const ls_case_in four[] = {X(4, {2, 3, 5, 34})};
static const ls_case_in empty[] = {X(2, {0, 4})};
static const ls_case_in ids[] = {
    {.dtype = LS_DTYPE_I64, .shape = {2, {5, 9}}, .fill = LS_FILL_INTEGER, .b = 1e6}};
static const ls_case_in bytes[] = {
    {.dtype = LS_DTYPE_U8, .shape = {2, {5, 9}}, .fill = LS_FILL_INTEGER, .b = 200}};
static const ls_case_in big[] = {X(2, {4096, 1024})};
static const ls_case_in big_heads[] = {X(4, {8, 512, 16, 64})};

#define FLOATS .dtypes = LS_CASE_FLOATS
static const ls_op_case cases[] = {
    {.name = "scalar", .attr = &none, .n_in = 1, .in = scalar, FLOATS},
    {.name = "matrix", .attr = &swap_2, .n_in = 1, .in = matrix, FLOATS},
    {.name = "row", .attr = &swap_2, .n_in = 1, .in = row, FLOATS},
    {.name = "same", .attr = &same, .n_in = 1, .in = cube, FLOATS},
    {.name = "turn", .attr = &turn, .n_in = 1, .in = cube, FLOATS},
    {.name = "heads", .attr = &heads, .n_in = 1, .in = four, FLOATS},
    {.name = "reverse", .attr = &reverse, .n_in = 1, .in = four, FLOATS},
    {.name = "empty", .attr = &swap_2, .n_in = 1, .in = empty, .grad_step = -1},
    {.name = "ids", .attr = &swap_2, .n_in = 1, .in = ids},
    {.name = "bytes", .attr = &swap_2, .n_in = 1, .in = bytes},
    {.name = "bench_4096x1024",
     .attr = &swap_2,
     .n_in = 1,
     .in = big,
     .dtypes = LS_CASE_F32 | LS_CASE_BF16,
     .grad_step = -1,
     .bench = 1},
    {.name = "bench_heads",
     .attr = &heads,
     .n_in = 1,
     .in = big_heads,
     .dtypes = LS_CASE_F32 | LS_CASE_BF16,
     .grad_step = -1,
     .bench = 1},
};
LS_CASE_LIST(transpose, cases);
