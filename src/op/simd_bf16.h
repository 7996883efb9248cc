/* bf16 in fewer instructions than op/simd.h's general ones take, with the same bits: for kernels that these would bind (*_cpu.c files,
 * and those that compile one again for AVX512-BF16). */
#ifndef LS_OP_SIMD_BF16_H
#define LS_OP_SIMD_BF16_H
#include "op/simd.h"

V16_INLINE v16 v16_widen_bf16(v16h bits) {
#if defined(__AVX512BW__)
    /* every 16-bit place takes its bits from the middle of a pair, and the lower places zero */
    const __m512i from = _mm512_set_epi16(15, 0, 14, 0, 13, 0, 12, 0, 11, 0, 10, 0, 9, 0, 8, 0, 7,
                                          0, 6, 0, 5, 0, 4, 0, 3, 0, 2, 0, 1, 0, 0, 0);
    return (v16)_mm512_maskz_permutexvar_epi16(0xaaaaaaaau, from,
                                               _mm512_castsi256_si512((__m256i)bits));
#else
    return v16_from_bf16(bits);
#endif
}

/* The instruction takes subnormal numbers for zero: those go the long way. */
V16_INLINE v16h v16_narrow_bf16(v16 x) {
#if defined(__AVX512BF16__) && defined(__AVX512DQ__)
    enum { SUBNORMAL = 0x20 };
    if (__builtin_expect(_mm512_fpclass_ps_mask((__m512)x, SUBNORMAL), 0)) return v16_to_bf16(x);
    return (v16h)_mm512_cvtneps_pbh((__m512)x);
#else
    return v16_to_bf16(x);
#endif
}

#if defined(__AVX512BF16__) && defined(__AVX512DQ__)
/* Two vectors side by side, rounded in one instruction; with `stream` past the caches, to an address that is a multiple of 64. */
V16_INLINE void v16_write_two_bf16(uint16_t *p, v16 low, v16 high, int stream) {
    enum { SUBNORMAL = 0x20 };
    const __mmask16 few = _kor_mask16(_mm512_fpclass_ps_mask((__m512)low, SUBNORMAL),
                                      _mm512_fpclass_ps_mask((__m512)high, SUBNORMAL));
    __m512i both = (__m512i)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
    if (__builtin_expect(few, 0))
        both = _mm512_inserti64x4(_mm512_castsi256_si512((__m256i)v16_to_bf16(low)),
                                  (__m256i)v16_to_bf16(high), 1);
    if (stream)
        _mm512_stream_si512((void *)p, both);
    else
        _mm512_storeu_si512(p, both);
}
#endif

/* x as it would be after v16_narrow_bf16. */
V16_INLINE v16 v16_round_bf16(v16 x) {
    return v16_widen_bf16(v16_narrow_bf16(x));
}

/* v16_load and its like with these. */
V16_INLINE v16 v16_read(const void *data, ls_dtype dtype, int64_t at) {
    if (dtype != LS_DTYPE_BF16) return v16_load(data, dtype, at);
    return v16_widen_bf16(v16h_load((const uint16_t *)data + at));
}
V16_INLINE v16 v16_read_n(const void *data, ls_dtype dtype, int64_t at, int64_t n, float rest) {
    return n == V16_LANES ? v16_read(data, dtype, at) : v16_load_n(data, dtype, at, n, rest);
}
V16_INLINE void v16_write(void *data, ls_dtype dtype, int64_t at, v16 x) {
    if (dtype == LS_DTYPE_BF16)
        v16h_store((uint16_t *)data + at, v16_narrow_bf16(x));
    else
        v16_store(data, dtype, at, x);
}
V16_INLINE void v16_write_n(void *data, ls_dtype dtype, int64_t at, v16 x, int64_t n) {
    if (n == V16_LANES)
        v16_write(data, dtype, at, x);
    else
        v16_store_n(data, dtype, at, x, n);
}

#endif
