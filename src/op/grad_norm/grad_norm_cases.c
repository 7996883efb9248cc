#include "op/grad_norm/grad_norm.h"
#include "op/op_case.h"

static const ls_case_in in_one[] = {
    {.dtype = LS_DTYPE_F32, .shape = {2, {7, 5}}, .fill = LS_FILL_NORMAL, .b = 1}};
static const ls_case_in in_many[] = {
    {.dtype = LS_DTYPE_F32, .shape = {1, {100003}}, .fill = LS_FILL_NORMAL, .b = 1},
    {.dtype = LS_DTYPE_F32, .shape = {0, {0}}, .fill = LS_FILL_CONSTANT, .a = 3},
    {.dtype = LS_DTYPE_F32, .shape = {3, {2, 3, 4}}, .fill = LS_FILL_NORMAL, .b = 1e-3},
    {.dtype = LS_DTYPE_F32, .shape = {2, {128, 129}}, .fill = LS_FILL_UNIFORM, .a = -1, .b = 2},
};
static const ls_case_in in_big[] = {
    {.dtype = LS_DTYPE_F32, .shape = {2, {2048, 2048}}, .fill = LS_FILL_NORMAL, .b = 1}};
static const ls_case_in in_huge[] = {
    {.dtype = LS_DTYPE_F32, .shape = {1, {33}}, .fill = LS_FILL_NORMAL, .b = 1e30}};

static const ls_op_case cases[] = {
    {.name = "one", .n_in = 1, .in = in_one, .tolerance = 2e-7, .grad_step = -1},
    {.name = "many", .n_in = 4, .in = in_many, .tolerance = 2e-7, .grad_step = -1},
    {.name = "big", .n_in = 1, .in = in_big, .tolerance = 2e-7, .grad_step = -1, .bench = 1},
    {.name = "huge", .n_in = 1, .in = in_huge, .tolerance = 2e-7, .grad_step = -1},
};

LS_CASE_LIST(grad_norm, cases);
