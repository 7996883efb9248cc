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
static const ls_batchnorm_attr attr = {1e-5}, wide_eps = {1e-2};

#define XGB(x, n, dtype) 3, IN(x, VECTOR(dtype, n, 1), VECTOR(dtype, n, 0))
static const ls_op_case cases[] = {
    {"two dims", &wide_eps, XGB(X(19, 5), 5, T), ALL, 0, 0, 0, 0, 0},
    {"images", &attr, XGB(X(3, 4, 5, 3), 4, T), ALL, 0, 0, 0, 0, 0},
    {"one batch row", &attr, XGB(X(1, 2, 37), 2, T), ALL, 0, 0, 0, 0, 0},
    {"f32 vectors", &attr, XGB(X(4, 3, 4, 4), 3, LS_DTYPE_F32), ALL, 0, 0, 0, 0, 0},
    {"one value", &wide_eps, XGB(X(1, 3), 3, T), ALL, 0, -1, 0, 0, 0},
    {"long runs", &attr, XGB(X(2, 2, 1500), 2, T), ALL, 0, -1, 0, 0, 0},
    {"many short runs", &attr, XGB(X(700, 2, 3), 2, T), ALL, 0, -1, 0, 0, 0},
    {"no channels", &attr, XGB(X(2, 0, 4), 0, T), ALL, 0, -1, 0, 0, 0},
    {"fashion layer", &attr, XGB(X(128, 32, 14, 14), 32, LS_DTYPE_F32), ALL, 0, -1, 0, 0, 1},
};
LS_CASE_LIST(batchnorm, cases);

#define EVAL(x, n, dtype) \
    5, IN(x, VECTOR(dtype, n, 1), VECTOR(dtype, n, 0), VECTOR(LS_DTYPE_F32, n, 0), POSITIVE(n))
static const ls_op_case eval_cases[] = {
    {"two dims", &wide_eps, EVAL(X(19, 5), 5, T), ALL, 0, -1, 0, 0, 0},
    {"images", &attr, EVAL(X(3, 4, 5, 3), 4, LS_DTYPE_F32), ALL, 0, -1, 0, 0, 0},
    {"long runs", &attr, EVAL(X(2, 2, 1500), 2, T), ALL, 0, -1, 0, 0, 0},
};
LS_CASE_LIST(batchnorm_eval, eval_cases);

static const ls_batchnorm_grad_attr f32_both = {LS_DTYPE_F32, LS_DTYPE_F32};
static const ls_batchnorm_grad_attr bf16_f32 = {LS_DTYPE_BF16, LS_DTYPE_F32};
#define GRAD(x, n, dtype) \
    5, IN(x, VECTOR(dtype, n, 1), VECTOR(LS_DTYPE_F32, n, 0.5), POSITIVE(n), x)
static const ls_op_case grad_cases[] = {
    {"two dims", &f32_both, GRAD(X(19, 5), 5, T), ALL, 1e-4, -1, 0, 0, 0},
    {"images", &bf16_f32, GRAD(X(3, 4, 5, 3), 4, LS_DTYPE_F32), ALL, 1e-4, -1, 0, 0, 0},
    {"one value", &f32_both, GRAD(X(1, 3), 3, T), ALL, 1e-4, -1, 0, 0, 0},
    {"long runs", &f32_both, GRAD(X(2, 2, 1500), 2, T), ALL, 1e-3, -1, 0, 0, 0},
    {"many short runs", &f32_both, GRAD(X(700, 2, 3), 2, T), ALL, 1e-3, -1, 0, 0, 0},
    {"fashion layer", &f32_both, GRAD(X(128, 32, 14, 14), 32, T), ALL, 1e-2, -1, 0, 0, 1},
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
