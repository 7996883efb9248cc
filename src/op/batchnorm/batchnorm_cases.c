#include "op/batchnorm/batchnorm.h"

#include "op/batchnorm/ema_step.h"
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
    { T, D(__VA_ARGS__), LS_FILL_NORMAL, 0.5, 2, 0 }
#define VECTOR(dtype, n, mean) \
    { dtype, D(n), LS_FILL_NORMAL, mean, 0.3, 0 }
#define POSITIVE(n) \
    { LS_DTYPE_F32, D(n), LS_FILL_UNIFORM, 0.5, 2, 0 }
#define ALL LS_CASE_FLOATS
static const ls_batchnorm_attr attr = {1e-5, 0, 0}, wide_eps = {1e-2, 0, 0};
static const ls_batchnorm_attr relu = {1e-5, 0, 1}, residual = {1e-5, 1, 0}, both = {1e-5, 1, 1};

#define XGB(x, n, dtype)  3, IN(x, VECTOR(dtype, n, 1), VECTOR(dtype, n, 0))
#define XGBR(x, n, dtype) 4, IN(x, VECTOR(dtype, n, 1), VECTOR(dtype, n, 0), x)
static const ls_op_case cases[] = {
    {"relu", &relu, XGB(X(3, 5, 3, 4), 4, LS_DTYPE_F32), ALL, 0, -1, 0, 0, 0},
    {"residual", &residual, XGBR(X(19, 5), 5, T), ALL, 0, -1, 0, 0, 0},
    {"residual, relu", &both, XGBR(X(3, 5, 3, 4), 4, T), ALL, 0, -1, 0, 0, 0},
    {"residual, relu, many rows", &both, XGBR(X(2, 1500, 2), 2, T), ALL, 0, -1, 0, 0, 0},
    {"residual, relu, more rows", &both, XGBR(X(700, 3, 2), 2, T), ALL, 0, -1, 0, 0, 0},
    {"two dims", &wide_eps, XGB(X(19, 5), 5, T), ALL, 0, 0, 0, 0, 0},
    {"images", &attr, XGB(X(3, 5, 3, 4), 4, T), ALL, 0, 0, 0, 0, 0},
    {"one batch row", &attr, XGB(X(1, 37, 2), 2, T), ALL, 0, 0, 0, 0, 0},
    {"f32 vectors", &attr, XGB(X(4, 4, 4, 3), 3, LS_DTYPE_F32), ALL, 0, 0, 0, 0, 0},
    {"one value", &wide_eps, XGB(X(1, 3), 3, T), ALL, 0, -1, 0, 0, 0},
    {"many rows", &attr, XGB(X(2, 1500, 2), 2, T), ALL, 0, -1, 0, 0, 0},
    {"more rows", &attr, XGB(X(700, 3, 2), 2, T), ALL, 0, -1, 0, 0, 0},
    {"no channels", &attr, XGB(X(2, 4, 0), 0, T), ALL, 0, -1, 0, 0, 0},
    {"many channels", &both, XGBR(X(3, 50, 37), 37, T), ALL, 0, -1, 0, 0, 0},
    {"fashion layer", &attr, XGB(X(14, 14, 128, 32), 32, LS_DTYPE_F32), ALL, 0, -1, 0, 0, 1},
};
LS_CASE_LIST(batchnorm, cases);

#define EVAL(x, n, dtype) \
    5, IN(x, VECTOR(dtype, n, 1), VECTOR(dtype, n, 0), VECTOR(LS_DTYPE_F32, n, 0), POSITIVE(n))
#define EVALR(x, n, dtype) \
    6, IN(x, VECTOR(dtype, n, 1), VECTOR(dtype, n, 0), VECTOR(LS_DTYPE_F32, n, 0), POSITIVE(n), x)
static const ls_op_case eval_cases[] = {
    {"residual, relu", &both, EVALR(X(3, 5, 3, 4), 4, LS_DTYPE_F32), ALL, 0, -1, 0, 0, 0},
    {"relu", &relu, EVAL(X(2, 1500, 2), 2, T), ALL, 0, -1, 0, 0, 0},
    {"two dims", &wide_eps, EVAL(X(19, 5), 5, T), ALL, 0, -1, 0, 0, 0},
    {"images", &attr, EVAL(X(3, 5, 3, 4), 4, LS_DTYPE_F32), ALL, 0, -1, 0, 0, 0},
    {"many rows", &attr, EVAL(X(2, 1500, 2), 2, T), ALL, 0, -1, 0, 0, 0},
};
LS_CASE_LIST(batchnorm_eval, eval_cases);

static const ls_batchnorm_grad_attr f32_both = {LS_DTYPE_F32, LS_DTYPE_F32, 0, 0};
static const ls_batchnorm_grad_attr bf16_f32 = {LS_DTYPE_BF16, LS_DTYPE_F32, 0, 0};
static const ls_batchnorm_grad_attr two_terms = {LS_DTYPE_F32, LS_DTYPE_F32, 1, 0};
static const ls_batchnorm_grad_attr masked = {LS_DTYPE_F32, LS_DTYPE_F32, 0, 1};
static const ls_batchnorm_grad_attr masked_terms = {LS_DTYPE_F32, LS_DTYPE_F32, 1, 1};
#define GRAD(x, n, dtype) \
    5, IN(x, VECTOR(dtype, n, 1), VECTOR(LS_DTYPE_F32, n, 0.5), POSITIVE(n), x)
#define GRAD6(x, n, dtype) \
    6, IN(x, VECTOR(dtype, n, 1), VECTOR(LS_DTYPE_F32, n, 0.5), POSITIVE(n), x, x)
#define GRAD7(x, n, dtype) \
    7, IN(x, VECTOR(dtype, n, 1), VECTOR(LS_DTYPE_F32, n, 0.5), POSITIVE(n), x, x, x)
static const ls_op_case grad_cases[] = {
    {"two terms", &two_terms, GRAD6(X(3, 5, 3, 4), 4, T), ALL, 1e-3, -1, 0, 0, 0},
    {"relu", &masked, GRAD6(X(19, 5), 5, T), ALL, 1e-3, -1, 0, 0, 0},
    {"two terms, relu, many rows", &masked_terms, GRAD7(X(2, 1500, 2), 2, T), ALL, 1e-2, -1, 0, 0,
     0},
    {"two terms, relu, more rows", &masked_terms, GRAD7(X(700, 3, 2), 2, T), ALL, 1e-2, -1, 0, 0,
     0},
    {"fashion layer, two terms, relu", &masked_terms, GRAD7(X(14, 14, 128, 32), 32, T), ALL, 1e-2,
     -1, 0, 0, 1},
    {"two dims", &f32_both, GRAD(X(19, 5), 5, T), ALL, 1e-4, -1, 0, 0, 0},
    {"images", &bf16_f32, GRAD(X(3, 5, 3, 4), 4, LS_DTYPE_F32), ALL, 1e-4, -1, 0, 0, 0},
    {"one value", &f32_both, GRAD(X(1, 3), 3, T), ALL, 1e-4, -1, 0, 0, 0},
    {"many rows", &f32_both, GRAD(X(2, 1500, 2), 2, T), ALL, 1e-3, -1, 0, 0, 0},
    {"more rows", &f32_both, GRAD(X(700, 3, 2), 2, T), ALL, 1e-3, -1, 0, 0, 0},
    {"two terms, relu, many channels", &masked_terms, GRAD7(X(3, 50, 37), 37, T), ALL, 1e-3, -1, 0,
     0, 0},
    {"fashion layer", &f32_both, GRAD(X(14, 14, 128, 32), 32, T), ALL, 1e-2, -1, 0, 0, 1},
};
LS_CASE_LIST(batchnorm_grad, grad_cases);

static const ls_ema_step_attr tenth = {0.1, 1.0}, unbiased = {0.25, 1.125};
#define STATE(n) \
    { LS_DTYPE_F32, D(n), LS_FILL_NORMAL, 0, 1, 0 }
static const ls_op_case ema_cases[] = {
    {"same dtype", &tenth, 2, IN(STATE(37), STATE(37)), 0, 0, -1, 0, 1, 0},
    {"low precision value", &unbiased, 2, IN(STATE(16), X(16)), ALL, 0, -1, 0, 1, 0},
};
LS_CASE_LIST(ema_step, ema_cases);
