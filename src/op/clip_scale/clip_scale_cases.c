#include <math.h>

#include "op/clip_scale/clip_scale.h"
#include "op/op_case.h"

static const ls_clip_scale_attr attr_norm = {0.5, 1, 0, 0};
static const ls_case_in in_norm[] = {
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 2},
};

static const ls_clip_scale_attr attr_count = {1, 128, 1, 0};
static const ls_case_in in_count[] = {
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 3},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 100},
};

static const ls_clip_scale_attr attr_all = {1, 128, 1, 1};
static const ls_case_in in_all[] = {
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 30000.0},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 100},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 65536},
};

static const ls_clip_scale_attr attr_overflow = {1, 1, 0, 0};
static const ls_case_in in_overflow[] = {
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = INFINITY},
};

static const ls_op_case cases[] = {
    {.name = "norm", .attr = &attr_norm, .n_in = 1, .in = in_norm, .grad_step = -1},
    {.name = "count", .attr = &attr_count, .n_in = 2, .in = in_count, .grad_step = -1},
    {.name = "all", .attr = &attr_all, .n_in = 3, .in = in_all, .grad_step = -1},
    {.name = "overflow", .attr = &attr_overflow, .n_in = 1, .in = in_overflow, .grad_step = -1},
};

LS_CASE_LIST(clip_scale, cases);
