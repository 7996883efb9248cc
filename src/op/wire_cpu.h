/* Wire formats on vectors, for kernel files only: a block of 32 elements at a time, sums over operands in tiles. Same bits as
 * op/wire.c at every level: products with powers of two are exact where they matter (a result that is not is far below half
 * a step), so contraction changes nothing. */
#ifndef LS_OP_WIRE_CPU_H
#define LS_OP_WIRE_CPU_H
#include "op/cpu_kernel.h"
#include "op/simd.h"
#include "op/wire.h"

enum {
    WIRE_TILE_BLOCKS = 8, /* blocks of an operand read in a row: 1 KiB of f32 */
    WIRE_TILE = WIRE_TILE_BLOCKS * LS_WIRE_BLOCK,
    WIRE_LEVELS = 16, /* depth of the tree: up to 2^15 operands */
    WIRE_NAN_BYTE = 255
};

typedef struct wire_block {
    v16 x[2];
} wire_block;

/* --- the largest absolute value of a block, as bits ----------------------------------------------------------------- */

#ifdef __SSE2__
typedef union wire_ints {
    v16u all;
    __m128i x[4];
#ifdef __AVX2__
    __m256i y[2];
#endif
} wire_ints;
#endif

#if defined(__AVX512F__)
V16_INLINE uint32_t wire_max_bits(v16u a, v16u b) {
    return (uint32_t)_mm512_reduce_max_epi32(_mm512_max_epi32((__m512i)a, (__m512i)b));
}
#elif defined(__AVX2__)
V16_INLINE uint32_t wire_max_bits(v16u a, v16u b) {
    const wire_ints p = {a}, q = {b};
    const __m256i y =
        _mm256_max_epi32(_mm256_max_epi32(p.y[0], p.y[1]), _mm256_max_epi32(q.y[0], q.y[1]));
    __m128i x = _mm_max_epi32(_mm256_castsi256_si128(y), _mm256_extracti128_si256(y, 1));
    x = _mm_max_epi32(x, _mm_shuffle_epi32(x, 0x4e));
    x = _mm_max_epi32(x, _mm_shuffle_epi32(x, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(x);
}
#elif defined(__SSE2__)
V16_INLINE __m128i wire_max_ints(__m128i a, __m128i b) {
    const __m128i mask = _mm_cmpgt_epi32(a, b);
    return _mm_or_si128(_mm_and_si128(mask, a), _mm_andnot_si128(mask, b));
}
V16_INLINE uint32_t wire_max_bits(v16u a, v16u b) {
    const wire_ints p = {a}, q = {b};
    __m128i x = wire_max_ints(p.x[0], q.x[0]);
    for (int i = 1; i < 4; i++) x = wire_max_ints(x, wire_max_ints(p.x[i], q.x[i]));
    x = wire_max_ints(x, _mm_shuffle_epi32(x, 0x4e));
    x = wire_max_ints(x, _mm_shuffle_epi32(x, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(x);
}
#else
V16_INLINE uint32_t wire_max_bits(v16u a, v16u b) {
    uint32_t most = 0;
    for (int i = 0; i < V16_LANES; i++) {
        most = a[i] > most ? a[i] : most;
        most = b[i] > most ? b[i] : most;
    }
    return most;
}
#endif

/* --- int8: sixteen lanes to bytes and back -------------------------------------------------------------------------- */

#if defined(__AVX512F__)
V16_INLINE void wire_store_bytes(unsigned char *p, v16i x) {
    _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtepi32_epi8((__m512i)x));
}
V16_INLINE v16 wire_load_bytes(const unsigned char *p) {
    const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
    return (v16)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
}
#elif defined(__SSE2__)
V16_INLINE void wire_store_bytes(unsigned char *p, v16i x) {
    const wire_ints in = {(v16u)x};
    _mm_storeu_si128((__m128i *)(void *)p, _mm_packs_epi16(_mm_packs_epi32(in.x[0], in.x[1]),
                                                           _mm_packs_epi32(in.x[2], in.x[3])));
}
V16_INLINE v16 wire_load_bytes(const unsigned char *p) {
    const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
    const __m128i zero = _mm_setzero_si128();
    const __m128i low = _mm_unpacklo_epi8(zero, bytes), high = _mm_unpackhi_epi8(zero, bytes);
    v16_parts y;
    y.x[0] = _mm_cvtepi32_ps(_mm_srai_epi32(_mm_unpacklo_epi16(zero, low), 24));
    y.x[1] = _mm_cvtepi32_ps(_mm_srai_epi32(_mm_unpackhi_epi16(zero, low), 24));
    y.x[2] = _mm_cvtepi32_ps(_mm_srai_epi32(_mm_unpacklo_epi16(zero, high), 24));
    y.x[3] = _mm_cvtepi32_ps(_mm_srai_epi32(_mm_unpackhi_epi16(zero, high), 24));
    return y.all;
}
#else
V16_INLINE void wire_store_bytes(unsigned char *p, v16i x) {
    for (int i = 0; i < V16_LANES; i++) p[i] = (unsigned char)x[i];
}
V16_INLINE v16 wire_load_bytes(const unsigned char *p) {
    v16 y;
    for (int i = 0; i < V16_LANES; i++) y[i] = (float)(signed char)p[i];
    return y;
}
#endif

V16_INLINE float wire_float(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
/* k + 127 of the block's scale 2^k, WIRE_NAN_BYTE when an element is not finite. 127 2^k, for the least k that holds amax, ends in
 * 0x7e0000: amax with a larger mantissa needs the next k. Elements past the largest scale's 127 are cut to it. */
V16_INLINE int wire_scale_byte(wire_block *b) {
    const uint32_t most = wire_max_bits((v16u)v16_abs(b->x[0]), (v16u)v16_abs(b->x[1]));
    const uint32_t largest = 0x7f7e0000u; /* 127 2^121 */
    if (__builtin_expect(most > largest, 0)) {
        if (most >= 0x7f800000u) return WIRE_NAN_BYTE;
        for (int i = 0; i < 2; i++)
            b->x[i] = v16_clamp(b->x[i], -wire_float(largest), wire_float(largest));
        return 121 + 127;
    }
    const int byte = (int)((most + 0x1ffffu) >> 23) - 6;
    return byte < 1 ? 1 : byte;
}
/* 2^-k; its exponent is in the normal range for every k there is. */
V16_INLINE float wire_inverse(int byte) {
    return wire_float((uint32_t)(254 - byte) << 23);
}
V16_INLINE float wire_scale(int byte) {
    return byte == WIRE_NAN_BYTE ? NAN : wire_float((uint32_t)byte << 23);
}
/* x + shifter rounds x to a whole number, in the low bits of the sum. */
V16_INLINE v16 wire_shifted(v16 x, float inverse) {
    return x * inverse + 12582912.0f;
}

V16_INLINE wire_block wire_round_int8(wire_block b) {
    const int byte = wire_scale_byte(&b);
    if (__builtin_expect(byte == WIRE_NAN_BYTE, 0))
        return (wire_block){{v16_set(NAN), v16_set(NAN)}};
    const float inverse = wire_inverse(byte), scale = wire_scale(byte);
    for (int i = 0; i < 2; i++) b.x[i] = (wire_shifted(b.x[i], inverse) - 12582912.0f) * scale;
    return b;
}
V16_INLINE v16 wire_round_bf16(v16 x) {
    const v16u bits = (v16u)x;
    const v16u rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;
    return v16_select(v16_is_nan(x), v16_set(NAN), (v16)rounded);
}

/* To be called with a constant wire, as all below. */
V16_INLINE wire_block wire_round(int wire, wire_block b) {
    if (wire == LS_WIRE_INT8) return wire_round_int8(b);
    if (wire == LS_WIRE_BF16)
        for (int i = 0; i < 2; i++) b.x[i] = wire_round_bf16(b.x[i]);
    return b;
}
/* n elements, at least 1, and zeros. */
V16_INLINE wire_block wire_load(const float *x, int64_t n) {
    if (n >= LS_WIRE_BLOCK) return (wire_block){{v16_load_f32(x), v16_load_f32(x + V16_LANES)}};
    wire_block b = {{v16_set(0), v16_set(0)}};
    b.x[0] = v16_load_f32_n(x, n < V16_LANES ? n : V16_LANES, 0);
    if (n > V16_LANES) b.x[1] = v16_load_f32_n(x + V16_LANES, n - V16_LANES, 0);
    return b;
}
V16_INLINE void wire_store(float *y, wire_block b, int64_t n) {
    if (n >= LS_WIRE_BLOCK) {
        v16_store_f32(y, b.x[0]);
        v16_store_f32(y + V16_LANES, b.x[1]);
        return;
    }
    v16_store_f32_n(y, b.x[0], n < V16_LANES ? n : V16_LANES);
    if (n > V16_LANES) v16_store_f32_n(y + V16_LANES, b.x[1], n - V16_LANES);
}

/* Block 0 or 1 of the unit that begins at `unit`. */
V16_INLINE wire_block wire_decode(int wire, const unsigned char *unit, int which) {
    wire_block b;
    for (int i = 0; i < 2; i++) {
        const int first = which * LS_WIRE_BLOCK + i * V16_LANES;
        if (wire == LS_WIRE_BF16) {
            v16h bits;
            memcpy(&bits, unit + 2 * first, sizeof bits);
            b.x[i] = v16_from_bf16(bits);
        } else {
            b.x[i] = wire_load_bytes(unit + first) * wire_scale(unit[LS_SHARD_UNIT + which]);
        }
    }
    return b;
}
V16_INLINE void wire_encode(int wire, wire_block b, unsigned char *unit, int which) {
    const int byte = wire == LS_WIRE_INT8 ? wire_scale_byte(&b) : 0;
    for (int i = 0; i < 2; i++) {
        const int first = which * LS_WIRE_BLOCK + i * V16_LANES;
        if (wire == LS_WIRE_BF16) {
            const v16h bits = v16_upper((v16u)wire_round_bf16(b.x[i]));
            memcpy(unit + 2 * first, &bits, sizeof bits);
        } else {
            const v16i whole = (v16i)wire_shifted(b.x[i], wire_inverse(byte)) - 0x4b400000;
            wire_store_bytes(unit + first, byte == WIRE_NAN_BYTE ? v16i_set(0) : whole);
        }
    }
    if (wire == LS_WIRE_INT8) unit[LS_SHARD_UNIT + which] = (unsigned char)byte;
}

/* --- sums over operands --------------------------------------------------------------------------------------------- */

V16_INLINE size_t wire_unit_bytes(int wire) {
    return wire == LS_WIRE_BF16 ? 2 * LS_SHARD_UNIT : LS_SHARD_UNIT + LS_SHARD_UNIT / LS_WIRE_BLOCK;
}
/* Block of operand r at element `at`, rounded; n elements of it exist. */
V16_INLINE wire_block wire_leaf(const ls_wire_sum *s, int wire, int encoded, int r, int64_t at,
                                int64_t n) {
    const unsigned char *data = s->views[(int64_t)r * s->stride].data;
    if (!encoded) return wire_round(wire, wire_load((const float *)(const void *)data + at, n));
    return wire_decode(wire, data + (size_t)(at / LS_SHARD_UNIT) * wire_unit_bytes(wire),
                       (int)(at / LS_WIRE_BLOCK % 2));
}
V16_INLINE wire_block wire_node(int wire, wire_block a, wire_block b) {
    return wire_round(wire, (wire_block){{a.x[0] + b.x[0], a.x[1] + b.x[1]}});
}

/* Two operands: one pass. */
V16_INLINE void wire_sum_pair(const ls_wire_sum *s, int wire, int encoded, int64_t begin,
                              int64_t count, float *y) {
    for (int64_t at = 0; at < count; at += LS_WIRE_BLOCK) {
        const wire_block a = wire_leaf(s, wire, encoded, 0, begin + at, count - at);
        const wire_block b = wire_leaf(s, wire, encoded, 1, begin + at, count - at);
        wire_store(y + at, wire_node(wire, a, b), count - at);
    }
}

/* At most a tile: operand after operand, whole subtrees on a stack. */
V16_INLINE void wire_sum_tile(const ls_wire_sum *s, int wire, int encoded, int64_t begin,
                              int64_t count, float *y) {
    wire_block stack[WIRE_LEVELS][WIRE_TILE_BLOCKS];
    const int n_blocks = (int)((count + LS_WIRE_BLOCK - 1) / LS_WIRE_BLOCK);
    int depth = 0;
    for (int r = 0; r < s->n; r++) {
        for (int b = 0; b < n_blocks; b++)
            stack[depth][b] = wire_leaf(s, wire, encoded, r, begin + b * LS_WIRE_BLOCK,
                                        count - b * LS_WIRE_BLOCK);
        for (int done = r; done & 1; done >>= 1, depth--)
            for (int b = 0; b < n_blocks; b++)
                stack[depth - 1][b] = wire_node(wire, stack[depth - 1][b], stack[depth][b]);
        depth++;
    }
    for (int b = 0; b < n_blocks; b++)
        wire_store(y + b * LS_WIRE_BLOCK, stack[0][b], count - b * LS_WIRE_BLOCK);
}

V16_INLINE void wire_sum_as(const ls_wire_sum *s, int wire, int encoded, int64_t begin,
                            int64_t count, float *y) {
    if (s->n == 2) {
        wire_sum_pair(s, wire, encoded, begin, count, y);
        return;
    }
    for (int64_t at = 0; at < count; at += WIRE_TILE)
        wire_sum_tile(s, wire, encoded, begin + at, count - at < WIRE_TILE ? count - at : WIRE_TILE,
                      y + at);
}

static inline void wire_sum(const ls_wire_sum *s, int64_t begin, int64_t count, float *y) {
    if (s->wire == LS_WIRE_F32)
        wire_sum_as(s, LS_WIRE_F32, 0, begin, count, y);
    else if (s->wire == LS_WIRE_BF16 && s->encoded)
        wire_sum_as(s, LS_WIRE_BF16, 1, begin, count, y);
    else if (s->wire == LS_WIRE_BF16)
        wire_sum_as(s, LS_WIRE_BF16, 0, begin, count, y);
    else if (s->encoded)
        wire_sum_as(s, LS_WIRE_INT8, 1, begin, count, y);
    else
        wire_sum_as(s, LS_WIRE_INT8, 0, begin, count, y);
}

V16_INLINE void wire_encode_as(int wire, const float *x, int64_t count, unsigned char *out) {
    for (int64_t at = 0; at < count; at += LS_SHARD_UNIT, out += wire_unit_bytes(wire))
        for (int b = 0; b < 2; b++) {
            const int64_t first = at + b * LS_WIRE_BLOCK;
            const wire_block zeros = {{v16_set(0), v16_set(0)}};
            wire_encode(wire, first < count ? wire_load(x + first, count - first) : zeros, out, b);
        }
}
static inline void wire_encode_all(int wire, const float *x, int64_t count, void *out) {
    if (wire == LS_WIRE_F32)
        memcpy(out, x, sizeof *x * (size_t)count);
    else if (wire == LS_WIRE_BF16)
        wire_encode_as(LS_WIRE_BF16, x, count, out);
    else
        wire_encode_as(LS_WIRE_INT8, x, count, out);
}

#endif
