#include "op/op_case.h"
#include "op/sum_squares/sum_squares.h"

static const ls_case_in in_one[] = {
    {.dtype = LS_DTYPE_F32, .shape = {2, {7, 5}}, .fill = LS_FILL_NORMAL, .b = 1}};
static const ls_case_in in_scalar[] = {
    {.dtype = LS_DTYPE_F32, .shape = {0, {0}}, .fill = LS_FILL_CONSTANT, .a = 3}};
static const ls_case_in in_odd[] = {
    {.dtype = LS_DTYPE_F32, .shape = {1, {100003}}, .fill = LS_FILL_NORMAL, .b = 1}};
static const ls_case_in in_big[] = {
    {.dtype = LS_DTYPE_F32, .shape = {2, {2048, 2048}}, .fill = LS_FILL_NORMAL, .b = 1}};
static const ls_case_in in_huge[] = {
    {.dtype = LS_DTYPE_F32, .shape = {1, {33}}, .fill = LS_FILL_NORMAL, .b = 1e30}};

static const ls_op_case cases[] = {
    {.name = "one", .n_in = 1, .in = in_one, .tolerance = 1e-12, .grad_step = -1},
    {.name = "scalar", .n_in = 1, .in = in_scalar, .tolerance = 1e-12, .grad_step = -1},
    {.name = "odd", .n_in = 1, .in = in_odd, .tolerance = 1e-12, .grad_step = -1},
    {.name = "big", .n_in = 1, .in = in_big, .tolerance = 1e-12, .grad_step = -1, .bench = 1},
    {.name = "huge", .n_in = 1, .in = in_huge, .tolerance = 1e-12, .grad_step = -1},
};

LS_CASE_LIST(sum_squares, cases);
