/* f32 panels (bf16 and f16 are widened while packing), one multiply-add per word. The tile is as large as the registers
 * allow: MR rows by two (one on the baseline: four narrow) vectors. */
#include "op/cpu_kernel.h"
#include "op/matmul/gemm_engines.h"
#include "op/matmul/gemm_pack.h"
#include "op/matmul/gemm_store.h"

#if defined(__AVX512F__)
enum { MR = 12, NR = 32, LANES = 16 };
#elif defined(__AVX2__)
enum { MR = 6, NR = 16, LANES = 8 };
#else
enum { MR = 2, NR = 16, LANES = 4 };
#endif
enum { K_BLOCK = 512 };
#define MULTIPLY_WORD(sum, a, b) ((vec)(a) * (vec)(b) + (sum))
#include "op/matmul/gemm_tile.h"

#if defined(__AVX512F__)
enum { DIRECT_K = 1 };
V16_INLINE void load_columns(const char *row, int64_t ld, int64_t n_k, int64_t n, word_vec out[2]) {
    const uint32_t mask = n_k <= 0 ? 0 : n >= NR ? ~0u : (1u << n) - 1;
    (void)ld;
    out[0] = (word_vec)_mm512_maskz_loadu_epi32((__mmask16)mask, row);
    out[1] = (word_vec)_mm512_maskz_loadu_epi32((__mmask16)(mask >> 16), row + 64);
}
#define JOIN_COLUMNS load_columns
#include "op/matmul/gemm_direct.h"
#endif

static void pack_a(const ls_gemm_operand *a, const int64_t range[4], int64_t words, void *dst) {
    pack_panels(a, range, words, MR, 0, dst);
}

static void pack_b(const ls_gemm_operand *b, const int64_t range[4], int64_t words, void *dst) {
    pack_panels(b, range, words, NR, 0, dst);
}

static void store(const ls_gemm_out *out, const ls_gemm_tile *tile) {
    store_tile(out, tile, NR);
}

#if defined(__AVX512F__)
const ls_gemm_engine ls_gemm_engine_wide_avx512 = DIRECT_ENGINE(LS_DTYPE_F32, LS_DTYPE_F32);
#else
const ls_gemm_engine LS_PASTE(ls_gemm_engine_, wide, LS_KERNEL_ISA) = {.mr = MR,
                                                                       .nr = NR,
                                                                       .k_word = 1,
                                                                       .k_step = 1,
                                                                       .k_block = K_BLOCK,
                                                                       .pack_a = pack_a,
                                                                       .pack_b = pack_b,
                                                                       .tile = run_tile,
                                                                       .store = store};
#endif
#define ENGINE LS_PASTE(ls_gemm_engine_, wide, LS_KERNEL_ISA)

static size_t workspace_bytes(const ls_sig *sig, int n_threads) {
    return ls_matmul_workspace_bytes(&ENGINE, sig, n_threads);
}

static ls_status launch_matmul(const ls_launch *launch) {
    return ls_matmul_launch(&ENGINE, launch);
}

LS_CPU_KERNEL(matmul_fwd) = {LS_CPU_KERNEL_HEAD("matmul_fwd"), .refuses = ls_gemm_refuses_wide,
                             .workspace_bytes = workspace_bytes, .launch = launch_matmul};
