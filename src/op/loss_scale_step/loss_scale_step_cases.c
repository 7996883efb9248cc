#include "op/loss_scale_step/loss_scale_step.h"
#include "op/op_case.h"

static const ls_loss_scale_attr attr_good = {4, 1, 65536};
static const ls_case_in in_good[] = {
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 1024},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 1},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 2},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 0.5},
};

static const ls_loss_scale_attr attr_grow = {4, 1, 65536};
static const ls_case_in in_grow[] = {
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 1024},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 3},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 2},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 0.5},
};

static const ls_loss_scale_attr attr_skip = {4, 1, 65536};
static const ls_case_in in_skip[] = {
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 1024},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 3},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 2},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = -1},
};

static const ls_op_case cases[] = {
    {.name = "good", .attr = &attr_good, .n_in = 4, .in = in_good, .grad_step = -1, .in_place = 1},
    {.name = "grow", .attr = &attr_grow, .n_in = 4, .in = in_grow, .grad_step = -1, .in_place = 1},
    {.name = "skip", .attr = &attr_skip, .n_in = 4, .in = in_skip, .grad_step = -1, .in_place = 1},
};

LS_CASE_LIST(loss_scale_step, cases);
