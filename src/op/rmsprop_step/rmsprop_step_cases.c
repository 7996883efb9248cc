#include "op/op_case.h"
#include "op/optim_step_case.h"

static const ls_step_attr attr_plain = {.beta2 = 0.99, .eps = 1e-8};
static const ls_case_in in_plain[] = {
    {.dtype = LS_DTYPE_F32, .shape = {1, {40001}}, .fill = LS_FILL_NORMAL, .b = 1},
    {.dtype = LS_DTYPE_F32, .shape = {1, {40001}}, .fill = LS_FILL_NORMAL, .b = 1},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 0.01},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 7},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 1},
    {.dtype = LS_DTYPE_F32, .shape = {1, {40001}}, .fill = LS_FILL_UNIFORM, .a = 0.5, .b = 2},
};

static const ls_step_attr attr_momentum = {
    .beta2 = 0.99, .eps = 1e-8, .momentum = 0.9, .weight_decay = 0.1};
static const ls_case_in in_momentum[] = {
    {.dtype = LS_DTYPE_F32, .shape = {2, {7, 5}}, .fill = LS_FILL_NORMAL, .b = 1},
    {.dtype = LS_DTYPE_F32, .shape = {2, {7, 5}}, .fill = LS_FILL_NORMAL, .b = 1},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 0.01},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 7},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 0.5},
    {.dtype = LS_DTYPE_F32, .shape = {2, {7, 5}}, .fill = LS_FILL_UNIFORM, .a = 0.5, .b = 2},
    {.dtype = LS_DTYPE_F32, .shape = {2, {7, 5}}, .fill = LS_FILL_NORMAL, .b = 0.3},
};

static const ls_step_attr attr_centered = {.beta2 = 0.99, .eps = 1e-8, .centered = 1};
/* The mean square stays well above the squared mean: their difference is under a root. */
static const ls_case_in in_centered[] = {
    {.dtype = LS_DTYPE_F32, .shape = {1, {40001}}, .fill = LS_FILL_NORMAL, .b = 1},
    {.dtype = LS_DTYPE_F32, .shape = {1, {40001}}, .fill = LS_FILL_NORMAL, .b = 1},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 0.01},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 7},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 1},
    {.dtype = LS_DTYPE_F32, .shape = {1, {40001}}, .fill = LS_FILL_UNIFORM, .a = 1, .b = 2},
    {.dtype = LS_DTYPE_F32, .shape = {1, {40001}}, .fill = LS_FILL_UNIFORM, .a = -0.5, .b = 0.5},
};

static const ls_step_attr attr_both = {.beta2 = 0.99, .eps = 1e-8, .centered = 1, .momentum = 0.5};
static const ls_case_in in_both[] = {
    {.dtype = LS_DTYPE_F32, .shape = {2, {7, 5}}, .fill = LS_FILL_NORMAL, .b = 1},
    {.dtype = LS_DTYPE_F32, .shape = {2, {7, 5}}, .fill = LS_FILL_NORMAL, .b = 1},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 0.01},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 7},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 1},
    {.dtype = LS_DTYPE_F32, .shape = {2, {7, 5}}, .fill = LS_FILL_UNIFORM, .a = 1, .b = 2},
    {.dtype = LS_DTYPE_F32, .shape = {2, {7, 5}}, .fill = LS_FILL_UNIFORM, .a = -0.5, .b = 0.5},
    {.dtype = LS_DTYPE_F32, .shape = {2, {7, 5}}, .fill = LS_FILL_NORMAL, .b = 0.3},
};

static const ls_step_attr attr_skipped = {.beta2 = 0.99, .eps = 1e-8};
static const ls_case_in in_skipped[] = {
    {.dtype = LS_DTYPE_F32, .shape = {2, {7, 5}}, .fill = LS_FILL_NORMAL, .b = 1},
    {.dtype = LS_DTYPE_F32, .shape = {2, {7, 5}}, .fill = LS_FILL_NORMAL, .b = 1},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 0.01},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 7},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = -1},
    {.dtype = LS_DTYPE_F32, .shape = {2, {7, 5}}, .fill = LS_FILL_UNIFORM, .a = 0.5, .b = 2},
};

static const ls_op_case cases[] = {
    {.name = "plain",
     .attr = &attr_plain,
     .n_in = 6,
     .in = in_plain,
     .tolerance = 2e-6,
     .grad_step = -1,
     .in_place = 1},
    {.name = "momentum",
     .attr = &attr_momentum,
     .n_in = 7,
     .in = in_momentum,
     .tolerance = 2e-6,
     .grad_step = -1,
     .in_place = 1},
    {.name = "centered",
     .attr = &attr_centered,
     .n_in = 7,
     .in = in_centered,
     .tolerance = 2e-6,
     .grad_step = -1,
     .in_place = 1},
    {.name = "both",
     .attr = &attr_both,
     .n_in = 8,
     .in = in_both,
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
    STEP_BENCH_CASES(&attr_plain, 1),
};

LS_CASE_LIST(rmsprop_step, cases);
