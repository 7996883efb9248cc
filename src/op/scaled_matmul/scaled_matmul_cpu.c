/* Bytes widened to 16 bits; pmaddwd: sum += a[k] b[k] + a[k + 1] b[k + 1] in s32. */
#include "op/cpu_kernel.h"
#include "op/scaled_matmul/scaled_launch.h"
#include "op/scaled_matmul/scaled_pack.h"

#if defined(__AVX512BW__)
enum { MR = 12, NR = 32, LANES = 16 };
#define MULTIPLY_PAIRS(a, b) (vec) _mm512_madd_epi16((__m512i)(a), (__m512i)(b))
#elif defined(__AVX2__)
enum { MR = 6, NR = 16, LANES = 8 };
#define MULTIPLY_PAIRS(a, b) (vec) _mm256_madd_epi16((__m256i)(a), (__m256i)(b))
#else
enum { MR = 2, NR = 16, LANES = 4 };
#ifdef __SSE2__
#define MULTIPLY_PAIRS(a, b) (vec) _mm_madd_epi16((__m128i)(a), (__m128i)(b))
#else
#define MULTIPLY_PAIRS(a, b) (((a) << 16 >> 16) * ((b) << 16 >> 16) + ((a) >> 16) * ((b) >> 16))
#endif
#endif
typedef int32_t vec __attribute__((vector_size(4 * LANES), may_alias));
enum { VECS = NR / LANES, K_BLOCK = 512 };

static void run_tile(int64_t words, int n_rows, const void *a_panel, const void *b_panel,
                     float *c) {
    const int32_t *a = a_panel;
    const vec *b = b_panel;
    vec sum[MR][VECS];
    (void)n_rows;
#pragma GCC unroll 16
    for (int i = 0; i < MR; i++)
#pragma GCC unroll 4
        for (int j = 0; j < VECS; j++) sum[i][j] = (vec){0};
    for (int64_t w = 0; w < words; w++, a += MR, b += VECS) {
#pragma GCC unroll 16
        for (int i = 0; i < MR; i++) {
            const vec x = (vec){0} + a[i];
#pragma GCC unroll 4
            for (int j = 0; j < VECS; j++) sum[i][j] += MULTIPLY_PAIRS(x, b[j]);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < MR; i++)
#pragma GCC unroll 4
        for (int j = 0; j < VECS; j++) ((vec *)c)[i * VECS + j] = sum[i][j];
}

static void pack_a(const ls_gemm_operand *a, const int64_t range[4], int64_t words, void *dst) {
    pack_byte_panels(a, range, words, MR, 2, 0, dst);
}

static void pack_b(const ls_gemm_operand *b, const int64_t range[4], int64_t words, void *dst) {
    pack_byte_panels(b, range, words, NR, 2, 0, dst);
}

static void store(const ls_gemm_out *out, const ls_gemm_tile *tile) {
    store_sums(out, tile, NR);
}

static const ls_gemm_engine bytes = {.mr = MR,
                                     .nr = NR,
                                     .k_word = 2,
                                     .k_step = 1,
                                     .k_block = K_BLOCK,
                                     .pack_a = pack_a,
                                     .pack_b = pack_b,
                                     .tile = run_tile,
                                     .store = store};
static const ls_scaled_engine engine = {&bytes, &bytes, 0};

static size_t workspace_bytes(const ls_sig *sig, int n_threads) {
    return ls_scaled_workspace_bytes(&engine, sig, n_threads);
}

static ls_status launch_matmul(const ls_launch *launch) {
    return ls_scaled_launch(&engine, launch);
}

LS_CPU_KERNEL(scaled_matmul) = {LS_CPU_KERNEL_HEAD("scaled_matmul"),
                                .workspace_bytes = workspace_bytes, .launch = launch_matmul};
