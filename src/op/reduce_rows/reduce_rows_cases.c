#include "op/op_case.h"
#include "op/reduce_rows/reduce_rows.h"

static const ls_reduce_rows_attr to_f32 = {LS_DTYPE_F32}, to_bf16 = {LS_DTYPE_BF16},
                                 to_f64 = {LS_DTYPE_F64};
#define X(...)                                       \
    {                                                \
        .dtype = LS_CASE_T, .shape = { __VA_ARGS__ } \
    }
static const ls_case_in vector[] = {X(1, {9})};
static const ls_case_in cube[] = {X(3, {3, 5, 37})};
static const ls_case_in column[] = {X(2, {5000, 1})};
static const ls_case_in tall[] = {X(2, {300, 530})};
static const ls_case_in big[] = {X(2, {4096, 1024})};
/* Larger than the caches. */
static const ls_case_in dram[] = {
    {.dtype = LS_CASE_T, .shape = {2, {65536, 768}}, .fill = LS_FILL_NORMAL, .b = 1}};

static const ls_op_case cases[] = {
    {.name = "vector",
     .attr = &to_f32,
     .n_in = 1,
     .in = vector,
     .dtypes = LS_CASE_FLOATS,
     .grad_step = -1},
    {.name = "cube_f32",
     .attr = &to_f32,
     .n_in = 1,
     .in = cube,
     .dtypes = LS_CASE_FLOATS,
     .grad_step = -1},
    {.name = "cube_bf16",
     .attr = &to_bf16,
     .n_in = 1,
     .in = cube,
     .dtypes = LS_CASE_FLOATS,
     .grad_step = -1},
    {.name = "cube_f64", .attr = &to_f64, .n_in = 1, .in = cube},
    {.name = "column",
     .attr = &to_f32,
     .n_in = 1,
     .in = column,
     .dtypes = LS_CASE_FLOATS,
     .tolerance = 2e-5,
     .grad_step = -1},
    {.name = "tall",
     .attr = &to_f32,
     .n_in = 1,
     .in = tall,
     .dtypes = LS_CASE_FLOATS,
     .tolerance = 2e-5,
     .grad_step = -1},
    {.name = "bench_4096x1024",
     .attr = &to_f32,
     .n_in = 1,
     .in = big,
     .dtypes = LS_CASE_F32 | LS_CASE_BF16,
     .grad_step = -1,
     .bench = 1},
    {.name = "dram",
     .attr = &to_f32,
     .n_in = 1,
     .in = dram,
     .dtypes = LS_CASE_F32 | LS_CASE_BF16,
     .grad_step = -1,
     .bench = 1},
};
LS_CASE_LIST(reduce_rows, cases);
