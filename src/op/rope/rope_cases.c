#include "op/op_case.h"
#include "op/rope/rope.h"

#define D(...)                               \
    {                                        \
        .n_dims = 4, .dims = { __VA_ARGS__ } \
    }
#define X(...)                                    \
    (const ls_case_in[]) {                        \
        { LS_CASE_T, D(__VA_ARGS__), 0, 0, 0, 0 } \
    }
#define ATTR(...)           \
    &(const ls_rope_attr) { \
        __VA_ARGS__         \
    }

static const ls_op_case cases[] = {
    {"half split", ATTR(10000.0, 0, 0, 0), 1, X(2, 7, 3, 16), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"interleaved", ATTR(10000.0, 0, 1, 0), 1, X(2, 7, 3, 16), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"inverse", ATTR(500000.0, 0, 0, 1), 1, X(1, 5, 2, 20), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"inverse interleaved", ATTR(10000.0, 3, 1, 1), 1, X(1, 5, 2, 10), LS_CASE_FLOATS, 0, 0, 0, 0,
     0},
    {"far offset", ATTR(10000.0, 100000, 0, 0), 1, X(1, 70, 1, 64), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"one position", ATTR(10000.0, 9, 0, 0), 1, X(1, 1, 1, 2), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"odd half", ATTR(10000.0, 0, 0, 0), 1, X(3, 33, 1, 6), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"head of 80", ATTR(10000.0, 1, 1, 0), 1, X(1, 65, 2, 80), LS_CASE_FLOATS, 0, -1, 0, 0, 0},
    {"halves of two vectors", ATTR(200.0, 0, 0, 0), 1, X(3, 37, 2, 64), LS_CASE_FLOATS, 0, 0, 0, 0,
     0},
    {"halves of three", ATTR(200.0, 5, 0, 1), 1, X(2, 65, 3, 96), LS_CASE_FLOATS, 0, -1, 0, 0, 0},
    {"llama layer", ATTR(10000.0, 0, 0, 0), 1, X(8, 256, 8, 64), LS_CASE_FLOATS, 0, -1, 0, 0, 1},
};
LS_CASE_LIST(rope, cases);
