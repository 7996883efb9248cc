/* Pairs of bf16 and vdpbf16ps: sum += a[k] b[k] + a[k + 1] b[k + 1] in f32, 12 x 32 results in 24 registers. For processors where
 * the instruction runs at full rate (AMD Zen 4). It treats subnormal inputs as zero and flushes subnormal results. */
#include "op/cpu_kernel.h"
#include "op/matmul/gemm_engines.h"
#include "op/matmul/gemm_pack.h"
#include "op/matmul/gemm_store.h"

enum { MR = 12, NR = 32, LANES = 16, K_BLOCK = 512, DIRECT_K = 2 };
#define MULTIPLY_WORD(sum, a, b) \
    ((vec)_mm512_dpbf16_ps((__m512)(sum), (__m512bh)(a), (__m512bh)(b)))
#include "op/matmul/gemm_tile.h"

V16_INLINE __m512i load_columns(const char *row, int64_t n) {
    if (n >= 32) return _mm512_loadu_si512(row);
    return _mm512_maskz_loadu_epi16((1u << n) - 1, row);
}

/* Pairs of two rows of k. */
V16_INLINE void join_pairs(ls_dtype dtype, const char *row, int64_t ld, int64_t n_k, int64_t n,
                           word_vec out[2]) {
    (void)dtype;
    static const uint16_t index[2][32] = {
        {0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
         8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47},
        {16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53, 22, 54, 23, 55,
         24, 56, 25, 57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63}};
    const __m512i even = n_k > 0 ? load_columns(row, n) : _mm512_setzero_si512();
    const __m512i odd = n_k > 1 ? load_columns(row + ld, n) : _mm512_setzero_si512();
    for (int h = 0; h < 2; h++)
        out[h] = (word_vec)_mm512_permutex2var_epi16(even, _mm512_loadu_si512(index[h]), odd);
}
V16_INLINE turned load_words(ls_dtype dtype, const char *row, int64_t n_bytes) {
    (void)dtype;
    return load_line(row, n_bytes);
}
#define JOIN_COLUMNS join_pairs
#define LOAD_WORDS   load_words
#include "op/matmul/gemm_direct.h"

DIRECT_OF(bf16, LS_DTYPE_BF16)

static void run_direct(const ls_gemm_operand *b, const int64_t range[4], int64_t words, int n_rows,
                       const uint32_t *a, float *c) {
    direct_of_rows(direct_bf16, n_rows)(&(direct_call){b, words, a}, range, c);
}

static void pack_a(const ls_gemm_operand *a, const int64_t range[4], int64_t words, void *dst) {
    pack_panels(a, range, words, MR, 1, dst);
}

static void pack_b(const ls_gemm_operand *b, const int64_t range[4], int64_t words, void *dst) {
    if (b->k_inner)
        pack_panels(b, range, words, NR, 1, dst);
    else
        pack_joined(b, range, LS_DTYPE_BF16, words, dst);
}

static void store(const ls_gemm_out *out, const ls_gemm_tile *tile) {
    store_tile(out, tile, NR);
}

const ls_gemm_engine ls_gemm_engine_pairs_avx512bf16 =
    DIRECT_ENGINE(LS_DTYPE_BF16, LS_GEMM_DTYPE(LS_DTYPE_BF16));

static size_t workspace_bytes(const ls_sig *sig, int n_threads) {
    return ls_matmul_workspace_bytes(&ls_gemm_engine_pairs_avx512bf16, sig, n_threads);
}

static ls_status launch_matmul(const ls_launch *launch) {
    return ls_matmul_launch(&ls_gemm_engine_pairs_avx512bf16, launch);
}

extern const ls_kernel ls_kernel_matmul_fwd_avx512bf16;
const ls_kernel ls_kernel_matmul_fwd_avx512bf16 = {.name = "matmul_fwd_cpu_avx512bf16_12x32",
                                                   .device = LS_DEVICE_CPU,
                                                   .isa = LS_ISA_AVX512BF16,
                                                   .refuses = ls_gemm_refuses_pairs,
                                                   .workspace_bytes = workspace_bytes,
                                                   .launch = launch_matmul};
