#include "op/op_case.h"
#include "op/optim_step_case.h"

static const ls_step_attr attr_plain = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-6};
static const ls_case_in in_plain[] = {
    {.dtype = LS_DTYPE_F32, .shape = {1, {40001}}, .fill = LS_FILL_NORMAL, .b = 1},
    {.dtype = LS_DTYPE_F32, .shape = {1, {40001}}, .fill = LS_FILL_NORMAL, .b = 1},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 0.01},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 7},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 1},
    {.dtype = LS_DTYPE_F32, .shape = {1, {40001}}, .fill = LS_FILL_NORMAL, .b = 0.3},
    {.dtype = LS_DTYPE_F32, .shape = {1, {40001}}, .fill = LS_FILL_UNIFORM, .a = 0.5, .b = 2},
};

static const ls_step_attr attr_decay = {
    .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-6, .weight_decay = 0.1};
static const ls_case_in in_decay[] = {
    {.dtype = LS_DTYPE_F32, .shape = {2, {7, 5}}, .fill = LS_FILL_NORMAL, .b = 1},
    {.dtype = LS_DTYPE_F32, .shape = {2, {7, 5}}, .fill = LS_FILL_NORMAL, .b = 1},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 0.01},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 7},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 0.5},
    {.dtype = LS_DTYPE_F32, .shape = {2, {7, 5}}, .fill = LS_FILL_NORMAL, .b = 0.3},
    {.dtype = LS_DTYPE_F32, .shape = {2, {7, 5}}, .fill = LS_FILL_UNIFORM, .a = 0.5, .b = 2},
};

static const ls_step_attr attr_skipped = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-6};
static const ls_case_in in_skipped[] = {
    {.dtype = LS_DTYPE_F32, .shape = {2, {7, 5}}, .fill = LS_FILL_NORMAL, .b = 1},
    {.dtype = LS_DTYPE_F32, .shape = {2, {7, 5}}, .fill = LS_FILL_NORMAL, .b = 1},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 0.01},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 7},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = -1},
    {.dtype = LS_DTYPE_F32, .shape = {2, {7, 5}}, .fill = LS_FILL_NORMAL, .b = 0.3},
    {.dtype = LS_DTYPE_F32, .shape = {2, {7, 5}}, .fill = LS_FILL_UNIFORM, .a = 0.5, .b = 2},
};

static const ls_step_attr attr_big = {
    .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-6, .weight_decay = 0.1};
static const ls_op_case cases[] = {
    {.name = "plain",
     .attr = &attr_plain,
     .n_in = 7,
     .in = in_plain,
     .tolerance = 2e-6,
     .grad_step = -1,
     .in_place = 1},
    {.name = "decay",
     .attr = &attr_decay,
     .n_in = 7,
     .in = in_decay,
     .tolerance = 2e-6,
     .grad_step = -1,
     .in_place = 1},
    {.name = "skipped",
     .attr = &attr_skipped,
     .n_in = 7,
     .in = in_skipped,
     .tolerance = 2e-6,
     .grad_step = -1,
     .in_place = 1},
    STEP_BENCH_CASES(&attr_big, 2),
};

LS_CASE_LIST(lamb_step, cases);
