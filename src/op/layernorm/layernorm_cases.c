#include "op/layernorm/layernorm.h"

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
static const ls_layernorm_attr attr = {1e-5}, wide_eps = {1e-2};

/* x, gamma and beta with rows of n elements; gamma and beta in their own dtype. */
#define XGB(x, n, vector) \
    3, IN({T, x, 0, 0.5, 2, 0}, {vector, D(n), 0, 1, 0.3, 0}, {vector, D(n), 0, 0, 0.5, 0})
#define XG(x, n) 2, IN({T, x, 0, 0, 1, 0}, {T, D(n), 0, 1, 0.3, 0})

static const ls_op_case cases[] = {
    {"one row", &attr, XGB(D(19), 19, T), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"one element", &wide_eps, XGB(D(5, 1), 1, T), LS_CASE_FLOATS, 0, -1, 0, 0, 0},
    {"odd rows", &attr, XGB(D(3, 5, 37), 37, T), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"no beta", &wide_eps, XG(D(7, 32), 32), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"f32 vectors", &attr, XGB(D(9, 48), 48, LS_DTYPE_F32), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"bf16 vectors", &attr, XGB(D(9, 48), 48, LS_DTYPE_BF16), LS_CASE_FLOATS, 0, -1, 0, 0, 0},
    {"rows past a block", &attr, XGB(D(130, 17), 17, T), LS_CASE_FLOATS, 0, -1, 0, 0, 0},
    {"rows past a block, whole vectors", &attr, XGB(D(75, 96), 96, LS_DTYPE_F32), LS_CASE_FLOATS, 0,
     -1, 0, 0, 0},
    {"rows too wide to keep", &attr, XGB(D(9, 1100), 1100, LS_DTYPE_F32), LS_CASE_FLOATS, 0, -1, 0,
     0, 0},
    {"no rows", &attr, XGB(D(0, 8), 8, T), LS_CASE_FLOATS, 0, -1, 0, 0, 0},
    {"far from zero", &attr, 3,
     IN({T, D(4, 256), 0, 100, 1, 0}, {T, D(256), 0, 1, 0.3, 0}, {T, D(256), 0, 0, 1, 0}),
     LS_CASE_F32, 1e-4, -1, 0, 0, 0},
    {"demo layer", &attr, XGB(D(4096, 256), 256, LS_DTYPE_F32), LS_CASE_FLOATS, 0, -1, 0, 0, 1},
    {"dram", &attr, XGB(D(49152, 768), 768, LS_DTYPE_F32), LS_CASE_FLOATS, 0, -1, 0, 0, 1},
};
LS_CASE_LIST(layernorm, cases);

static const ls_layernorm_grad_attr f32_both = {LS_DTYPE_F32, LS_DTYPE_F32, {0, 0}};
static const ls_layernorm_grad_attr gamma_only = {LS_DTYPE_F32, -1, {0, 0}};
static const ls_layernorm_grad_attr bf16_both = {LS_DTYPE_BF16, LS_DTYPE_BF16, {0, 0}};
static const ls_layernorm_grad_attr residual = {LS_DTYPE_F32, LS_DTYPE_F32, {0, 1}};
static const ls_layernorm_grad_attr terms = {LS_DTYPE_F32, -1, {2, 0}};
static const ls_layernorm_grad_attr all_sums = {LS_DTYPE_F32, LS_DTYPE_F32, {3, 1}};

/* x, gamma, mean, rstd, dy; mean and rstd need not be those of x. */
#define GRAD_IN(x, rows, n, vector)                                                             \
    5, IN({T, x, 0, 0, 1, 0}, {vector, D(n), 0, 1, 0.3, 0}, {LS_DTYPE_F32, rows, 0, 0, 0.1, 0}, \
          {LS_DTYPE_F32, rows, LS_FILL_UNIFORM, 0.5, 1.5, 0}, {T, x, 0, 0, 1, 0})

/* The same and n further operands of x's type. */
#define MORE_IN(n_more, x, rows, n, vector, ...)                                                 \
    5 + n_more,                                                                                  \
        IN({T, x, 0, 0, 1, 0}, {vector, D(n), 0, 1, 0.3, 0}, {LS_DTYPE_F32, rows, 0, 0, 0.1, 0}, \
           {LS_DTYPE_F32, rows, LS_FILL_UNIFORM, 0.5, 1.5, 0}, {T, x, 0, 0, 1, 0}, __VA_ARGS__)
#define MORE(x) \
    { T, x, 0, 0, 1, 0 }

static const ls_op_case grad_cases[] = {
    {"residual", &residual, MORE_IN(1, D(3, 5, 37), D(3, 5), 37, T, MORE(D(3, 5, 37))),
     LS_CASE_FLOATS, 0, -1, 0, 0, 0},
    {"three terms", &terms,
     MORE_IN(2, D(7, 32), D(7), 32, LS_DTYPE_F32, MORE(D(7, 32)), MORE(D(7, 32))), LS_CASE_FLOATS,
     1e-4, -1, 0, 0, 0},
    {"four terms, residual, three blocks", &all_sums,
     MORE_IN(4, D(130, 17), D(130), 17, T, MORE(D(130, 17)), MORE(D(130, 17)), MORE(D(130, 17)),
             MORE(D(130, 17))),
     LS_CASE_FLOATS, 1e-4, -1, 0, 0, 0},
    {"demo layer, residual", &residual,
     MORE_IN(1, D(4096, 256), D(4096), 256, LS_DTYPE_F32, MORE(D(4096, 256))), LS_CASE_FLOATS, 3e-4,
     -1, 0, 0, 1},
    {"odd rows", &f32_both, GRAD_IN(D(3, 5, 37), D(3, 5), 37, T), LS_CASE_FLOATS, 0, -1, 0, 0, 0},
    {"no beta", &gamma_only, GRAD_IN(D(7, 32), D(7), 32, T), LS_CASE_FLOATS, 0, -1, 0, 0, 0},
    {"one element", &f32_both, GRAD_IN(D(3, 1), D(3), 1, T), LS_CASE_FLOATS, 0, -1, 0, 0, 0},
    {"no rows", &f32_both, GRAD_IN(D(0, 8), D(0), 8, T), LS_CASE_FLOATS, 0, -1, 0, 0, 0},
    {"bf16 sums", &bf16_both, GRAD_IN(D(9, 48), D(9), 48, LS_DTYPE_F32), LS_CASE_FLOATS, 1e-2, -1,
     0, 0, 0},
    {"three blocks", &f32_both, GRAD_IN(D(130, 17), D(130), 17, T), LS_CASE_FLOATS, 3e-5, -1, 0, 0,
     0},
    {"demo layer", &f32_both, GRAD_IN(D(4096, 256), D(4096), 256, LS_DTYPE_F32), LS_CASE_FLOATS,
     3e-4, -1, 0, 0, 1},
    {"dram", &f32_both, GRAD_IN(D(49152, 768), D(49152), 768, LS_DTYPE_F32), LS_CASE_FLOATS, 3e-4,
     -1, 0, 0, 1},
    {"dram, residual", &residual,
     MORE_IN(1, D(49152, 768), D(49152), 768, LS_DTYPE_F32, MORE(D(49152, 768))), LS_CASE_FLOATS,
     3e-4, -1, 0, 0, 1},
};
LS_CASE_LIST(layernorm_grad, grad_cases);
