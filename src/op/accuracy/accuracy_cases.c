#include "op/op_case.h"

#define X(...)                                       \
    {                                                \
        .dtype = LS_CASE_T, .shape = { __VA_ARGS__ } \
    }
/* -1 is an ignored row. */
#define TARGETS(n, ...) \
    { .dtype = LS_DTYPE_I32, .shape = {__VA_ARGS__}, .fill = LS_FILL_INTEGER, .a = -1, .b = n }
static const ls_case_in rows[] = {X(2, {37, 10}), TARGETS(10, 1, {37})};
static const ls_case_in sequence[] = {X(3, {2, 5, 7}), TARGETS(7, 2, {2, 5})};
static const ls_case_in one_class[] = {X(2, {4, 1}), TARGETS(1, 1, {4})};

static const ls_op_case cases[] = {
    {.name = "rows", .n_in = 2, .in = rows, .dtypes = LS_CASE_FLOATS},
    {.name = "sequence", .n_in = 2, .in = sequence, .dtypes = LS_CASE_FLOATS},
    {.name = "one_class", .n_in = 2, .in = one_class, .dtypes = LS_CASE_FLOATS},
};
LS_CASE_LIST(accuracy, cases);
