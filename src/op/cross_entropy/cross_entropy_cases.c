#include "op/cross_entropy/cross_entropy.h"
#include "op/op_case.h"

static const ls_cross_entropy_attr plain = {0, -100, 1}, smooth = {0.1f, -100, 1},
                                   ignoring = {0, 2, 1}, scaled = {0.2f, 3, 0.25f};
#define T(...) \
    { .dtype = LS_CASE_T, .shape = {__VA_ARGS__}, .b = 3 }
#define IDS(limit, ...) \
    { .dtype = LS_DTYPE_I32, .shape = {__VA_ARGS__}, .fill = LS_FILL_INTEGER, .b = limit }
#define SCALE \
    { .dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 1024, .no_grad = 1 }
static const ls_case_in one[] = {T(1, {5}), IDS(5, 0)};
static const ls_case_in single_class[] = {T(2, {3, 1}), IDS(1, 1, {3})};
static const ls_case_in batch[] = {T(3, {2, 7, 37}), IDS(37, 2, {2, 7})};
static const ls_case_in few[] = {T(2, {23, 5}), IDS(5, 1, {23})};
static const ls_case_in with_scale[] = {T(2, {23, 5}), IDS(5, 1, {23}), SCALE};
static const ls_case_in wide[] = {T(2, {5, 3000}), IDS(3000, 1, {5})};
static const ls_case_in large[] = {
    {.dtype = LS_CASE_T, .shape = {2, {9, 40}}, .fill = LS_FILL_UNIFORM, .a = -300, .b = 300},
    IDS(40, 1, {9})};
static const ls_case_in tasks[] = {T(2, {700, 130}), IDS(130, 1, {700})};
static const ls_case_in demo[] = {T(2, {4096, 2048}), IDS(2048, 1, {4096})};
static const ls_case_in gpt2[] = {T(2, {128, 50257}), IDS(50257, 1, {128})};
/* Larger than the caches. */
static const ls_case_in dram[] = {T(2, {1024, 50257}), IDS(50257, 1, {1024})};

static const ls_op_case cases[] = {
    {.name = "one_row", .attr = &plain, .n_in = 2, .in = one, .dtypes = LS_CASE_FLOATS},
    {.name = "one_class", .attr = &plain, .n_in = 2, .in = single_class, .dtypes = LS_CASE_FLOATS},
    {.name = "batch", .attr = &plain, .n_in = 2, .in = batch, .dtypes = LS_CASE_FLOATS},
    {.name = "smoothing", .attr = &smooth, .n_in = 2, .in = batch, .dtypes = LS_CASE_FLOATS},
    {.name = "ignore", .attr = &ignoring, .n_in = 2, .in = few, .dtypes = LS_CASE_FLOATS},
    {.name = "all", .attr = &scaled, .n_in = 2, .in = few, .dtypes = LS_CASE_FLOATS},
    {.name = "loss_scale",
     .attr = &scaled,
     .n_in = 3,
     .in = with_scale,
     .dtypes = LS_CASE_FLOATS,
     .grad_step = -1},
    {.name = "wide",
     .attr = &smooth,
     .n_in = 2,
     .in = wide,
     .dtypes = LS_CASE_FLOATS,
     .grad_step = -1},
    {.name = "large_logits", .attr = &plain, .n_in = 2, .in = large, .dtypes = LS_CASE_FLOATS},
    {.name = "tasks",
     .attr = &plain,
     .n_in = 2,
     .in = tasks,
     .dtypes = LS_CASE_FLOATS,
     .grad_step = -1},
    {.name = "bench_4096x2048",
     .attr = &plain,
     .n_in = 2,
     .in = demo,
     .dtypes = LS_CASE_F32 | LS_CASE_BF16,
     .grad_step = -1,
     .bench = 1},
    {.name = "bench_128x50257",
     .attr = &plain,
     .n_in = 2,
     .in = gpt2,
     .dtypes = LS_CASE_F32 | LS_CASE_BF16,
     .grad_step = -1,
     .bench = 1},
    {.name = "dram",
     .attr = &plain,
     .n_in = 2,
     .in = dram,
     .dtypes = LS_CASE_F32 | LS_CASE_BF16,
     .grad_step = -1,
     .bench = 1},
};
LS_CASE_LIST(cross_entropy, cases);
