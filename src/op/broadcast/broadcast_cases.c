#include "op/broadcast/broadcast.h"
#include "op/op_case.h"

static const ls_broadcast_attr first_5 = {5, 0}, last_7 = {7, 2}, middle_3 = {3, 1}, none = {0, 1},
                               first_4096 = {4096, 0};
#define X(...)                                       \
    {                                                \
        .dtype = LS_CASE_T, .shape = { __VA_ARGS__ } \
    }
static const ls_case_in scalar[] = {X(0)};
static const ls_case_in matrix[] = {X(2, {4, 9})};
static const ls_case_in big[] = {X(1, {1024})};
static const ls_case_in ids[] = {
    {.dtype = LS_DTYPE_I32, .shape = {2, {2, 3}}, .fill = LS_FILL_INTEGER, .b = 100}};

static const ls_op_case cases[] = {
    {.name = "scalar", .attr = &first_5, .n_in = 1, .in = scalar, .dtypes = LS_CASE_FLOATS},
    {.name = "first", .attr = &first_5, .n_in = 1, .in = matrix, .dtypes = LS_CASE_FLOATS},
    {.name = "middle", .attr = &middle_3, .n_in = 1, .in = matrix, .dtypes = LS_CASE_FLOATS},
    {.name = "last", .attr = &last_7, .n_in = 1, .in = matrix, .dtypes = LS_CASE_FLOATS},
    {.name = "none", .attr = &none, .n_in = 1, .in = matrix, .grad_step = -1},
    {.name = "ids", .attr = &last_7, .n_in = 1, .in = ids},
    {.name = "bench_4096x1024",
     .attr = &first_4096,
     .n_in = 1,
     .in = big,
     .dtypes = LS_CASE_F32 | LS_CASE_BF16,
     .grad_step = -1,
     .bench = 1},
};
LS_CASE_LIST(broadcast, cases);
