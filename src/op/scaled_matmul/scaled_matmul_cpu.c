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
#define ADD_SUMS(a, b)           ((vec)((word_vec)(a) + (word_vec)(b)))
#include "op/matmul/gemm_tile.h"

#if defined(__AVX2__)
enum { DIRECT_K = 2 };

#if defined(__AVX512BW__)
/* 32 bytes, zero behind the first n, and pairs of two rows' bytes of 16 columns each, widened. */
typedef __m256i byte_vec;
V16_INLINE byte_vec load_row(const char *p, int64_t n) {
    if (n >= 32) return _mm256_loadu_si256((const __m256i *)p);
    return _mm256_maskz_loadu_epi8(n > 0 ? (1u << n) - 1 : 0, p);
}
V16_INLINE turned widen_row(byte_vec x) {
    return (turned)_mm512_cvtepi8_epi16(x);
}
V16_INLINE void widen_two(byte_vec even, byte_vec odd, word_vec out[2]) {
    const __m256i a = _mm256_permute4x64_epi64(even, 0xd8);
    const __m256i b = _mm256_permute4x64_epi64(odd, 0xd8);
    out[0] = (word_vec)_mm512_cvtepi8_epi16(_mm256_unpacklo_epi8(a, b));
    out[1] = (word_vec)_mm512_cvtepi8_epi16(_mm256_unpackhi_epi8(a, b));
}
#else
/* The same of 16 bytes and 8 columns. */
typedef __m128i byte_vec;
V16_INLINE byte_vec load_row(const char *p, int64_t n) {
    byte_vec x = _mm_setzero_si128();
    if (n >= 16) return _mm_loadu_si128((const __m128i *)p);
    if (n > 0) memcpy(&x, p, (size_t)n);
    return x;
}
V16_INLINE turned widen_row(byte_vec x) {
    return _mm256_cvtepi8_epi16(x);
}
V16_INLINE void widen_two(byte_vec even, byte_vec odd, word_vec out[2]) {
    out[0] = (word_vec)_mm256_cvtepi8_epi16(_mm_unpacklo_epi8(even, odd));
    out[1] = (word_vec)_mm256_cvtepi8_epi16(_mm_unpackhi_epi8(even, odd));
}
#endif

V16_INLINE void join_two(ls_dtype dtype, const char *row, int64_t ld, int64_t n_k, int64_t n,
                         word_vec out[2]) {
    (void)dtype;
    widen_two(load_row(row, n_k > 0 ? n : 0), load_row(row + (n_k > 1 ? ld : 0), n_k > 1 ? n : 0),
              out);
}
V16_INLINE turned load_words(ls_dtype dtype, const char *row, int64_t n_bytes) {
    (void)dtype;
    return widen_row(load_row(row, n_bytes));
}
#define JOIN_COLUMNS join_two
#define LOAD_WORDS   load_words
#include "op/matmul/gemm_direct.h"

DIRECT_OF(i8, LS_DTYPE_I8)

static void run_direct(const ls_gemm_operand *b, const int64_t range[4], int64_t words, int n_rows,
                       const uint32_t *a, float *c) {
    direct_of_rows(direct_i8, n_rows)(&(direct_call){b, words, a}, range, c);
}
#endif

static void pack_a(const ls_gemm_operand *a, const int64_t range[4], int64_t words, void *dst) {
    pack_byte_panels(a, range, words, MR, 2, 0, dst);
}

static void pack_b(const ls_gemm_operand *b, const int64_t range[4], int64_t words, void *dst) {
    pack_byte_panels(b, range, words, NR, 2, 0, dst);
}

static void store(const ls_gemm_out *out, const ls_gemm_tile *tile) {
    store_sums(out, tile, NR);
}

#if defined(__AVX2__)
static const ls_gemm_engine bytes = DIRECT_ENGINE(LS_DTYPE_COUNT, LS_GEMM_DTYPE(LS_DTYPE_I8));
#else
static const ls_gemm_engine bytes = {.mr = MR,
                                     .nr = NR,
                                     .k_word = 2,
                                     .k_step = 1,
                                     .k_block = K_BLOCK,
                                     .pack_a = pack_a,
                                     .pack_b = pack_b,
                                     .tile = run_tile,
                                     .store = store};
#endif
static const ls_scaled_engine engine = {&bytes, &bytes, 0, sum_columns};

static size_t workspace_bytes(const ls_sig *sig, int n_threads) {
    return ls_scaled_workspace_bytes(&engine, sig, n_threads);
}

static ls_status launch_matmul(const ls_launch *launch) {
    return ls_scaled_launch(&engine, launch);
}

LS_CPU_KERNEL(scaled_matmul) = {LS_CPU_KERNEL_HEAD("scaled_matmul"),
                                .workspace_bytes = workspace_bytes, .launch = launch_matmul};
