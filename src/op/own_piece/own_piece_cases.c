#include "op/op_case.h"
#include "op/own_piece/own_piece.h"

static const ls_own_piece_attr of_35 = {.count = 35, .lanes = 4, .size = 1};
static const ls_own_piece_attr of_256 = {.count = 256, .lanes = 4, .size = 1};
static const ls_own_piece_attr of_2 = {.count = 512, .lanes = 8, .size = 2};
static const ls_case_in in_odd[] = {{.dtype = LS_CASE_T, .shape = {2, {7, 5}}, .b = 1}};
static const ls_case_in in_even[] = {{.dtype = LS_CASE_T, .shape = {1, {256}}, .b = 1}};
static const ls_case_in in_two[] = {{.dtype = LS_CASE_T, .shape = {2, {8, 64}}, .b = 1}};

static const ls_op_case cases[] = {
    {.name = "odd",
     .attr = &of_35,
     .n_in = 1,
     .in = in_odd,
     .dtypes = LS_CASE_FLOATS,
     .grad_step = -1},
    {.name = "even",
     .attr = &of_256,
     .n_in = 1,
     .in = in_even,
     .dtypes = LS_CASE_FLOATS,
     .grad_step = -1},
    {.name = "first of two",
     .attr = &of_2,
     .n_in = 1,
     .in = in_two,
     .dtypes = LS_CASE_FLOATS,
     .grad_step = -1},
};

LS_CASE_LIST(own_piece, cases);
