/* Operands of optimizer steps for timing, in the harness only: 8 MiB and 64 MiB a tensor, the second larger than the caches. */
#ifndef LS_OP_OPTIM_STEP_CASE_H
#define LS_OP_OPTIM_STEP_CASE_H
#include "op/op_case.h"
#include "op/optim_step.h"

#define STEP_NORMAL(deviation, ...) \
    { .dtype = LS_DTYPE_F32, .shape = {__VA_ARGS__}, .fill = LS_FILL_NORMAL, .b = deviation }
#define STEP_POSITIVE(...) \
    { .dtype = LS_DTYPE_F32, .shape = {__VA_ARGS__}, .fill = LS_FILL_UNIFORM, .a = 0.5, .b = 2 }
#define STEP_SCALAR(value) \
    { .dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = value }
/* param, grad, lr, t, scale and three states, of which an op reads the first ones. */
#define STEP_OPERANDS(...)                                                           \
    {                                                                                \
        STEP_NORMAL(1, __VA_ARGS__), STEP_NORMAL(1, __VA_ARGS__), STEP_SCALAR(0.01), \
            STEP_SCALAR(7), STEP_SCALAR(1), STEP_POSITIVE(__VA_ARGS__),              \
            STEP_POSITIVE(__VA_ARGS__), STEP_POSITIVE(__VA_ARGS__)                   \
    }
static const ls_case_in step_in_big[] = STEP_OPERANDS(2, {1024, 2048});
static const ls_case_in step_in_dram[] = STEP_OPERANDS(2, {4096, 4096});

#define STEP_BENCH_CASE(case_name, operands, attribute, n_states)                               \
    {                                                                                           \
        .name = case_name, .attr = attribute, .n_in = LS_STEP_STATE + n_states, .in = operands, \
        .tolerance = 2e-6, .grad_step = -1, .in_place = 1, .bench = 1                           \
    }
#define STEP_BENCH_CASES(attribute, n_states)                 \
    STEP_BENCH_CASE("big", step_in_big, attribute, n_states), \
        STEP_BENCH_CASE("dram", step_in_dram, attribute, n_states)

#endif
