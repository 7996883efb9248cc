/* f32 panels (bf16 and f16 are widened while packing), one multiply-add per word. The tile is as large as the registers
 * allow: MR rows by two (one on the baseline: four narrow) vectors. */
#include "op/cpu_kernel.h"
#include "op/matmul/gemm_engines.h"
#include "op/matmul/gemm_pack.h"
#include "op/matmul/gemm_store.h"

#if defined(__AVX512F__)
enum { MR = 12, NR = 32, LANES = 16 };
typedef float vec __attribute__((vector_size(64)));
#elif defined(__AVX2__)
enum { MR = 6, NR = 16, LANES = 8 };
typedef float vec __attribute__((vector_size(32)));
#else
enum { MR = 2, NR = 16, LANES = 4 };
typedef float vec __attribute__((vector_size(16)));
#endif
enum { VECS = NR / LANES, K_BLOCK = 512 };

/* c[rows][NR] = sum over words of a[word][MR] x b[word][NR]; rows is a constant. */
V16_INLINE void run_rows(int64_t words, int rows, const float *a, const vec *b, float *c) {
    vec sum[MR][VECS];
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < VECS; j++) sum[i][j] = (vec){0};
    for (int64_t w = 0; w < words; w++, a += MR, b += VECS) {
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            const vec x = a[i] - (vec){0}; /* broadcast */
#pragma GCC unroll 4
            for (int j = 0; j < VECS; j++) sum[i][j] += x * b[j];
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < VECS; j++) ((vec *)c)[i * VECS + j] = sum[i][j];
}

/* Few rows (decoding, the edge of a result) do not pay for all. */
static void run_tile(int64_t words, int n_rows, const void *a, const void *b, float *c) {
    enum { THIRD = MR / 3 ? MR / 3 : 1 };
    if (n_rows > 2 * THIRD)
        run_rows(words, MR, a, b, c);
    else if (n_rows > THIRD)
        run_rows(words, 2 * THIRD, a, b, c);
    else
        run_rows(words, THIRD, a, b, c);
}

static void pack_a(const ls_gemm_operand *a, const int64_t range[4], int64_t words, void *dst) {
    pack_panels(a, range, words, MR, 0, dst);
}

static void pack_b(const ls_gemm_operand *b, const int64_t range[4], int64_t words, void *dst) {
    pack_panels(b, range, words, NR, 0, dst);
}

static void store(const ls_gemm_out *out, const ls_gemm_tile *tile) {
    store_tile(out, tile, NR);
}

const ls_gemm_engine LS_PASTE(ls_gemm_engine_, wide, LS_KERNEL_ISA) = {.mr = MR,
                                                                       .nr = NR,
                                                                       .k_word = 1,
                                                                       .k_step = 1,
                                                                       .k_block = K_BLOCK,
                                                                       .pack_a = pack_a,
                                                                       .pack_b = pack_b,
                                                                       .tile = run_tile,
                                                                       .store = store};
#define ENGINE LS_PASTE(ls_gemm_engine_, wide, LS_KERNEL_ISA)

static size_t workspace_bytes(const ls_sig *sig, int n_threads) {
    return ls_matmul_workspace_bytes(&ENGINE, sig, n_threads);
}

static ls_status launch_matmul(const ls_launch *launch) {
    return ls_matmul_launch(&ENGINE, launch);
}

LS_CPU_KERNEL(matmul_fwd) = {LS_CPU_KERNEL_HEAD("matmul_fwd"), .refuses = ls_gemm_refuses_wide,
                             .workspace_bytes = workspace_bytes, .launch = launch_matmul};
