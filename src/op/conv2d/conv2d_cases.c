#include "op/conv2d/conv2d.h"

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
#define XW(x, w)     2, IN({T, x, 0, 0, 1, 0}, {T, w, 0, 0, 0.3, 0})
#define XWB(x, w, b) 3, IN({T, x, 0, 0, 1, 0}, {T, w, 0, 0, 0.3, 0}, {T, b, 0, 0, 1, 0})

static const ls_conv2d_attr plain = {1, 0}, same = {1, 1}, halve = {2, 1}, halve_plain = {2, 0};
static const ls_conv2d_attr wide = {1, 3}, third = {3, 2};

static const ls_op_case cases[] = {
    {"one pixel", &plain, XW(D(1, 1, 1, 1), D(1, 1, 1, 1)), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"3x3 same", &same, XW(D(7, 9, 2, 3), D(4, 3, 3, 3)), LS_CASE_FLOATS, 1e-4, 0, 0, 0, 0},
    {"bias", &same, XWB(D(6, 5, 2, 3), D(5, 3, 3, 3), D(5)), LS_CASE_FLOATS, 1e-4, 0, 0, 0, 0},
    {"stride 2", &halve, XW(D(8, 8, 3, 2), D(5, 2, 3, 3)), LS_CASE_FLOATS, 1e-4, 0, 0, 0, 0},
    {"stride 2 odd", &halve, XW(D(7, 11, 2, 3), D(5, 3, 3, 3)), LS_CASE_FLOATS, 1e-4, 0, 0, 0, 0},
    {"1x1 stride 2", &halve_plain, XW(D(9, 8, 2, 6), D(7, 6, 1, 1)), LS_CASE_FLOATS, 1e-4, 0, 0, 0,
     0},
    {"5x2 window", &wide, XW(D(6, 7, 2, 2), D(3, 2, 5, 2)), LS_CASE_FLOATS, 1e-4, 0, 0, 0, 0},
    {"stride 3", &third, XW(D(10, 8, 2, 2), D(3, 2, 4, 4)), LS_CASE_FLOATS, 1e-4, 0, 0, 0, 0},
    {"window as large as x", &plain, XWB(D(5, 4, 3, 2), D(6, 2, 5, 4), D(6)), LS_CASE_FLOATS, 1e-4,
     0, 0, 0, 0},
    {"many channels", &same, XW(D(7, 7, 2, 70), D(33, 70, 3, 3)), LS_CASE_FLOATS, 3e-4, -1, 0, 0,
     0},
    {"many pixels", &same, XW(D(40, 37, 1, 2), D(14, 2, 3, 3)), LS_CASE_FLOATS, 1e-4, -1, 0, 0, 0},
    {"many images", &same, XW(D(2, 3, 45, 64), D(40, 64, 3, 3)), LS_CASE_FLOATS, 3e-4, -1, 0, 0, 0},
    {"17 images", &halve, XW(D(3, 2, 17, 32), D(16, 32, 3, 3)), LS_CASE_FLOATS, 3e-4, -1, 0, 0, 0},
    {"no images", &same, XW(D(4, 4, 0, 2), D(3, 2, 3, 3)), LS_CASE_FLOATS, 0, -1, 0, 0, 0},
    {"fashion 28", &same, XW(D(28, 28, 64, 16), D(16, 16, 3, 3)), LS_CASE_FLOATS, 0, -1, 0, 0, 1},
    {"fashion 14", &same, XW(D(14, 14, 64, 32), D(32, 32, 3, 3)), LS_CASE_FLOATS, 0, -1, 0, 0, 1},
    {"fashion 7", &same, XW(D(7, 7, 64, 64), D(64, 64, 3, 3)), LS_CASE_FLOATS, 0, -1, 0, 0, 1},
};
LS_CASE_LIST(conv2d, cases);

static const ls_conv2d_grad_input_attr in_same = {1, 1, 7, 9}, in_halve = {2, 1, 8, 7};
static const ls_conv2d_grad_input_attr in_1x1 = {2, 0, 9, 8}, in_third = {3, 2, 10, 8};
static const ls_conv2d_grad_input_attr in_wide = {1, 3, 6, 7}, in_28 = {1, 1, 28, 28};
static const ls_conv2d_grad_input_attr in_few = {1, 1, 2, 3};
static const ls_conv2d_grad_input_attr in_7 = {1, 1, 7, 7}, in_halve_28 = {2, 1, 28, 28};

static const ls_op_case input_cases[] = {
    {"3x3 same", &in_same, XW(D(7, 9, 2, 4), D(4, 3, 3, 3)), LS_CASE_FLOATS, 1e-4, -1, 0, 0, 0},
    {"stride 2", &in_halve, XW(D(4, 4, 3, 5), D(5, 2, 3, 3)), LS_CASE_FLOATS, 1e-4, -1, 0, 0, 0},
    {"1x1 stride 2", &in_1x1, XW(D(5, 4, 2, 7), D(7, 6, 1, 1)), LS_CASE_FLOATS, 1e-4, -1, 0, 0, 0},
    {"stride 3", &in_third, XW(D(4, 3, 2, 3), D(3, 2, 4, 4)), LS_CASE_FLOATS, 1e-4, -1, 0, 0, 0},
    {"5x2 window", &in_wide, XW(D(8, 12, 2, 3), D(3, 2, 5, 2)), LS_CASE_FLOATS, 1e-4, -1, 0, 0, 0},
    {"many channels", &in_7, XW(D(7, 7, 2, 70), D(70, 33, 3, 3)), LS_CASE_FLOATS, 3e-4, -1, 0, 0,
     0},
    {"many images", &in_few, XW(D(2, 3, 45, 32), D(32, 70, 3, 3)), LS_CASE_FLOATS, 3e-4, -1, 0, 0,
     0},
    {"fashion 28", &in_28, XW(D(28, 28, 64, 16), D(16, 16, 3, 3)), LS_CASE_FLOATS, 0, -1, 0, 0, 1},
    {"fashion halve", &in_halve_28, XW(D(14, 14, 64, 32), D(32, 16, 3, 3)), LS_CASE_FLOATS, 0, -1,
     0, 0, 1},
};
LS_CASE_LIST(conv2d_grad_input, input_cases);

static const ls_conv2d_grad_weight_attr w_same = {1, 1, 3, 3, LS_DTYPE_F32, 1};
static const ls_conv2d_grad_weight_attr w_halve = {2, 1, 3, 3, LS_DTYPE_F32, 0};
static const ls_conv2d_grad_weight_attr w_1x1 = {2, 0, 1, 1, LS_DTYPE_F32, 0};
static const ls_conv2d_grad_weight_attr w_third = {3, 2, 4, 4, LS_DTYPE_BF16, 1};

static const ls_op_case weight_cases[] = {
    {"3x3 same", &w_same, XW(D(7, 9, 2, 4), D(7, 9, 2, 3)), LS_CASE_FLOATS, 1e-4, -1, 0, 0, 0},
    {"stride 2", &w_halve, XW(D(4, 4, 3, 5), D(8, 7, 3, 2)), LS_CASE_FLOATS, 1e-4, -1, 0, 0, 0},
    {"1x1 stride 2", &w_1x1, XW(D(5, 4, 2, 7), D(9, 8, 2, 6)), LS_CASE_FLOATS, 1e-4, -1, 0, 0, 0},
    {"stride 3, bf16", &w_third, XW(D(4, 3, 2, 3), D(10, 8, 2, 2)), LS_CASE_FLOATS, 1e-2, -1, 0, 0,
     0},
    {"many parts", &w_same, XW(D(4, 4, 37, 3), D(4, 4, 37, 2)), LS_CASE_FLOATS, 3e-4, -1, 0, 0, 0},
    {"many pixels", &w_same, XW(D(40, 37, 2, 14), D(40, 37, 2, 5)), LS_CASE_FLOATS, 1e-3, -1, 0, 0,
     0},
    {"many images", &w_same, XW(D(2, 3, 45, 40), D(2, 3, 45, 33)), LS_CASE_FLOATS, 3e-4, -1, 0, 0,
     0},
    {"many rows", &w_halve, XW(D(20, 19, 41, 16), D(39, 37, 41, 8)), LS_CASE_FLOATS, 1e-3, -1, 0, 0,
     0},
    {"no images", &w_same, XW(D(7, 9, 0, 4), D(7, 9, 0, 3)), LS_CASE_FLOATS, 0, -1, 0, 0, 0},
    {"fashion 28", &w_same, XW(D(28, 28, 64, 16), D(28, 28, 64, 16)), LS_CASE_FLOATS, 0, -1, 0, 0,
     1},
    {"fashion 7", &w_same, XW(D(7, 7, 64, 64), D(7, 7, 64, 64)), LS_CASE_FLOATS, 0, -1, 0, 0, 1},
};
LS_CASE_LIST(conv2d_grad_weight, weight_cases);
