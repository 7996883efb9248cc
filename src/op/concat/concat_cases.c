#include "op/concat/concat.h"
#include "op/op_case.h"

static const ls_concat_attr first = {0}, middle = {1}, last = {2}, columns = {1};
#define X(...)                                       \
    {                                                \
        .dtype = LS_CASE_T, .shape = { __VA_ARGS__ } \
    }
static const ls_case_in one[] = {X(3, {2, 3, 4})};
static const ls_case_in by_first[] = {X(3, {2, 3, 4}), X(3, {5, 3, 4})};
static const ls_case_in by_middle[] = {X(3, {2, 3, 4}), X(3, {2, 1, 4}), X(3, {2, 0, 4}),
                                       X(3, {2, 6, 4})};
static const ls_case_in by_last[] = {X(3, {2, 3, 4}), X(3, {2, 3, 33}), X(3, {2, 3, 1})};
static const ls_case_in big[] = {X(2, {4096, 1024}), X(2, {4096, 512}), X(2, {4096, 512})};

static const ls_op_case cases[] = {
    {.name = "one", .attr = &first, .n_in = 1, .in = one, .dtypes = LS_CASE_FLOATS},
    {.name = "first", .attr = &first, .n_in = 2, .in = by_first, .dtypes = LS_CASE_FLOATS},
    {.name = "middle", .attr = &middle, .n_in = 4, .in = by_middle, .dtypes = LS_CASE_FLOATS},
    {.name = "last", .attr = &last, .n_in = 3, .in = by_last, .dtypes = LS_CASE_FLOATS},
    {.name = "bench_4096x2048",
     .attr = &columns,
     .n_in = 3,
     .in = big,
     .dtypes = LS_CASE_F32 | LS_CASE_BF16,
     .grad_step = -1,
     .bench = 1},
};
LS_CASE_LIST(concat, cases);
