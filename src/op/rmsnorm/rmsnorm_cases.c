#include "op/rmsnorm/rmsnorm.h"

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
static const ls_rmsnorm_attr attr = {1e-5}, wide_eps = {1e-2};

/* x and gamma with rows of n elements; gamma in its own dtype. */
#define XG(x, n, vector) 2, IN({T, x, 0, 0.2, 2, 0}, {vector, D(n), 0, 1, 0.3, 0})

static const ls_op_case cases[] = {
    {"one row", &attr, XG(D(19), 19, T), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"one element", &wide_eps, XG(D(5, 1), 1, T), LS_CASE_FLOATS, 0, -1, 0, 0, 0},
    {"odd rows", &attr, XG(D(3, 5, 37), 37, T), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"whole vectors", &wide_eps, XG(D(7, 32), 32, T), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"f32 gamma", &attr, XG(D(9, 48), 48, LS_DTYPE_F32), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"bf16 gamma", &attr, XG(D(9, 48), 48, LS_DTYPE_BF16), LS_CASE_FLOATS, 0, -1, 0, 0, 0},
    {"rows past a block", &attr, XG(D(130, 17), 17, T), LS_CASE_FLOATS, 0, -1, 0, 0, 0},
    {"no rows", &attr, XG(D(0, 8), 8, T), LS_CASE_FLOATS, 0, -1, 0, 0, 0},
    {"llama layer", &attr, XG(D(2048, 512), 512, T), LS_CASE_FLOATS, 0, -1, 0, 0, 1},
    {"dram", &attr, XG(D(49152, 768), 768, T), LS_CASE_FLOATS, 0, -1, 0, 0, 1},
};
LS_CASE_LIST(rmsnorm, cases);

static const ls_rmsnorm_grad_attr f32_sum = {LS_DTYPE_F32, {0, 0}};
static const ls_rmsnorm_grad_attr bf16_sum = {LS_DTYPE_BF16, {0, 0}};
static const ls_rmsnorm_grad_attr residual = {LS_DTYPE_F32, {0, 1}};
static const ls_rmsnorm_grad_attr all_sums = {LS_DTYPE_F32, {2, 1}};

/* x, gamma, rstd, dy; rstd need not be that of x. */
#define GRAD_IN(x, rows, n, vector)                         \
    4, IN({T, x, 0, 0, 1, 0}, {vector, D(n), 0, 1, 0.3, 0}, \
          {LS_DTYPE_F32, rows, LS_FILL_UNIFORM, 0.5, 1.5, 0}, {T, x, 0, 0, 1, 0})

/* The same and n further operands of x's type. */
#define MORE_IN(n_more, x, rows, n, vector, ...)             \
    4 + n_more,                                              \
        IN({T, x, 0, 0, 1, 0}, {vector, D(n), 0, 1, 0.3, 0}, \
           {LS_DTYPE_F32, rows, LS_FILL_UNIFORM, 0.5, 1.5, 0}, {T, x, 0, 0, 1, 0}, __VA_ARGS__)
#define MORE(x) \
    { T, x, 0, 0, 1, 0 }

static const ls_op_case grad_cases[] = {
    {"residual", &residual, MORE_IN(1, D(3, 5, 37), D(3, 5), 37, T, MORE(D(3, 5, 37))),
     LS_CASE_FLOATS, 0, -1, 0, 0, 0},
    {"three terms, residual", &all_sums,
     MORE_IN(3, D(130, 17), D(130), 17, T, MORE(D(130, 17)), MORE(D(130, 17)), MORE(D(130, 17))),
     LS_CASE_FLOATS, 1e-4, -1, 0, 0, 0},
    {"llama layer, three terms, residual", &all_sums,
     MORE_IN(3, D(2048, 512), D(2048), 512, T, MORE(D(2048, 512)), MORE(D(2048, 512)),
             MORE(D(2048, 512))),
     LS_CASE_FLOATS, 3e-4, -1, 0, 0, 1},
    {"odd rows", &f32_sum, GRAD_IN(D(3, 5, 37), D(3, 5), 37, T), LS_CASE_FLOATS, 0, -1, 0, 0, 0},
    {"one element", &f32_sum, GRAD_IN(D(3, 1), D(3), 1, T), LS_CASE_FLOATS, 0, -1, 0, 0, 0},
    {"no rows", &f32_sum, GRAD_IN(D(0, 8), D(0), 8, T), LS_CASE_FLOATS, 0, -1, 0, 0, 0},
    {"bf16 sum", &bf16_sum, GRAD_IN(D(9, 48), D(9), 48, LS_DTYPE_F32), LS_CASE_FLOATS, 1e-2, -1, 0,
     0, 0},
    {"three blocks", &f32_sum, GRAD_IN(D(130, 17), D(130), 17, T), LS_CASE_FLOATS, 3e-5, -1, 0, 0,
     0},
    {"llama layer", &f32_sum, GRAD_IN(D(2048, 512), D(2048), 512, T), LS_CASE_FLOATS, 3e-4, -1, 0,
     0, 1},
    {"dram", &f32_sum, GRAD_IN(D(49152, 768), D(49152), 768, T), LS_CASE_FLOATS, 3e-4, -1, 0, 0, 1},
};
LS_CASE_LIST(rmsnorm_grad, grad_cases);
