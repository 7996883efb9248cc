#include "op/fused/fused.h"

#include "op/op.h"
#include "op/op_case.h"

#define T LS_CASE_T
#define D(...)                                                                         \
    {                                                                                  \
        .n_dims = (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), .dims = { \
            __VA_ARGS__                                                                \
        }                                                                              \
    }
#define IN(...)            \
    (const ls_case_in[]) { \
        __VA_ARGS__        \
    }
#define X(...) \
    { T, D(__VA_ARGS__), 0, 0, 1, 0 }
#define AS(dtype, ...) \
    { dtype, D(__VA_ARGS__), 0, 0, 1, 0 }
#define SCALAR(dtype) \
    { dtype, {0}, LS_FILL_CONSTANT, 0.75, 0, 0 }
#define ALL LS_CASE_FLOATS
/* attributes as their bytes */
#define HALF      0x3fe0000000000000ull /* 0.5 */
#define QUARTER   0x3fd0000000000000ull /* 0.25 */
#define TO(dtype) (uint64_t)(dtype)
#define TANH      1

/* a + dropout(b): a residual branch */
static const ls_fused_attr drop_add = {
    2,   2,      1,
    {3}, {0, 0}, {{&ls_op_dropout, {QUARTER, 77}, 1, 1, {1}}, {&ls_op_add, {0}, 2, 1, {0, 2}}}};
/* The sum leaves too. */
static const ls_fused_attr add_drop = {
    2,      2,      2,
    {2, 3}, {0, 0}, {{&ls_op_add, {0}, 2, 1, {0, 1}}, {&ls_op_dropout, {QUARTER, 78}, 1, 1, {2}}}};
static const ls_fused_attr add_relu_grad = {
    3, 2, 1, {4}, {0, 0}, {{&ls_op_add, {0}, 2, 1, {1, 2}}, {&ls_op_relu_grad, {0}, 2, 1, {0, 3}}}};
/* One step alone, and one whose result leaves last. */
static const ls_fused_attr one = {1, 1, 1, {1}, {0, 0}, {{&ls_op_gelu, {TANH}, 1, 1, {0}}}};
static const ls_fused_attr backwards = {
    1, 2, 2, {2, 1}, {0, 0}, {{&ls_op_scale, {HALF}, 1, 1, {0}}, {&ls_op_silu, {0}, 1, 1, {1}}}};
/* (x * scalar + y) * (x + x) */
static const ls_fused_attr scalars = {3,
                                      4,
                                      1,
                                      {6},
                                      {0, 0},
                                      {{&ls_op_mul, {0}, 2, 1, {0, 2}},
                                       {&ls_op_add, {0}, 2, 1, {3, 1}},
                                       {&ls_op_add, {0}, 2, 1, {0, 0}},
                                       {&ls_op_mul, {0}, 2, 1, {4, 5}}}};
/* Down to bf16, on to f16 and back: every rounding is in the result. */
static const ls_fused_attr casts = {2,
                                    5,
                                    2,
                                    {5, 6},
                                    {0, 0},
                                    {{&ls_op_cast, {TO(LS_DTYPE_BF16)}, 1, 1, {0}},
                                     {&ls_op_relu, {0}, 1, 1, {2}},
                                     {&ls_op_cast, {TO(LS_DTYPE_F16)}, 1, 1, {3}},
                                     {&ls_op_cast, {TO(LS_DTYPE_F32)}, 1, 1, {4}},
                                     {&ls_op_add, {0}, 2, 1, {5, 1}}}};
/* Two results of a step, one of them dead, and a long way to the end. */
static const ls_fused_attr gated = {3,
                                    8,
                                    3,
                                    {3, 11, 7},
                                    {0, 0},
                                    {{&ls_op_swiglu_grad, {0}, 3, 2, {0, 1, 2}},
                                     {&ls_op_gelu_grad, {0}, 2, 1, {0, 4}},
                                     {&ls_op_silu_grad, {0}, 2, 1, {1, 5}},
                                     {&ls_op_add, {0}, 2, 1, {6, 4}},
                                     {&ls_op_swiglu, {0}, 2, 1, {7, 3}},
                                     {&ls_op_scale, {HALF}, 1, 1, {8}},
                                     {&ls_op_mul, {0}, 2, 1, {9, 0}},
                                     {&ls_op_add, {0}, 2, 1, {10, 7}}}};

/* gelu's gradient and that of the bias before it; a sum of what another step reads on. */
static const ls_fused_attr bias_grad = {
    2, 1, 1, {2}, {2, LS_DTYPE_F32}, {{&ls_op_gelu_grad, {TANH}, 2, 1, {0, 1}}}};
static const ls_fused_attr sum_between = {
    2,
    2,
    2,
    {3, 2},
    {2, LS_DTYPE_BF16},
    {{&ls_op_add, {0}, 2, 1, {0, 1}}, {&ls_op_dropout, {QUARTER, 79}, 1, 1, {2}}}};

static const ls_op_case cases[] = {
    {"column sums", &bias_grad, 2, IN(X(70, 33), X(70, 33)), ALL, 5e-2, -1, 0, 0, 0},
    {"column sums, three blocks, two chunks", &bias_grad, 2, IN(X(2, 65, 1030), X(2, 65, 1030)),
     ALL, 1e-1, -1, 0, 0, 0},
    {"column sums between", &sum_between, 2, IN(X(200, 48), X(200, 48)), ALL, 1e-1, -1, 0, 0, 0},
    {"column sums of one row", &sum_between, 2, IN(X(19), X(19)), ALL, 0, -1, 0, 0, 0},
    {"column sums of no rows", &bias_grad, 2, IN(X(0, 40), X(0, 40)), ALL, 0, -1, 0, 0, 0},
    {"gelu layer", &bias_grad, 2, IN(X(4096, 3072), X(4096, 3072)), LS_CASE_F32 | LS_CASE_BF16, 0,
     -1, 0, 0, 1},
    {"dropout, add", &drop_add, 2, IN(X(3, 5, 71), X(3, 5, 71)), ALL, 0, -1, 0, 0, 0},
    {"add, dropout", &add_drop, 2, IN(X(4097), X(4097)), ALL, 0, -1, 0, 0, 0},
    {"add, relu_grad", &add_relu_grad, 3, IN(X(2, 1033), X(2, 1033), X(2, 1033)), ALL, 0, -1, 0, 0,
     0},
    {"one step", &one, 1, IN(X(1)), ALL, 0, -1, 0, 0, 0},
    {"two results", &backwards, 1, IN(X(17, 61)), ALL, 0, -1, 0, 0, 0},
    {"a scalar", &scalars, 3, IN(X(7, 300), X(7, 300), SCALAR(LS_DTYPE_F32)), ALL, 2e-2, -1, 0, 0,
     0},
    {"sixteen and a scalar", &scalars, 3, IN(X(16), X(16), SCALAR(T)), ALL, 2e-2, -1, 0, 0, 0},
    {"casts", &casts, 2, IN(X(1999), AS(LS_DTYPE_F32, 1999)), ALL, 0, -1, 0, 0, 0},
    {"gated", &gated, 3, IN(X(5, 1024), X(5, 1024), X(5, 1024)), ALL, 3e-2, -1, 0, 0, 0},
    {"nothing", &drop_add, 2, IN(X(0, 8), X(0, 8)), ALL, 0, -1, 0, 0, 0},
    {"several tasks", &drop_add, 2, IN(X(70001), X(70001)), ALL, 0, -1, 0, 0, 0},
    {"residual", &drop_add, 2, IN(X(4096, 768), X(4096, 768)), LS_CASE_F32 | LS_CASE_BF16, 0, -1, 0,
     0, 1},
};
LS_CASE_LIST(fused, cases);
