/* bf16 and f16 against f32, branch-free so that loops over them become vector code. Round to nearest even; a NaN stays
 * a NaN (quieted, sign and upper payload kept). */
#ifndef LS_TENSOR_HALF_H
#define LS_TENSOR_HALF_H
#include <stdint.h>
#include <string.h>

static inline uint32_t half_float_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float half_bits_float(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline float half_from_bf16(uint16_t bits) {
    return half_bits_float((uint32_t)bits << 16);
}

static inline uint16_t half_to_bf16(float value) {
    const uint32_t bits = half_float_bits(value);
    const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
    const uint32_t quiet = bits >> 16 | 0x40u;
    return (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
}

/* f16 is 1 sign, 5 exponent (bias 15), 10 mantissa bits. Normal numbers move their fields and rebias; subnormal ones
 * are 2^-24 times an integer below 1024, which f32 holds exactly. */
static inline float half_from_f16(uint16_t half) {
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16, rest = half & 0x7fffu;
    const uint32_t normal = (rest << 13) + 0x38000000u; /* exponent + (127 - 15) */
    const uint32_t special = (rest << 13) | 0x7f800000u | (rest > 0x7c00u ? 0x400000u : 0u);
    const uint32_t subnormal = half_float_bits((float)(int32_t)rest * 0x1p-24f);
    uint32_t bits = rest < 0x400u ? subnormal : normal;
    bits = rest >= 0x7c00u ? special : bits;
    return half_bits_float(bits | sign);
}

static inline uint16_t half_to_f16(float value) {
    const uint32_t bits = half_float_bits(value), sign = bits >> 16 & 0x8000u;
    const uint32_t rest = bits & 0x7fffffffu;
    /* Normal result: rebias, add half a unit (even ties), drop 13 bits; a carry walks into the exponent. */
    const uint32_t normal = (rest - 0x38000000u + 0xfffu + (rest >> 13 & 1u)) >> 13;
    /* Subnormal result: adding 0.5 makes f32's own rounding drop the right bits (its last bit is then 2^-24). */
    const uint32_t small = rest < 0x38800000u ? rest : 0u;
    const uint32_t subnormal = half_float_bits(half_bits_float(small) + 0.5f) - 0x3f000000u;
    uint32_t half = rest < 0x38800000u ? subnormal : normal;
    half = rest >= 0x477ff000u ? 0x7c00u : half; /* 65520 and above round to infinity */
    half = rest > 0x7f800000u ? (0x7e00u | (rest >> 13 & 0x1ffu)) : half;
    return (uint16_t)(half | sign);
}

#endif
