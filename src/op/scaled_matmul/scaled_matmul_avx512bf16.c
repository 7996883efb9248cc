/* AVX-512 VNNI: vpdpbusd adds four products of u8 by i8 to s32. a of i8 is packed 128 higher, which the sums of b's columns take out
 * again. Processors of this level and above have VNNI (base/cpu.c). */
#include "op/cpu_kernel.h"
#include "op/scaled_matmul/scaled_launch.h"
#include "op/scaled_matmul/scaled_pack.h"

enum { MR = 12, NR = 32, K_BLOCK = 512 };

/* c[rows][NR] = sum over words of a[word][MR] x b[word][NR]; rows is a constant. */
V16_INLINE void run_rows(int64_t words, int rows, const int *a, const __m512i *b, float *c) {
    __m512i sum[MR][2];
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) sum[i][0] = sum[i][1] = _mm512_setzero_si512();
    for (int64_t w = 0; w < words; w++, a += MR, b += 2) {
        const __m512i b0 = _mm512_load_si512(b), b1 = _mm512_load_si512(b + 1);
#pragma GCC unroll 12
        for (int i = 0; i < rows; i++) {
            const __m512i x = _mm512_set1_epi32(a[i]);
            sum[i][0] = _mm512_dpbusd_epi32(sum[i][0], x, b0);
            sum[i][1] = _mm512_dpbusd_epi32(sum[i][1], x, b1);
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) {
        _mm512_store_si512(c + i * NR, sum[i][0]);
        _mm512_store_si512(c + i * NR + 16, sum[i][1]);
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
    pack_byte_panels(a, range, words, MR, 4, a->dtype == LS_DTYPE_I8, dst);
}

static void pack_b(const ls_gemm_operand *b, const int64_t range[4], int64_t words, void *dst) {
    pack_byte_panels(b, range, words, NR, 4, 0, dst);
}

static void store(const ls_gemm_out *out, const ls_gemm_tile *tile) {
    store_sums(out, tile, NR);
}

static const ls_gemm_engine quads = {.mr = MR,
                                     .nr = NR,
                                     .k_word = 4,
                                     .k_step = 1,
                                     .k_block = K_BLOCK,
                                     .pack_a = pack_a,
                                     .pack_b = pack_b,
                                     .tile = run_tile,
                                     .store = store};
static const ls_scaled_engine engine = {&quads, &quads, 128};

static size_t workspace_bytes(const ls_sig *sig, int n_threads) {
    return ls_scaled_workspace_bytes(&engine, sig, n_threads);
}

static ls_status launch_matmul(const ls_launch *launch) {
    return ls_scaled_launch(&engine, launch);
}

extern const ls_kernel ls_kernel_scaled_matmul_avx512bf16;
const ls_kernel ls_kernel_scaled_matmul_avx512bf16 = {.name = "scaled_matmul_cpu_vnni_12x32",
                                                      .device = LS_DEVICE_CPU,
                                                      .isa = LS_ISA_AVX512BF16,
                                                      .workspace_bytes = workspace_bytes,
                                                      .launch = launch_matmul};
