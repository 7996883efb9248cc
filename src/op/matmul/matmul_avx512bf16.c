/* Pairs of bf16 and vdpbf16ps: sum += a[k] b[k] + a[k + 1] b[k + 1] in f32, 12 x 32 results in 24 registers. For processors where
 * the instruction runs at full rate (AMD Zen 4). It treats subnormal inputs as zero and flushes subnormal results. */
#include "op/cpu_kernel.h"
#include "op/matmul/gemm_engines.h"
#include "op/matmul/gemm_pack.h"
#include "op/matmul/gemm_store.h"
#include <immintrin.h>

enum { MR = 12, NR = 32, K_BLOCK = 512 };

/* c[rows][NR] = sum over words of a[word][MR] x b[word][NR]; rows is a constant. */
V16_INLINE void run_rows(int64_t words, int rows, const int *a, const __m512i *b, float *c) {
    __m512 sum[MR][2];
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) sum[i][0] = sum[i][1] = _mm512_setzero_ps();
    for (int64_t w = 0; w < words; w++, a += MR, b += 2) {
        const __m512bh b0 = (__m512bh)_mm512_load_si512(b);
        const __m512bh b1 = (__m512bh)_mm512_load_si512(b + 1);
#pragma GCC unroll 12
        for (int i = 0; i < rows; i++) {
            const __m512bh x = (__m512bh)_mm512_set1_epi32(a[i]);
            sum[i][0] = _mm512_dpbf16_ps(sum[i][0], x, b0);
            sum[i][1] = _mm512_dpbf16_ps(sum[i][1], x, b1);
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) {
        _mm512_store_ps(c + i * NR, sum[i][0]);
        _mm512_store_ps(c + i * NR + 16, sum[i][1]);
    }
}

/* Few rows (decoding, the edge of a result) do not pay for twelve. */
static void run_tile(int64_t words, int n_rows, const void *a, const void *b, float *c) {
    if (n_rows > 8)
        run_rows(words, MR, a, b, c);
    else if (n_rows > 4)
        run_rows(words, 8, a, b, c);
    else
        run_rows(words, 4, a, b, c);
}

static void pack_a(const ls_gemm_operand *a, const int64_t range[4], int64_t words, void *dst) {
    pack_panels(a, range, words, MR, 1, dst);
}

static void pack_b(const ls_gemm_operand *b, const int64_t range[4], int64_t words, void *dst) {
    pack_panels(b, range, words, NR, 1, dst);
}

static void store(const ls_gemm_out *out, const ls_gemm_tile *tile) {
    store_tile(out, tile, NR);
}

const ls_gemm_engine ls_gemm_engine_pairs_avx512bf16 = {.mr = MR,
                                                        .nr = NR,
                                                        .k_word = 2,
                                                        .k_step = 1,
                                                        .k_block = K_BLOCK,
                                                        .pack_a = pack_a,
                                                        .pack_b = pack_b,
                                                        .tile = run_tile,
                                                        .store = store};

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
