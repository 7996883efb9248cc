#include "op/cast/cast.h"
#include "op/op_case.h"

static const ls_cast_attr to_f32 = {LS_DTYPE_F32, 0}, to_bf16 = {LS_DTYPE_BF16, 0},
                          to_f16 = {LS_DTYPE_F16, 0}, to_f64 = {LS_DTYPE_F64, 0},
                          to_i32 = {LS_DTYPE_I32, 0};
static const ls_cast_attr bf16_read_next = {.dtype = LS_DTYPE_BF16, .read_next = 1};
/* As large as what is written past the caches where the next node does not read it. */
static const ls_case_in layer[] = {
    {.dtype = LS_CASE_T, .shape = {2, {1031, 1024}}, .fill = LS_FILL_NORMAL}};
static const ls_case_in tail[] = {
    {.dtype = LS_CASE_T, .shape = {3, {3, 5, 7}}, .fill = LS_FILL_NORMAL, .b = 100}};
static const ls_case_in tasks[] = {
    {.dtype = LS_CASE_T, .shape = {2, {3, 16391}}, .fill = LS_FILL_NORMAL}};
static const ls_case_in tiny[] = {
    {.dtype = LS_CASE_T, .shape = {1, {67}}, .fill = LS_FILL_NORMAL, .b = 1e-6}};
static const ls_case_in whole[] = {
    {.dtype = LS_DTYPE_I32, .shape = {1, {19}}, .fill = LS_FILL_INTEGER, .a = -50, .b = 50}};
static const ls_case_in big[] = {
    {.dtype = LS_CASE_T, .shape = {2, {4096, 1024}}, .fill = LS_FILL_NORMAL}};
/* Larger than the caches. */
static const ls_case_in dram[] = {
    {.dtype = LS_CASE_T, .shape = {2, {32768, 1024}}, .fill = LS_FILL_NORMAL, .b = 1}};

static const ls_op_case cases[] = {
    {.name = "tail_to_f32",
     .attr = &to_f32,
     .n_in = 1,
     .in = tail,
     .dtypes = LS_CASE_FLOATS,
     .grad_step = -1},
    {.name = "tail_to_bf16",
     .attr = &to_bf16,
     .n_in = 1,
     .in = tail,
     .dtypes = LS_CASE_FLOATS,
     .grad_step = -1},
    {.name = "tail_to_f16",
     .attr = &to_f16,
     .n_in = 1,
     .in = tail,
     .dtypes = LS_CASE_FLOATS,
     .grad_step = -1},
    {.name = "subnormal_f16",
     .attr = &to_f16,
     .n_in = 1,
     .in = tiny,
     .dtypes = LS_CASE_FLOATS,
     .grad_step = -1},
    {.name = "tasks",
     .attr = &to_bf16,
     .n_in = 1,
     .in = tasks,
     .dtypes = LS_CASE_F32,
     .grad_step = -1},
    {.name = "read_next",
     .attr = &bf16_read_next,
     .n_in = 1,
     .in = layer,
     .dtypes = LS_CASE_F32,
     .grad_step = -1},
    {.name = "to_f64", .attr = &to_f64, .n_in = 1, .in = tail, .dtypes = LS_CASE_FLOATS},
    {.name = "from_i32", .attr = &to_f32, .n_in = 1, .in = whole},
    {.name = "to_i32", .attr = &to_i32, .n_in = 1, .in = tail, .grad_step = -1},
    {.name = "bench_4096x1024",
     .attr = &to_bf16,
     .n_in = 1,
     .in = big,
     .dtypes = LS_CASE_F32,
     .grad_step = -1,
     .bench = 1},
    {.name = "dram",
     .attr = &to_bf16,
     .n_in = 1,
     .in = dram,
     .dtypes = LS_CASE_F32,
     .grad_step = -1,
     .bench = 1},
};
LS_CASE_LIST(cast, cases);
