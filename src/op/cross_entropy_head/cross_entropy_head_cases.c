#include "op/cross_entropy_head/cross_entropy_head.h"
#include "op/op_case.h"

static const ls_cross_entropy_head_attr plain = {{0, -100, 1}, 1, 0},
                                        smooth = {{0.1f, -100, 1}, 1, 0},
                                        ignoring = {{0, 2, 1}, 1, 0},
                                        scaled = {{0.2f, 3, 0.25f}, 0, 0},
                                        loss_only = {{0.1f, -100, 1}, 1, 1};
#define T(...) \
    { .dtype = LS_CASE_T, .shape = {__VA_ARGS__}, .b = 0.5 }
#define IDS(limit, ...) \
    { .dtype = LS_DTYPE_I32, .shape = {__VA_ARGS__}, .fill = LS_FILL_INTEGER, .b = limit }
#define SCALE \
    { .dtype = LS_DTYPE_F32, .fill = LS_FILL_CONSTANT, .a = 1024 }
static const ls_case_in one[] = {T(2, {1, 3}), T(2, {5, 3}), IDS(5, 1, {1})};
static const ls_case_in batch[] = {T(3, {2, 7, 19}), T(2, {37, 19}), IDS(37, 2, {2, 7})};
static const ls_case_in few[] = {T(2, {23, 8}), T(2, {5, 8}), IDS(5, 1, {23})};
static const ls_case_in with_scale[] = {T(2, {23, 8}), T(2, {8, 5}), IDS(5, 1, {23}), SCALE};
static const ls_case_in turned[] = {T(3, {3, 5, 16}), T(2, {16, 33}), IDS(33, 2, {3, 5})};
static const ls_case_in none[] = {T(2, {0, 4}), T(2, {6, 4}), IDS(6, 1, {0})};
/* several blocks of rows at every level and dtype, the last one short */
static const ls_case_in blocks[] = {T(3, {7, 370, 8}), T(2, {11, 8}), IDS(11, 2, {7, 370})};
static const ls_case_in wide[] = {T(2, {5, 24}), T(2, {3000, 24}), IDS(3000, 1, {5})};
static const ls_case_in demo[] = {T(2, {2048, 256}), T(2, {2048, 256}), IDS(2048, 1, {2048})};

static const ls_op_case cases[] = {
    {.name = "one_row", .attr = &plain, .n_in = 3, .in = one, .dtypes = LS_CASE_FLOATS},
    {.name = "batch", .attr = &plain, .n_in = 3, .in = batch, .dtypes = LS_CASE_FLOATS},
    {.name = "smoothing", .attr = &smooth, .n_in = 3, .in = batch, .dtypes = LS_CASE_FLOATS},
    {.name = "ignore", .attr = &ignoring, .n_in = 3, .in = few, .dtypes = LS_CASE_FLOATS},
    {.name = "loss_scale", .attr = &scaled, .n_in = 4, .in = with_scale, .dtypes = LS_CASE_FLOATS},
    {.name = "turned", .attr = &scaled, .n_in = 3, .in = turned, .dtypes = LS_CASE_FLOATS},
    {.name = "no_rows", .attr = &plain, .n_in = 3, .in = none, .dtypes = LS_CASE_FLOATS},
    {.name = "blocks",
     .attr = &plain,
     .n_in = 3,
     .in = blocks,
     .dtypes = LS_CASE_FLOATS,
     .tolerance = 1e-3}, /* a logit that rounds the other way, in every row */
    {.name = "loss_only", .attr = &loss_only, .n_in = 3, .in = batch, .dtypes = LS_CASE_FLOATS},
    {.name = "wide", .attr = &smooth, .n_in = 3, .in = wide, .dtypes = LS_CASE_FLOATS},
    {.name = "bench_2048x256x2048",
     .attr = &plain,
     .n_in = 3,
     .in = demo,
     .dtypes = LS_CASE_F32 | LS_CASE_BF16,
     .bench = 1},
};
LS_CASE_LIST(cross_entropy_head, cases);
