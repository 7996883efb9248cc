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

#if defined(__AVX512F__)
V16_INLINE uint32_t wire_max_bits(v16u a, v16u b) {
    return (uint32_t)_mm512_reduce_max_epi32(_mm512_max_epi32((__m512i)a, (__m512i)b));
}
#elif defined(__AVX2__)
V16_INLINE uint32_t wire_max_bits(v16u a, v16u b) {
    const __m256i y =
        _mm256_max_epi32(_mm256_max_epi32((__m256i)v16_low((v16)a), (__m256i)v16_high((v16)a)),
                         _mm256_max_epi32((__m256i)v16_low((v16)b), (__m256i)v16_high((v16)b)));
    __m128i x = _mm_max_epi32(_mm256_castsi256_si128(y), _mm256_extracti128_si256(y, 1));
    x = _mm_max_epi32(x, _mm_shuffle_epi32(x, 0x4e));
    x = _mm_max_epi32(x, _mm_shuffle_epi32(x, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(x);
}
#elif defined(__SSE2__)
typedef union wire_ints {
    v16u all;
    __m128i x[4];
} wire_ints;
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
    const union {
        v16i all;
        __m128i x[4];
    } in = {x};
    _mm_storeu_si128((__m128i *)(void *)p, _mm_packs_epi16(_mm_packs_epi32(in.x[0], in.x[1]),
                                                           _mm_packs_epi32(in.x[2], in.x[3])));
}
V16_INLINE v16 wire_load_bytes(const unsigned char *p) {
    const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
    v16_parts y;
#ifdef __AVX2__
    y.y[0] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
    y.y[1] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8)));
#else
    const __m128i zero = _mm_setzero_si128();
    const __m128i low = _mm_unpacklo_epi8(zero, bytes), high = _mm_unpackhi_epi8(zero, bytes);
    y.x[0] = _mm_cvtepi32_ps(_mm_srai_epi32(_mm_unpacklo_epi16(zero, low), 24));
    y.x[1] = _mm_cvtepi32_ps(_mm_srai_epi32(_mm_unpackhi_epi16(zero, low), 24));
    y.x[2] = _mm_cvtepi32_ps(_mm_srai_epi32(_mm_unpacklo_epi16(zero, high), 24));
    y.x[3] = _mm_cvtepi32_ps(_mm_srai_epi32(_mm_unpackhi_epi16(zero, high), 24));
#endif
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

/* One number in all lanes. GCC 12 builds a vector wider than the registers from scalars, one by one. */
V16_INLINE v16 wire_splat(uint32_t bits) {
#if defined(__AVX2__) && !defined(__AVX512F__)
    v16_parts y;
    y.y[0] = y.y[1] = _mm256_castsi256_ps(_mm256_set1_epi32((int)bits));
    return y.all;
#elif defined(__SSE2__) && !defined(__AVX512F__)
    v16_parts y;
    y.x[0] = y.x[1] = y.x[2] = y.x[3] = _mm_castsi128_ps(_mm_set1_epi32((int)bits));
    return y.all;
#else
    return (v16)((v16u){0} + bits);
#endif
}
/* Within 127 of 0; NaN may become a number. */
V16_INLINE v16 wire_cut(v16 x) {
#if defined(__AVX512F__)
    const __m512 most = _mm512_set1_ps(127);
    return (v16)_mm512_max_ps(_mm512_min_ps((__m512)x, most), -most);
#elif defined(__AVX2__)
    const __m256 most = _mm256_set1_ps(127), least = _mm256_set1_ps(-127);
    v16_parts y = {x};
    for (int i = 0; i < 2; i++) y.y[i] = _mm256_max_ps(_mm256_min_ps(y.y[i], most), least);
    return y.all;
#elif defined(__SSE2__)
    const __m128 most = _mm_set1_ps(127), least = _mm_set1_ps(-127);
    v16_parts y = {x};
    for (int i = 0; i < 4; i++) y.x[i] = _mm_max_ps(_mm_min_ps(y.x[i], most), least);
    return y.all;
#else
    return v16_clamp(x, -127, 127);
#endif
}

/* What one block needs. No vector depends on a branch: below AVX-512, one that does goes through memory. */
typedef struct wire_scaling {
    int byte;           /* k + 127 of the scale 2^k; WIRE_NAN_BYTE when an element is not finite */
    v16 inverse, scale; /* 2^-k, 2^k: normal numbers for every k there is */
    v16u keep, set;     /* a NaN block keeps no bit and sets those of NaN */
} wire_scaling;

/* 127 2^k, for the least k that holds amax, ends in 0x7e0000: amax with a larger mantissa needs the next k. */
V16_INLINE wire_scaling wire_scale_block(const wire_block *b) {
    const uint32_t most = wire_max_bits((v16u)v16_abs(b->x[0]), (v16u)v16_abs(b->x[1]));
    const int is_nan = most >= 0x7f800000u;
    int byte = (int)((most + 0x1ffffu) >> 23) - 6;
    byte = byte < 1 ? 1 : byte > 248 ? 248 : byte;
    return (wire_scaling){.byte = is_nan ? WIRE_NAN_BYTE : byte,
                          .inverse = wire_splat((uint32_t)(254 - byte) << 23),
                          .scale = wire_splat((uint32_t)byte << 23),
                          .keep = (v16u)wire_splat(is_nan ? 0 : ~0u),
                          .set = (v16u)wire_splat(is_nan ? 0x7fc00000u : 0)};
}
/* x / 2^k as whole numbers: x + shifter rounds x to one. */
V16_INLINE v16 wire_quantize(v16 x, v16 inverse) {
    const float shifter = 12582912.0f; /* 1.5 * 2^23 */
    return wire_cut((x * inverse + shifter) - shifter);
}
V16_INLINE v16 wire_scale_of(int byte) {
    return wire_splat(byte == WIRE_NAN_BYTE ? 0x7fc00000u : (uint32_t)byte << 23);
}

V16_INLINE wire_block wire_round_int8(wire_block b) {
    const wire_scaling s = wire_scale_block(&b);
    for (int i = 0; i < 2; i++)
        b.x[i] = (v16)(((v16u)(wire_quantize(b.x[i], s.inverse) * s.scale) & s.keep) | s.set);
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
/* n elements and zeros. A short block goes through memory, so that whole ones stay in registers. */
V16_INLINE wire_block wire_load(const float *x, int64_t n) {
    float padded[LS_WIRE_BLOCK];
    if (__builtin_expect(n < LS_WIRE_BLOCK, 0)) {
        memset(padded, 0, sizeof padded);
        memcpy(padded, x, sizeof *x * (size_t)n);
        x = padded;
    }
    return (wire_block){{v16_load_f32(x), v16_load_f32(x + V16_LANES)}};
}
V16_INLINE void wire_store(float *y, wire_block b, int64_t n) {
    float padded[LS_WIRE_BLOCK];
    float *to = n < LS_WIRE_BLOCK ? padded : y;
    v16_store_f32(to, b.x[0]);
    v16_store_f32(to + V16_LANES, b.x[1]);
    if (__builtin_expect(n < LS_WIRE_BLOCK, 0)) memcpy(y, padded, sizeof *y * (size_t)n);
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
            b.x[i] = wire_load_bytes(unit + first) * wire_scale_of(unit[LS_SHARD_UNIT + which]);
        }
    }
    return b;
}
V16_INLINE void wire_encode(int wire, wire_block b, unsigned char *unit, int which) {
    if (wire == LS_WIRE_BF16) {
        for (int i = 0; i < 2; i++) {
            const v16h bits = v16_upper((v16u)wire_round_bf16(b.x[i]));
            memcpy(unit + 2 * (which * LS_WIRE_BLOCK + i * V16_LANES), &bits, sizeof bits);
        }
        return;
    }
    const wire_scaling s = wire_scale_block(&b);
    for (int i = 0; i < 2; i++) {
        const v16 shifted = wire_quantize(b.x[i], s.inverse) + 12582912.0f;
        const v16u whole = ((v16u)shifted - 0x4b400000u) & s.keep;
        wire_store_bytes(unit + which * LS_WIRE_BLOCK + i * V16_LANES, (v16i)whole);
    }
    unit[LS_SHARD_UNIT + which] = (unsigned char)s.byte;
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
            const int64_t n = first < count ? count - first : 0;
            wire_encode(wire, wire_load(n ? x + first : x, n), out, b);
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
