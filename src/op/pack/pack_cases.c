/* Shapes of packed operands are those of the forms: panels of 16 columns (base) or 32, blocks of k up to 512 words. */
#include "op/op_case.h"
#include "op/pack/pack.h"

#define T(...) \
    { .dtype = LS_CASE_T, .shape = {__VA_ARGS__}, .b = 0.5 }
#define F32(...) \
    { .dtype = LS_DTYPE_F32, .shape = {__VA_ARGS__}, .b = 0.5 }

static const ls_pack_attr kn = {LS_PACK_WIDE_BASE, 0}, nk = {LS_PACK_WIDE_BASE, 1};
static const ls_case_in one[] = {T(2, {1, 1})};
static const ls_case_in odd[] = {T(2, {7, 3})};
static const ls_case_in turned[] = {T(2, {33, 17})};
static const ls_case_in blocks[] = {T(2, {37, 1201})};
static const ls_case_in many[] = {T(2, {40, 300})};
static const ls_case_in none[] = {T(2, {0, 5})};
static const ls_case_in demo[] = {T(2, {3072, 768})};
#ifdef LS_X86
static const ls_pack_attr avx2_nk = {LS_PACK_WIDE_AVX2, 1}, avx512_kn = {LS_PACK_WIDE_AVX512, 0};
static const ls_pack_attr pairs_kn = {LS_PACK_PAIRS_AVX512BF16, 0},
                          pairs_nk = {LS_PACK_PAIRS_AVX512BF16, 1};
#endif

#define FLOATS(text, attribute, inputs) \
    { .name = text, .attr = &attribute, .n_in = 1, .in = inputs, .dtypes = LS_CASE_FLOATS }
#define PAIRS(text, attribute, inputs) \
    { .name = text, .attr = &attribute, .n_in = 1, .in = inputs, .dtypes = LS_CASE_BF16 }

static const ls_op_case pack_cases[] = {
    FLOATS("one by one", kn, one),
    FLOATS("odd", kn, odd),
    FLOATS("turned", nk, turned),
    FLOATS("blocks of k", nk, blocks),
    FLOATS("many panels", kn, many),
    FLOATS("no columns", nk, none),
#ifdef LS_X86
    FLOATS("avx2, turned", avx2_nk, turned),
    FLOATS("avx512, many panels", avx512_kn, many),
    PAIRS("pairs, odd", pairs_kn, odd),
    PAIRS("pairs, turned", pairs_nk, turned),
    PAIRS("pairs, blocks of k", pairs_nk, blocks),
    PAIRS("pairs, many panels", pairs_kn, many),
    {.name = "bench_3072x768",
     .attr = &pairs_nk,
     .n_in = 1,
     .in = demo,
     .dtypes = LS_CASE_BF16,
     .bench = 1},
#else
    {.name = "bench_3072x768", .attr = &nk, .n_in = 1, .in = demo, .bench = 1},
#endif
};
LS_CASE_LIST(pack, pack_cases);

#define PRODUCT(columns, form_, ...)                                                        \
    {                                                                                       \
        .n = columns, .form = form_, .product = {.out_dtype = -1, .alpha = 1, __VA_ARGS__ } \
    }
static const ls_matmul_packed_attr plain = PRODUCT(3, LS_PACK_WIDE_BASE, .has_bias = 0),
                                   columns = PRODUCT(33, LS_PACK_WIDE_BASE, .transpose_b = 1),
                                   epilogue = PRODUCT(33, LS_PACK_WIDE_BASE, .has_bias = 1,
                                                      .has_residual = 1),
                                   gelu = PRODUCT(33, LS_PACK_WIDE_BASE, .has_bias = 1,
                                                  .activation = LS_ACT_GELU_TANH),
                                   to_f32 = {
                                       .n = 40,
                                       .form = LS_PACK_WIDE_BASE,
                                       .product = {.out_dtype = LS_DTYPE_F32, .alpha = -0.25f}};
static const ls_case_in small[] = {T(2, {5, 7}), F32(4, {1, 1, 7, 16})};
static const ls_case_in batch[] = {T(3, {2, 7, 17}), F32(4, {1, 3, 17, 16})};
static const ls_case_in no_rows[] = {T(2, {0, 17}), F32(4, {1, 3, 17, 16})};
static const ls_case_in with_epilogue[] = {T(3, {2, 7, 17}), F32(4, {1, 3, 17, 16}), T(1, {33}),
                                           T(3, {2, 7, 33})};
static const ls_case_in long_k[] = {T(2, {20, 1201}), F32(4, {3, 3, 401, 16})};
static const ls_case_in long_k_many_rows[] = {T(2, {100, 1201}), F32(4, {3, 3, 401, 16})};
#ifdef LS_X86
static const ls_matmul_packed_attr wide = PRODUCT(33, LS_PACK_WIDE_AVX512, .has_bias = 0),
                                   pairs = PRODUCT(33, LS_PACK_PAIRS_AVX512BF16, .has_bias = 0),
                                   pairs_epilogue =
                                       PRODUCT(33, LS_PACK_PAIRS_AVX512BF16, .transpose_b = 1,
                                               .has_bias = 1, .has_residual = 1);
static const ls_case_in wide_in[] = {T(2, {70, 17}), F32(4, {1, 2, 17, 32})};
static const ls_case_in pairs_in[] = {T(2, {70, 17}), T(5, {1, 2, 9, 32, 2})};
static const ls_case_in pairs_with_epilogue[] = {T(3, {2, 7, 17}), T(5, {1, 2, 9, 32, 2}),
                                                 T(1, {33}), T(3, {2, 7, 33})};
static const ls_matmul_packed_attr pairs_turned =
    PRODUCT(3072, LS_PACK_PAIRS_AVX512BF16, .transpose_b = 1);
static const ls_case_in pairs_demo[] = {T(2, {64, 768}), T(5, {1, 96, 384, 32, 2})};
static const ls_case_in pairs_blocks[] = {T(2, {70, 1201}), T(5, {2, 2, 301, 32, 2})};
#endif

#define RUN(text, attribute, count, inputs, dtype_mask, allowed)                             \
    {                                                                                        \
        .name = text, .attr = &attribute, .n_in = count, .in = inputs, .dtypes = dtype_mask, \
        .tolerance = allowed                                                                 \
    }

static const ls_op_case product_cases[] = {
    RUN("small", plain, 2, small, LS_CASE_FLOATS, 0),
    RUN("w by columns", columns, 2, batch, LS_CASE_FLOATS, 0),
    RUN("no rows", columns, 2, no_rows, LS_CASE_FLOATS, 0),
    RUN("bias and residual", epilogue, 4, with_epilogue, LS_CASE_FLOATS, 0),
    RUN("gelu_tanh", gelu, 3, with_epilogue, LS_CASE_FLOATS, 0),
    RUN("long inner dim, f32 result", to_f32, 2, long_k, LS_CASE_FLOATS, 3e-4),
    RUN("long inner dim, many rows", to_f32, 2, long_k_many_rows, LS_CASE_FLOATS, 3e-4),
#ifdef LS_X86
    RUN("avx512", wide, 2, wide_in, LS_CASE_FLOATS, 1e-4),
    RUN("pairs", pairs, 2, pairs_in, LS_CASE_BF16, 1e-4),
    RUN("pairs, epilogue", pairs_epilogue, 4, pairs_with_epilogue, LS_CASE_BF16, 1e-4),
    RUN("pairs, blocks of k", pairs, 2, pairs_blocks, LS_CASE_BF16, 3e-4),
    {.name = "bench_64x3072x768",
     .attr = &pairs_turned,
     .n_in = 2,
     .in = pairs_demo,
     .dtypes = LS_CASE_BF16,
     .tolerance = 1e-3,
     .bench = 1},
#endif
};
LS_CASE_LIST(matmul_packed, product_cases);
