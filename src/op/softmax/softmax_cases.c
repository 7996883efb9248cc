#include "op/op_case.h"

#define X(...) \
    { .dtype = LS_CASE_T, .shape = {__VA_ARGS__}, .b = 2 }
#define WIDE \
    { .dtype = LS_CASE_T, .shape = {2, {9, 40}}, .fill = LS_FILL_UNIFORM, .a = -300, .b = 300 }
static const ls_case_in one[] = {X(1, {1}), X(1, {1})};
static const ls_case_in tail[] = {X(3, {3, 5, 37}), X(3, {3, 5, 37})};
static const ls_case_in large[] = {WIDE, WIDE};
static const ls_case_in tasks[] = {X(2, {500, 129}), X(2, {500, 129})};
static const ls_case_in big[] = {X(2, {4096, 1024}), X(2, {4096, 1024})};
/* Larger than the caches. */
static const ls_case_in dram[] = {X(2, {49152, 1024}), X(2, {49152, 1024})};

#define CASES(inputs)                                                                     \
    {.name = "one", .n_in = inputs, .in = one, .dtypes = LS_CASE_FLOATS},                 \
        {.name = "tail", .n_in = inputs, .in = tail, .dtypes = LS_CASE_FLOATS},           \
        {.name = "tasks",                                                                 \
         .n_in = inputs,                                                                  \
         .in = tasks,                                                                     \
         .dtypes = LS_CASE_FLOATS,                                                        \
         .tolerance = 2e-4,                                                               \
         .grad_step = -1},                                                                \
        {.name = "bench_4096x1024",                                                       \
         .n_in = inputs,                                                                  \
         .in = big,                                                                       \
         .dtypes = LS_CASE_F32 | LS_CASE_BF16,                                            \
         .grad_step = -1,                                                                 \
         .bench = 1},                                                                     \
    {                                                                                     \
        .name = "dram", .n_in = inputs, .in = dram, .dtypes = LS_CASE_F32 | LS_CASE_BF16, \
        .grad_step = -1, .bench = 1                                                       \
    }

static const ls_op_case cases[] = {
    CASES(1),
    {.name = "large_logits", .n_in = 1, .in = large, .dtypes = LS_CASE_FLOATS},
};
static const ls_op_case grad_cases[] = {CASES(2)};
LS_CASE_LIST(softmax, cases);
LS_CASE_LIST(softmax_grad, grad_cases);
