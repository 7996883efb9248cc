#include "op/op_case.h"
#include "op/optim_step_case.h"

static const ls_step_attr attr_plain = {.weight_decay = 0.1};
static const ls_case_in in_plain[] = {
    {.dtype = LS_DTYPE_F32, .shape = {2, {7, 5}}, .fill = LS_FILL_NORMAL, .b = 1},
    {.dtype = LS_DTYPE_F32, .shape = {2, {7, 5}}, .fill = LS_FILL_NORMAL, .b = 1},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 0.01},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 7},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 0.5},
};

static const ls_step_attr attr_momentum = {.momentum = 0.9};
static const ls_case_in in_momentum[] = {
    {.dtype = LS_DTYPE_F32, .shape = {1, {40001}}, .fill = LS_FILL_NORMAL, .b = 1},
    {.dtype = LS_DTYPE_F32, .shape = {1, {40001}}, .fill = LS_FILL_NORMAL, .b = 1},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 0.01},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 7},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 1},
    {.dtype = LS_DTYPE_F32, .shape = {1, {40001}}, .fill = LS_FILL_NORMAL, .b = 0.3},
};

static const ls_step_attr attr_nesterov = {.momentum = 0.9, .nesterov = 1, .weight_decay = 0.01};
static const ls_case_in in_nesterov[] = {
    {.dtype = LS_DTYPE_F32, .shape = {1, {40001}}, .fill = LS_FILL_NORMAL, .b = 1},
    {.dtype = LS_DTYPE_F32, .shape = {1, {40001}}, .fill = LS_FILL_NORMAL, .b = 1},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 0.01},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 7},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 0.25},
    {.dtype = LS_DTYPE_F32, .shape = {1, {40001}}, .fill = LS_FILL_NORMAL, .b = 0.3},
};

static const ls_step_attr attr_skipped = {.momentum = 0.9};
static const ls_case_in in_skipped[] = {
    {.dtype = LS_DTYPE_F32, .shape = {2, {7, 5}}, .fill = LS_FILL_NORMAL, .b = 1},
    {.dtype = LS_DTYPE_F32, .shape = {2, {7, 5}}, .fill = LS_FILL_NORMAL, .b = 1},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 0.01},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 7},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = -1},
    {.dtype = LS_DTYPE_F32, .shape = {2, {7, 5}}, .fill = LS_FILL_NORMAL, .b = 0.3},
};

static const ls_step_attr attr_big = {.momentum = 0.9};
static const ls_op_case cases[] = {
    {.name = "plain",
     .attr = &attr_plain,
     .n_in = 5,
     .in = in_plain,
     .tolerance = 2e-6,
     .grad_step = -1,
     .in_place = 1},
    {.name = "momentum",
     .attr = &attr_momentum,
     .n_in = 6,
     .in = in_momentum,
     .tolerance = 2e-6,
     .grad_step = -1,
     .in_place = 1},
    {.name = "nesterov",
     .attr = &attr_nesterov,
     .n_in = 6,
     .in = in_nesterov,
     .tolerance = 2e-6,
     .grad_step = -1,
     .in_place = 1},
    {.name = "skipped",
     .attr = &attr_skipped,
     .n_in = 6,
     .in = in_skipped,
     .tolerance = 2e-6,
     .grad_step = -1,
     .in_place = 1},
    STEP_BENCH_CASES(&attr_big, 1),
};

LS_CASE_LIST(sgd_step, cases);
