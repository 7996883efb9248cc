#include "op/pool2d/pool2d.h"

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
#define X(x) 1, IN({T, x, 0, 0, 1, 0})

/* is_max, window, stride, padding */
static const ls_pool2d_attr max2 = {1, 2, 2, 0, 0, 0}, max3 = {1, 3, 2, 1, 0, 0};
static const ls_pool2d_attr max_dense = {1, 3, 1, 1, 0, 0}, mean2 = {0, 2, 2, 0, 0, 0};
static const ls_pool2d_attr mean3 = {0, 3, 2, 1, 0, 0}, mean7 = {0, 7, 1, 0, 0, 0};
static const ls_pool2d_attr gaps = {1, 2, 3, 0, 0, 0};

static const ls_op_case cases[] = {
    {"max 2", &max2, X(D(6, 8, 2, 3)), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"max 2, odd", &max2, X(D(7, 5, 2, 3)), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"max 3, padded", &max3, X(D(7, 8, 2, 2)), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"max 3, overlapping", &max_dense, X(D(5, 6, 2, 2)), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"max with gaps", &gaps, X(D(8, 9, 1, 2)), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"mean 2", &mean2, X(D(6, 8, 2, 3)), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"mean 3, padded", &mean3, X(D(7, 8, 2, 2)), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"mean of all", &mean7, X(D(7, 7, 3, 5)), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"no images", &max2, X(D(4, 4, 0, 3)), LS_CASE_FLOATS, 0, -1, 0, 0, 0},
    {"fashion", &max2, X(D(28, 28, 64, 16)), LS_CASE_FLOATS, 0, -1, 0, 0, 1},
};
LS_CASE_LIST(pool2d, cases);

static const ls_pool2d_attr grad_max3 = {1, 3, 2, 1, 7, 8}, grad_mean3 = {0, 3, 2, 1, 7, 8};
static const ls_pool2d_attr grad_max_dense = {1, 3, 1, 1, 5, 6}, grad_28 = {1, 2, 2, 0, 28, 28};
#define DYX(dy, x) 2, IN({T, dy, 0, 0, 1, 0}, {T, x, 0, 0, 1, 0})

static const ls_op_case grad_cases[] = {
    {"max 3, padded", &grad_max3, DYX(D(4, 4, 2, 2), D(7, 8, 2, 2)), LS_CASE_FLOATS, 0, -1, 0, 0,
     0},
    {"max 3, ties", &grad_max_dense, 2,
     IN({T, D(5, 6, 2, 2), 0, 0, 1, 0}, {T, D(5, 6, 2, 2), LS_FILL_INTEGER, 0, 3, 0}),
     LS_CASE_FLOATS, 0, -1, 0, 0, 0},
    {"mean 3, padded", &grad_mean3, X(D(4, 4, 2, 2)), LS_CASE_FLOATS, 0, -1, 0, 0, 0},
    {"fashion", &grad_28, DYX(D(14, 14, 64, 16), D(28, 28, 64, 16)), LS_CASE_FLOATS, 0, -1, 0, 0,
     1},
};
LS_CASE_LIST(pool2d_grad, grad_cases);
