/* AVX-512 VNNI: vpdpbusd adds four products of u8 by i8 to s32. a of i8 is packed 128 higher, which the sums of b's columns take out
 * again. Processors of this level and above have VNNI (base/cpu.c). */
#include "op/cpu_kernel.h"
#include "op/matmul/gemm_engines.h"
#include "op/scaled_matmul/scaled_launch.h"
#include "op/scaled_matmul/scaled_pack.h"

enum { MR = 12, NR = 32, LANES = 16, K_BLOCK = 512, DIRECT_K = 4 };
#define MULTIPLY_WORD(sum, a, b) \
    ((vec)_mm512_dpbusd_epi32((__m512i)(sum), (__m512i)(a), (__m512i)(b)))
#define ADD_SUMS(a, b) ((vec)((word_vec)(a) + (word_vec)(b)))
#include "op/matmul/gemm_tile.h"

/* 32 columns of a row of k behind those of another two rows further. */
V16_INLINE __m512i load_two_rows(const char *row, int64_t ld, int64_t n_k, int64_t n) {
    const __mmask32 mask = n >= 32 ? ~0u : (1u << n) - 1;
    const __m256i low = _mm256_maskz_loadu_epi8(n_k > 0 ? mask : 0, row);
    const __m256i high = _mm256_maskz_loadu_epi8(n_k > 2 ? mask : 0, n_k > 2 ? row + 2 * ld : row);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

/* Quads of four rows of k: bytes of rows 0 and 1, 2 and 3 are joined to halves, the halves to words. */
V16_INLINE void join_quads(ls_dtype dtype, const char *row, int64_t ld, int64_t n_k, int64_t n,
                           word_vec out[2]) {
    (void)dtype;
    static const uint16_t index[2][32] = {
        {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
         32, 48, 33, 49, 34, 50, 35, 51, 36, 52, 37, 53, 38, 54, 39, 55},
        {8,  24, 9,  25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31,
         40, 56, 41, 57, 42, 58, 43, 59, 44, 60, 45, 61, 46, 62, 47, 63}};
    const __m512i even = load_two_rows(row, ld, n_k, n);
    const __m512i odd = load_two_rows(n_k > 1 ? row + ld : row, ld, n_k - 1, n);
    /* low: columns 0-7 and 16-23, of rows 0 and 1, then of rows 2 and 3 */
    const __m512i low = _mm512_unpacklo_epi8(even, odd), high = _mm512_unpackhi_epi8(even, odd);
    for (int h = 0; h < 2; h++)
        out[h] = (word_vec)_mm512_permutex2var_epi16(low, _mm512_loadu_si512(index[h]), high);
}
V16_INLINE turned load_words(ls_dtype dtype, const char *row, int64_t n_bytes) {
    (void)dtype;
    return load_line(row, n_bytes);
}
#define JOIN_COLUMNS join_quads
#define LOAD_WORDS   load_words
#include "op/matmul/gemm_direct.h"

DIRECT_OF(i8, LS_DTYPE_I8)

static void run_direct(const ls_gemm_operand *b, const int64_t range[4], int64_t words, int n_rows,
                       const uint32_t *a, float *c) {
    direct_of_rows(direct_i8, n_rows)(&(direct_call){b, words, a}, range, c);
}

static void pack_a(const ls_gemm_operand *a, const int64_t range[4], int64_t words, void *dst) {
    pack_byte_panels(a, range, words, MR, 4, a->dtype == LS_DTYPE_I8, dst);
}

static void pack_b(const ls_gemm_operand *b, const int64_t range[4], int64_t words, void *dst) {
    if (b->k_inner)
        pack_byte_panels(b, range, words, NR, 4, 0, dst);
    else
        pack_joined(b, range, LS_DTYPE_I8, words, dst);
}

static void store(const ls_gemm_out *out, const ls_gemm_tile *tile) {
    store_sums(out, tile, NR);
}

const ls_gemm_engine ls_gemm_engine_quads_avx512bf16 =
    DIRECT_ENGINE(LS_DTYPE_U8, LS_GEMM_DTYPE(LS_DTYPE_I8));
static const ls_scaled_engine engine = {&ls_gemm_engine_quads_avx512bf16,
                                        &ls_gemm_engine_quads_avx512bf16, 128, sum_columns};

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
