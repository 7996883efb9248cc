#include "op/op_case.h"
#include "op/reshape/reshape.h"

static const ls_reshape_attr flat = {{1, {30}}}, matrix = {{2, {5, 6}}}, scalar = {{0}};
static const ls_case_in cube[] = {{.dtype = LS_CASE_T, .shape = {3, {2, 3, 5}}}};
static const ls_case_in one[] = {{.dtype = LS_CASE_T, .shape = {2, {1, 1}}}};

static const ls_op_case cases[] = {
    {.name = "flat", .attr = &flat, .n_in = 1, .in = cube, .dtypes = LS_CASE_FLOATS},
    {.name = "matrix", .attr = &matrix, .n_in = 1, .in = cube, .dtypes = LS_CASE_FLOATS},
    {.name = "scalar", .attr = &scalar, .n_in = 1, .in = one, .dtypes = LS_CASE_FLOATS},
};
LS_CASE_LIST(reshape, cases);
