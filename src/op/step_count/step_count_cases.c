#include "op/op_case.h"
#include "op/step_count/step_count.h"

static const ls_case_in in_applied[] = {
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 6},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 0.5},
};

static const ls_case_in in_skipped[] = {
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 6},
    {.dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = -1},
};

static const ls_op_case cases[] = {
    {.name = "applied", .n_in = 2, .in = in_applied, .grad_step = -1, .in_place = 1},
    {.name = "skipped", .n_in = 2, .in = in_skipped, .grad_step = -1, .in_place = 1},
};

LS_CASE_LIST(step_count, cases);
