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

#if defined(__AVX512F__) || defined(__AVX2__)
enum { DIRECT_K = 1 };

/* LANES words: the first n of as many elements, widened; the rest zero. */
#if defined(__AVX512F__)
V16_INLINE turned widen_some(ls_dtype dtype, const char *p, int64_t n) {
    const __mmask16 mask = n >= LANES ? 0xffff : n > 0 ? (__mmask16)((1u << n) - 1) : 0;
    if (dtype == LS_DTYPE_F32) return (turned)_mm512_maskz_loadu_epi32(mask, p);
    const __m256i bits = _mm256_maskz_loadu_epi16(mask, p);
    return (turned)(dtype == LS_DTYPE_BF16 ? v16_from_bf16((v16h)bits) : v16_from_f16((v16h)bits));
}
#else
V16_INLINE turned widen_eight(ls_dtype dtype, const char *p) {
    if (dtype == LS_DTYPE_F32) return _mm256_loadu_si256((const __m256i *)p);
    const __m128i bits = _mm_loadu_si128((const __m128i *)p);
    if (dtype == LS_DTYPE_F16) return _mm256_castps_si256(_mm256_cvtph_ps(bits));
    return _mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16);
}
V16_INLINE turned widen_some(ls_dtype dtype, const char *p, int64_t n) {
    char some[16] = {0};
    if (n >= LANES) return widen_eight(dtype, p);
    if (dtype == LS_DTYPE_F32) {
        const __m256i place = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        const __m256i left = _mm256_set1_epi32(n > 0 ? (int)n : 0);
        return _mm256_maskload_epi32((const int *)(const void *)p, _mm256_cmpgt_epi32(left, place));
    }
    for (int64_t i = 0; i < 2 * n; i++) some[i] = p[i];
    return widen_eight(dtype, some);
}
#endif

V16_INLINE void load_columns(ls_dtype dtype, const char *row, int64_t ld, int64_t n_k, int64_t n,
                             word_vec out[2]) {
    const int64_t bytes = dtype == LS_DTYPE_F32 ? 4 : 2, left = n_k > 0 ? n : 0;
    (void)ld;
    out[0] = (word_vec)widen_some(dtype, row, left);
    out[1] = (word_vec)widen_some(dtype, row + LANES * bytes, left - LANES);
}
V16_INLINE turned load_words(ls_dtype dtype, const char *row, int64_t n_bytes) {
    return widen_some(dtype, row, n_bytes / (dtype == LS_DTYPE_F32 ? 4 : 2));
}
#define JOIN_COLUMNS load_columns
#define LOAD_WORDS   load_words
#include "op/matmul/gemm_direct.h"

DIRECT_OF(f32, LS_DTYPE_F32)
DIRECT_OF(bf16, LS_DTYPE_BF16)
DIRECT_OF(f16, LS_DTYPE_F16)

static void run_direct(const ls_gemm_operand *b, const int64_t range[4], int64_t words, int n_rows,
                       const uint32_t *a, float *c) {
    const direct_fn *of = b->dtype == LS_DTYPE_F32    ? direct_f32
                          : b->dtype == LS_DTYPE_BF16 ? direct_bf16
                                                      : direct_f16;
    direct_of_rows(of, n_rows)(&(direct_call){b, words, a}, range, c);
}
enum {
    DIRECT_DTYPES =
        LS_GEMM_DTYPE(LS_DTYPE_F32) | LS_GEMM_DTYPE(LS_DTYPE_BF16) | LS_GEMM_DTYPE(LS_DTYPE_F16)
};
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

#if defined(__AVX512F__) || defined(__AVX2__)
const ls_gemm_engine LS_PASTE(ls_gemm_engine_, wide, LS_KERNEL_ISA) = DIRECT_ENGINE(LS_DTYPE_F32,
                                                                                    DIRECT_DTYPES);
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
