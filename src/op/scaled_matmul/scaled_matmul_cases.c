#include "op/scaled_matmul/scaled_matmul.h"

#include "op/op_case.h"

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
#define U8(...) \
    { LS_DTYPE_U8, D(__VA_ARGS__), LS_FILL_INTEGER, 0, 256, 0 }
#define I8(...) \
    { LS_DTYPE_I8, D(__VA_ARGS__), LS_FILL_INTEGER, -128, 128, 0 }
#define SCALE(...) \
    { LS_DTYPE_F32, D(__VA_ARGS__), LS_FILL_UNIFORM, 0.001, 0.02, 0 }
#define ZERO(...) \
    { LS_DTYPE_I32, D(__VA_ARGS__), LS_FILL_INTEGER, 0, 256, 0 }
#define BIAS(...) \
    { LS_DTYPE_F32, D(__VA_ARGS__), LS_FILL_NORMAL, 0, 1, 0 }
/* All of the largest size: the sum that comes closest to 2^31. */
#define TOP(dtype, value, ...) \
    { dtype, D(__VA_ARGS__), LS_FILL_CONSTANT, value, 0, 0 }

/* transpose_b, has_zero, has_bias, out_dtype */
static const ls_scaled_matmul_attr nt = {1, 0, 0, LS_DTYPE_F32}, nn = {0, 0, 0, LS_DTYPE_F32};
static const ls_scaled_matmul_attr nt_zero = {1, 1, 0, LS_DTYPE_F32};
static const ls_scaled_matmul_attr nn_zero = {0, 1, 0, LS_DTYPE_F32};
static const ls_scaled_matmul_attr nt_bf16 = {1, 0, 0, LS_DTYPE_BF16};
static const ls_scaled_matmul_attr nt_all = {1, 1, 1, LS_DTYPE_F32};
static const ls_scaled_matmul_attr nn_all_bf16 = {0, 1, 1, LS_DTYPE_BF16};

static const ls_op_case cases[] = {
    {"one by one", &nt, 4, IN(I8(1, 1), I8(1, 1), SCALE(1), SCALE(1)), 0, 0, -1, 0, 0, 0},
    {"i8 nt", &nt, 4, IN(I8(13, 17), I8(33, 17), SCALE(13), SCALE(33)), 0, 0, -1, 0, 0, 0},
    {"i8 nn", &nn, 4, IN(I8(5, 70), I8(70, 43), SCALE(5), SCALE(43)), 0, 0, -1, 0, 0, 0},
    {"u8 nt", &nt, 4, IN(U8(35, 131), I8(47, 131), SCALE(35), SCALE(47)), 0, 0, -1, 0, 0, 0},
    {"u8 nn", &nn, 4, IN(U8(14, 9), I8(9, 100), SCALE(14), SCALE(100)), 0, 0, -1, 0, 0, 0},
    {"u8 zero nt", &nt_zero, 5, IN(U8(14, 65), I8(37, 65), SCALE(14), SCALE(37), ZERO(14)), 0, 0,
     -1, 0, 0, 0},
    {"i8 zero nn", &nn_zero, 5, IN(I8(30, 66), I8(66, 300), SCALE(30), SCALE(300), ZERO(30)), 0, 0,
     -1, 0, 0, 0},
    {"lead dims, bias", &nt_all, 6,
     IN(U8(2, 7, 40), I8(19, 40), SCALE(2, 7), SCALE(19), ZERO(2, 7), BIAS(19)), 0, 0, -1, 0, 0, 0},
    {"bf16", &nt_bf16, 4, IN(I8(33, 64), I8(64, 64), SCALE(33), SCALE(64)), 0, 0, -1, 0, 0, 0},
    {"all in bf16", &nn_all_bf16, 6,
     IN(U8(26, 50), I8(50, 71), SCALE(26), SCALE(71), ZERO(26), BIAS(71)), 0, 0, -1, 0, 0, 0},
    {"no rows", &nt, 4, IN(I8(0, 4), I8(5, 4), SCALE(0), SCALE(5)), 0, 0, -1, 0, 0, 0},
    {"no terms", &nt_zero, 5, IN(U8(3, 0), I8(5, 0), SCALE(3), SCALE(5), ZERO(3)), 0, 0, -1, 0, 0,
     0},
    /* Several blocks of k, both ways to share the work. */
    {"long inner dim", &nt, 4, IN(I8(3, 5000), I8(40, 5000), SCALE(3), SCALE(40)), 0, 0, -1, 0, 0,
     0},
    {"long inner dim, many rows", &nn_zero, 5,
     IN(U8(100, 4500), I8(4500, 35), SCALE(100), SCALE(35), ZERO(100)), 0, 0, -1, 0, 0, 0},
    /* Few rows, for which B is not packed. */
    {"one row nn, long", &nn, 4, IN(U8(1, 2111), I8(2111, 333), SCALE(1), SCALE(333)), 0, 0, -1, 0,
     0, 0},
    {"two rows nn", &nn_zero, 5, IN(I8(2, 6), I8(6, 97), SCALE(2), SCALE(97), ZERO(2)), 0, 0, -1, 0,
     0, 0},
    {"twelve rows nn", &nn, 4, IN(I8(12, 35), I8(35, 64), SCALE(12), SCALE(64)), 0, 0, -1, 0, 0, 0},
    {"sixteen rows nn", &nn_all_bf16, 6,
     IN(U8(16, 67), I8(67, 45), SCALE(16), SCALE(45), ZERO(16), BIAS(45)), 0, 0, -1, 0, 0, 0},
    {"four rows nt", &nt_all, 6,
     IN(I8(4, 2150), I8(50, 2150), SCALE(4), SCALE(50), ZERO(4), BIAS(50)), 0, 0, -1, 0, 0, 0},
    {"seven rows nt", &nt, 4, IN(U8(7, 135), I8(39, 135), SCALE(7), SCALE(39)), 0, 0, -1, 0, 0, 0},
    {"largest sum", &nt, 4,
     IN(TOP(LS_DTYPE_U8, 255, 2, LS_SCALED_MATMUL_MAX_K),
        TOP(LS_DTYPE_I8, -128, 3, LS_SCALED_MATMUL_MAX_K), SCALE(2), SCALE(3)),
     0, 0, -1, 0, 0, 0},
    {"largest sum by zero", &nt_zero, 5,
     IN(TOP(LS_DTYPE_U8, 0, 2, LS_SCALED_MATMUL_MAX_K),
        TOP(LS_DTYPE_I8, -128, 3, LS_SCALED_MATMUL_MAX_K), SCALE(2), SCALE(3),
        TOP(LS_DTYPE_I32, 255, 2)),
     0, 0, -1, 0, 0, 0},
    /* Sums of columns: several steps of rows and of bytes of a row, whole vectors and what is left. */
    {"zero, many terms nn", &nn_zero, 5,
     IN(U8(20, 300), I8(300, 301), SCALE(20), SCALE(301), ZERO(20)), 0, 0, -1, 0, 0, 0},
    {"zero, many terms nt", &nt_zero, 5,
     IN(I8(5, 4233), I8(41, 4233), SCALE(5), SCALE(41), ZERO(5)), 0, 0, -1, 0, 0, 0},
    {"zero, many columns nt", &nt_zero, 5,
     IN(U8(3, 70), I8(530, 70), SCALE(3), SCALE(530), ZERO(3)), 0, 0, -1, 0, 0, 0},
    {"largest sum by zero nn", &nn_zero, 5,
     IN(TOP(LS_DTYPE_U8, 0, 2, 2000), TOP(LS_DTYPE_I8, -128, 2000, 140), SCALE(2), SCALE(140),
        TOP(LS_DTYPE_I32, 255, 2)),
     0, 0, -1, 0, 0, 0},
    {"gpt2 mlp", &nt_bf16, 4, IN(I8(4096, 768), I8(3072, 768), SCALE(4096), SCALE(3072)), 0, 0, -1,
     0, 0, 1},
    {"gpt2 mlp, u8", &nt_bf16, 4, IN(U8(4096, 768), I8(3072, 768), SCALE(4096), SCALE(3072)), 0, 0,
     -1, 0, 0, 1},
    {"decode", &nt_bf16, 4, IN(I8(1, 768), I8(3072, 768), SCALE(1), SCALE(3072)), 0, 0, -1, 0, 0,
     1},
};
LS_CASE_LIST(scaled_matmul, cases);
