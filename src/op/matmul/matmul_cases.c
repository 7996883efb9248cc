#include "op/matmul/matmul.h"

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
#define AB(a, b)            2, IN({T, a, 0, 0, 1, 0}, {T, b, 0, 0, 0.3, 0})
#define TYPED(ta, a, tb, b) 2, IN({ta, a, 0, 0, 1, 0}, {tb, b, 0, 0, 0.3, 0})

/* transpose_a, transpose_b, activation, has_bias, has_residual, out_dtype, alpha, sum_lead */
static const ls_matmul_attr nn = {0, 0, LS_ACT_NONE, 0, 0, -1, 1, 0};
static const ls_matmul_attr nt = {0, 1, LS_ACT_NONE, 0, 0, -1, 1, 0};
static const ls_matmul_attr tn = {1, 0, LS_ACT_NONE, 0, 0, -1, 1, 0};
static const ls_matmul_attr tt = {1, 1, LS_ACT_NONE, 0, 0, -1, 1, 0};
static const ls_matmul_attr sum = {1, 0, LS_ACT_NONE, 0, 0, -1, 1, 1};
static const ls_matmul_attr scaled = {0, 1, LS_ACT_NONE, 0, 0, -1, -0.25f, 0};
static const ls_matmul_attr to_f32 = {0, 1, LS_ACT_NONE, 0, 0, LS_DTYPE_F32, 1, 0};
static const ls_matmul_attr to_f32_nn = {0, 0, LS_ACT_NONE, 0, 0, LS_DTYPE_F32, 1, 0};
static const ls_matmul_attr sum_f32 = {1, 0, LS_ACT_NONE, 0, 0, LS_DTYPE_F32, 1, 1};
static const ls_matmul_attr to_bf16 = {0, 0, LS_ACT_NONE, 0, 0, LS_DTYPE_BF16, 1, 0};
static const ls_matmul_attr bias = {0, 1, LS_ACT_NONE, 1, 0, -1, 1, 0};
static const ls_matmul_attr residual = {0, 1, LS_ACT_NONE, 0, 1, -1, 1, 0};
static const ls_matmul_attr bias_residual = {0, 0, LS_ACT_NONE, 1, 1, -1, 0.5f, 0};
static const ls_matmul_attr gelu_tanh = {0, 1, LS_ACT_GELU_TANH, 1, 0, -1, 1, 0};
static const ls_matmul_attr gelu_erf = {0, 0, LS_ACT_GELU_ERF, 1, 0, -1, 1, 0};
static const ls_matmul_attr relu = {0, 1, LS_ACT_RELU, 1, 0, -1, 1, 0};
static const ls_matmul_attr silu = {0, 1, LS_ACT_SILU, 0, 1, -1, 1, 0};

#define ABX(a, b, x) 3, IN({T, a, 0, 0, 1, 0}, {T, b, 0, 0, 0.3, 0}, {T, x, 0, 0, 1, 0})
#define ABXY(a, b, x, y) \
    4, IN({T, a, 0, 0, 1, 0}, {T, b, 0, 0, 0.3, 0}, {T, x, 0, 0, 1, 0}, {T, y, 0, 0, 1, 0})

static const ls_op_case cases[] = {
    {"one by one", &nn, AB(D(1, 1), D(1, 1)), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"nn odd", &nn, AB(D(5, 7), D(7, 3)), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"nt odd", &nt, AB(D(13, 17), D(33, 17)), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"tn odd", &tn, AB(D(19, 25), D(19, 47)), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"tt odd", &tt, AB(D(9, 14), D(35, 9)), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"whole tiles", &nn, AB(D(96, 64), D(64, 96)), LS_CASE_FLOATS, 1e-4, -1, 0, 0, 0},
    {"lead dims, shared b", &nt, AB(D(3, 4, 11), D(6, 11)), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"batched nn", &nn, AB(D(2, 3, 5, 8), D(2, 3, 8, 9)), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"batched nt", &nt, AB(D(4, 6, 5), D(4, 18, 5)), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"batched tn", &tn, AB(D(3, 7, 4), D(3, 7, 5)), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"batched tt", &tt, AB(D(3, 7, 4), D(3, 5, 7)), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"sum over lead dims", &sum, AB(D(3, 7, 4), D(3, 7, 5)), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"alpha", &scaled, AB(D(21, 10), D(17, 10)), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"no rows", &nn, AB(D(0, 4), D(4, 5)), LS_CASE_FLOATS, 0, -1, 0, 0, 0},
    {"no terms", &nn, AB(D(3, 0), D(0, 5)), LS_CASE_FLOATS, 0, -1, 0, 0, 0},
    {"f32 result", &to_f32, AB(D(50, 40), D(70, 40)), LS_CASE_FLOATS, 1e-4, -1, 0, 0, 0},
    {"bf16 result", &to_bf16, AB(D(7, 40), D(40, 9)), LS_CASE_F32, 1e-2, -1, 0, 0, 0},
    {"bf16 by f32", &to_f32, TYPED(LS_DTYPE_BF16, D(9, 33), LS_DTYPE_F32, D(20, 33)), LS_CASE_F32,
     1e-4, -1, 0, 0, 0},
    {"f32 by f16", &nn, TYPED(T, D(9, 33), LS_DTYPE_F16, D(33, 20)), LS_CASE_F32, 1e-4, -1, 0, 0,
     0},
    {"f64", &nn, TYPED(LS_DTYPE_F64, D(4, 6), LS_DTYPE_F64, D(6, 5)), 0, 0, -1, 0, 0, 0},
    {"bias", &bias, ABX(D(2, 7, 12), D(19, 12), D(19)), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"residual", &residual, ABX(D(2, 7, 12), D(19, 12), D(2, 7, 19)), LS_CASE_FLOATS, 0, 0, 0, 0,
     0},
    {"bias and residual", &bias_residual, ABXY(D(26, 12), D(12, 40), D(40), D(26, 40)),
     LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"bias of f32", &bias, 3,
     IN({T, D(9, 16), 0, 0, 1, 0}, {T, D(21, 16), 0, 0, 0.3, 0}, {LS_DTYPE_F32, D(21), 0, 0, 1, 0}),
     LS_CASE_FLOATS, 0, -1, 0, 0, 0},
    {"gelu_tanh", &gelu_tanh, ABX(D(3, 5, 12), D(34, 12), D(34)), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"gelu_erf", &gelu_erf, ABX(D(14, 12), D(12, 17), D(17)), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"relu", &relu, ABX(D(14, 12), D(17, 12), D(17)), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"silu and residual", &silu, ABX(D(14, 12), D(17, 12), D(14, 17)), LS_CASE_FLOATS, 0, 0, 0, 0,
     0},
    /* Several blocks of the inner dim, both ways to share the work, sums in the result and in the workspace. */
    {"long inner dim", &nt, AB(D(20, 1201), D(40, 1201)), LS_CASE_FLOATS, 3e-4, -1, 0, 0, 0},
    {"long inner dim, wide", &sum_f32, AB(D(3, 701, 100), D(3, 701, 70)), LS_CASE_FLOATS, 3e-4, -1,
     0, 0, 0},
    {"long inner dim, sums apart", &bias, ABX(D(100, 2103), D(50, 2103), D(50)), LS_CASE_FLOATS,
     3e-4, -1, 0, 0, 0},
    {"many columns", &nt, AB(D(70, 40), D(1100, 40)), LS_CASE_FLOATS, 1e-4, -1, 0, 0, 0},
    {"one row", &nt, AB(D(1, 300), D(130, 300)), LS_CASE_FLOATS, 1e-4, -1, 0, 0, 0},
    {"one row nn", &nn, AB(D(1, 300), D(300, 130)), LS_CASE_FLOATS, 1e-4, -1, 0, 0, 0},
    {"one row nn, many columns", &nn, AB(D(1, 300), D(300, 1100)), LS_CASE_FLOATS, 1e-4, -1, 0, 0,
     0},
    {"few rows nn, long inner dim, many columns", &nn, AB(D(5, 1100), D(1100, 900)), LS_CASE_FLOATS,
     3e-4, -1, 0, 0, 0},
    /* A block of k of A at a time: sums in the workspace, in the result; packed panels asked for ahead. */
    {"by block nn", &bias_residual, ABXY(D(270, 1026), D(1026, 70), D(70), D(270, 70)),
     LS_CASE_FLOATS, 3e-4, -1, 0, 0, 0},
    {"by block nt, f32 result", &to_f32, AB(D(270, 1026), D(530, 1026)), LS_CASE_BF16, 3e-4, -1, 0,
     0, 0},
    /* A read in place, where no word is filled up: whole tiles and last rows, both ways to share the work, rows a page apart. */
    {"a in place", &bias, ABX(D(43, 1536), D(70, 1536), D(70)), LS_CASE_FLOATS, 3e-4, -1, 0, 0, 0},
    {"a in place, b shared", &nn, AB(D(110, 64), D(64, 40)), LS_CASE_FLOATS, 1e-4, -1, 0, 0, 0},
    {"rows a page apart", &nt, AB(D(30, 2048), D(40, 2048)), LS_CASE_FLOATS, 3e-4, -1, 0, 0, 0},
    /* Past the caches: an f32 result of 2 MiB and more, whole tiles and edges. */
    {"large result", &sum_f32, AB(D(1, 40, 530), D(1, 40, 1040)), LS_CASE_FLOATS, 1e-4, -1, 0, 0,
     0},
    /* Few rows, for which B is not packed: 1, 2, 4, 8, 12 rows at a time, whole and part groups of columns, tails of k. */
    {"two rows nn, wide", &nn, AB(D(2, 77), D(77, 301)), LS_CASE_FLOATS, 1e-4, -1, 0, 0, 0},
    {"three rows nn, odd", &nn, AB(D(3, 33), D(33, 65)), LS_CASE_FLOATS, 0, 0, 0, 0, 0},
    {"seven rows nn", &to_f32_nn, AB(D(7, 1030), D(1030, 70)), LS_CASE_FLOATS, 3e-4, -1, 0, 0, 0},
    {"twelve rows nn", &nn, AB(D(12, 40), D(40, 96)), LS_CASE_FLOATS, 1e-4, -1, 0, 0, 0},
    {"sixteen rows nn, dressed", &bias_residual, ABXY(D(16, 1101), D(1101, 77), D(77), D(16, 77)),
     LS_CASE_FLOATS, 3e-4, -1, 0, 0, 0},
    {"two rows nt", &nt, AB(D(2, 1050), D(50, 1050)), LS_CASE_FLOATS, 3e-4, -1, 0, 0, 0},
    {"four rows nt, dressed", &gelu_tanh, ABX(D(4, 47), D(100, 47), D(100)), LS_CASE_FLOATS, 1e-4,
     -1, 0, 0, 0},
    {"twelve rows nt", &nt, AB(D(12, 1055), D(77, 1055)), LS_CASE_FLOATS, 3e-4, -1, 0, 0, 0},
    {"one row of a transposed a", &tn, AB(D(40, 1), D(40, 70)), LS_CASE_FLOATS, 1e-4, -1, 0, 0, 0},
    {"demo forward", &nt, AB(D(4096, 256), D(1024, 256)), LS_CASE_FLOATS, 0, -1, 0, 0, 1},
    {"demo weight gradient", &sum_f32, AB(D(4096, 256), D(4096, 1024)), LS_CASE_FLOATS, 0, -1, 0, 0,
     1},
    {"decode", &nt, AB(D(1, 768), D(3072, 768)), LS_CASE_FLOATS, 0, -1, 0, 0, 1},
};
LS_CASE_LIST(matmul, cases);
