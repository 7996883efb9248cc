/* Bytes widened to 16 bits; pmaddwd: sum += a[k] b[k] + a[k + 1] b[k + 1] in s32. */
#include "op/cpu_kernel.h"
#include "op/scaled_matmul/scaled_launch.h"
#include "op/scaled_matmul/scaled_pack.h"

#if defined(__AVX512BW__)
enum { MR = 12, NR = 32, LANES = 16 };
#define MULTIPLY_PAIRS(a, b) _mm512_madd_epi16((__m512i)(a), (__m512i)(b))
#elif defined(__AVX2__)
enum { MR = 6, NR = 16, LANES = 8 };
#define MULTIPLY_PAIRS(a, b) _mm256_madd_epi16((__m256i)(a), (__m256i)(b))
#else
enum { MR = 2, NR = 16, LANES = 4 };
#ifdef __SSE2__
#define MULTIPLY_PAIRS(a, b) _mm_madd_epi16((__m128i)(a), (__m128i)(b))
#else
typedef int32_t int_vec __attribute__((vector_size(4 * LANES), may_alias));
#define MULTIPLY_PAIRS(a, b)                                   \
    (((int_vec)(a) << 16 >> 16) * ((int_vec)(b) << 16 >> 16) + \
     ((int_vec)(a) >> 16) * ((int_vec)(b) >> 16))
#endif
#endif
enum { K_BLOCK = 512 };
#define MULTIPLY_WORD(sum, a, b) ((vec)((word_vec)(sum) + (word_vec)MULTIPLY_PAIRS(a, b)))
#include "op/matmul/gemm_tile.h"

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
static const ls_scaled_engine engine = {&bytes, &bytes, 0, sum_columns};

static size_t workspace_bytes(const ls_sig *sig, int n_threads) {
    return ls_scaled_workspace_bytes(&engine, sig, n_threads);
}

static ls_status launch_matmul(const ls_launch *launch) {
    return ls_scaled_launch(&engine, launch);
}

LS_CPU_KERNEL(scaled_matmul) = {LS_CPU_KERNEL_HEAD("scaled_matmul"),
                                .workspace_bytes = workspace_bytes, .launch = launch_matmul};
