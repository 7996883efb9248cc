#include "op/gelu/gelu.h"
#include "op/op_case.h"

static const ls_gelu_attr tanh_form = {1}, erf_form = {0};
#define X(...) \
    { .dtype = LS_CASE_T, .shape = {__VA_ARGS__}, .b = 2 }
#define WIDE \
    { .dtype = LS_CASE_T, .shape = {1, {131}}, .fill = LS_FILL_UNIFORM, .a = -45, .b = 45 }
static const ls_case_in scalar[] = {X(0), X(0)};
static const ls_case_in tail[] = {X(3, {3, 5, 7}), X(3, {3, 5, 7})};
static const ls_case_in wide[] = {WIDE, WIDE};
static const ls_case_in tasks[] = {X(2, {3, 16391}), X(2, {3, 16391})};
static const ls_case_in big[] = {X(2, {4096, 1024}), X(2, {4096, 1024})};

#define CASES(inputs)                                                                \
    {.name = "scalar",                                                               \
     .attr = &tanh_form,                                                             \
     .n_in = inputs,                                                                 \
     .in = scalar,                                                                   \
     .dtypes = LS_CASE_FLOATS},                                                      \
        {.name = "tail_tanh",                                                        \
         .attr = &tanh_form,                                                         \
         .n_in = inputs,                                                             \
         .in = tail,                                                                 \
         .dtypes = LS_CASE_FLOATS},                                                  \
        {.name = "tail_erf",                                                         \
         .attr = &erf_form,                                                          \
         .n_in = inputs,                                                             \
         .in = tail,                                                                 \
         .dtypes = LS_CASE_FLOATS},                                                  \
        {.name = "wide_tanh",                                                        \
         .attr = &tanh_form,                                                         \
         .n_in = inputs,                                                             \
         .in = wide,                                                                 \
         .dtypes = LS_CASE_FLOATS},                                                  \
        {.name = "wide_erf",                                                         \
         .attr = &erf_form,                                                          \
         .n_in = inputs,                                                             \
         .in = wide,                                                                 \
         .dtypes = LS_CASE_FLOATS},                                                  \
        {.name = "tasks",                                                            \
         .attr = &tanh_form,                                                         \
         .n_in = inputs,                                                             \
         .in = tasks,                                                                \
         .dtypes = LS_CASE_FLOATS,                                                   \
         .grad_step = -1},                                                           \
        {.name = "bench_tanh_4096x1024",                                             \
         .attr = &tanh_form,                                                         \
         .n_in = inputs,                                                             \
         .in = big,                                                                  \
         .dtypes = LS_CASE_F32 | LS_CASE_BF16,                                       \
         .grad_step = -1,                                                            \
         .bench = 1},                                                                \
    {                                                                                \
        .name = "bench_erf_4096x1024", .attr = &erf_form, .n_in = inputs, .in = big, \
        .dtypes = LS_CASE_F32 | LS_CASE_BF16, .grad_step = -1, .bench = 1            \
    }

static const ls_op_case cases[] = {CASES(1)};
static const ls_op_case grad_cases[] = {CASES(2)};
LS_CASE_LIST(gelu, cases);
LS_CASE_LIST(gelu_grad, grad_cases);
