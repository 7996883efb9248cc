/* Normal draws in bulk: Box-Muller in f32 with polynomials of our own, so that first weights depend on no math library and no
 * instruction set. One Philox block makes four normals: words 0 and 1 the first pair, words 2 and 3 the second. Every function is
 * compiled for each vector width; all its operations are rounded alone (no fused multiply and add), so the bits are the same. */
#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "base/rng_bulk.h"

/* ln x for x in (0, 1]: x = m 2^e with m in [sqrt(1/2), sqrt(2)), ln m = 2 artanh((m - 1) / (m + 1)). Off by at most 2e-7 relative. */
RNG_INLINE float natural_log(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint32_t shifted = bits + (0x3f800000u - 0x3f3504f3u);
    const float e = (float)((int32_t)(shifted >> 23) - 127);
    const uint32_t m_bits = (shifted & 0x007fffffu) + 0x3f3504f3u;
    float m;
    memcpy(&m, &m_bits, sizeof m);
    const float s = (m - 1.0f) / (m + 1.0f), z = s * s;
    const float series =
        1.0f + z * (0.33333333f + z * (0.2f + z * (0.14285714f + z * 0.11111111f)));
    return 2.0f * s * series + e * 0.69314718f;
}

/* sin and cos of 2 pi t for t in [0, 1): the nearest quarter turn, then polynomials on [-pi/4, pi/4]. */
RNG_INLINE void sine_cosine(float t, float *sine, float *cosine) {
    const int32_t quarter = (int32_t)(t * 4.0f + 0.5f);
    const float x = (t - 0.25f * (float)quarter) * 6.2831853f, z = x * x;
    const float s =
        x * (1.0f +
             z * (-0.16666667f + z * (0.0083333333f + z * (-0.00019841270f + z * 2.7557319e-6f))));
    const float c =
        1.0f + z * (-0.5f + z * (0.041666667f + z * (-0.0013888889f + z * 2.4801587e-5f)));
    const float a = quarter & 1 ? c : s, b = quarter & 1 ? s : c;
    *sine = quarter & 2 ? -a : a;
    *cosine = (quarter + 1) & 2 ? -b : b;
}

/* Pairs from words of angle and radius: 24 bits are a float exactly; half a step keeps the logarithm off zero. */
RNG_INLINE void make_pairs(const uint32_t *radius_words, const uint32_t *angle_words, int n,
                           float *first, float *second) {
    for (int i = 0; i < n; i++) {
        const float u = ((float)(int32_t)(radius_words[i] >> 9) + 0.5f) * 0x1p-23f;
        const float radius = sqrtf(-2.0f * natural_log(u));
        float sine, cosine;
        sine_cosine((float)(int32_t)(angle_words[i] >> 8) * 0x1p-24f, &sine, &cosine);
        first[i] = radius * cosine;
        second[i] = radius * sine;
    }
}

enum { CHUNK = 4 * LS_RNG_BULK };

typedef struct normal_draw {
    uint64_t folded_key, step;
    int is_scaled;
    double mean, std;
} normal_draw;

/* The normals of LS_RNG_BULK blocks, four a block. */
RNG_INLINE void make_chunk(const normal_draw *draw, uint64_t block, float *out) {
    uint32_t words[4][LS_RNG_BULK];
    float normals[4][LS_RNG_BULK];
    rng_bulk_blocks(draw->folded_key, draw->step, block, words);
    make_pairs(words[0], words[1], LS_RNG_BULK, normals[0], normals[1]);
    make_pairs(words[2], words[3], LS_RNG_BULK, normals[2], normals[3]);
    for (int i = 0; i < LS_RNG_BULK; i++)
        for (int k = 0; k < 4; k++) out[4 * i + k] = normals[k][i];
    if (draw->is_scaled)
        for (int i = 0; i < CHUNK; i++) out[i] = (float)(draw->mean + draw->std * (double)out[i]);
}

RNG_INLINE void fill(const normal_draw *draw, uint64_t first, int64_t count, float *out) {
    float chunk[CHUNK];
    while (count > 0) {
        const uint64_t skip = first % 4;
        const int is_whole = skip == 0 && count >= CHUNK;
        make_chunk(draw, first / 4, is_whole ? out : chunk);
        int64_t n = CHUNK - (int64_t)skip;
        if (n > count) n = count;
        if (!is_whole) memcpy(out, chunk + skip, (size_t)n * sizeof *out);
        out += n;
        first += (uint64_t)n;
        count -= n;
    }
}

static void fill_base(const normal_draw *draw, uint64_t first, int64_t count, float *out) {
    fill(draw, first, count, out);
}

#ifdef LS_X86
__attribute__((target("avx2"))) static void fill_avx2(const normal_draw *draw, uint64_t first,
                                                      int64_t count, float *out) {
    fill(draw, first, count, out);
}

__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl"))) static void
fill_avx512(const normal_draw *draw, uint64_t first, int64_t count, float *out) {
    fill(draw, first, count, out);
}
#endif

static void fill_best(const normal_draw *draw, uint64_t first, int64_t count, float *out) {
#ifdef LS_X86
    const ls_isa isa = ls_cpu_isa();
    if (isa >= LS_ISA_AVX512) {
        fill_avx512(draw, first, count, out);
        return;
    }
    if (isa >= LS_ISA_AVX2) {
        fill_avx2(draw, first, count, out);
        return;
    }
#endif
    fill_base(draw, first, count, out);
}

void ls_rng_normals(ls_rng_key key, uint64_t first, int64_t count, float *out) {
    const normal_draw draw = {.folded_key = ls_rng_fold_key(key), .step = key.step};
    fill_best(&draw, first, count, out);
}

void ls_rng_normals_of(ls_rng_key key, const double mean_std[2], uint64_t first, int64_t count,
                       float *out) {
    const normal_draw draw = {ls_rng_fold_key(key), key.step, 1, mean_std[0], mean_std[1]};
    fill_best(&draw, first, count, out);
}

double ls_rng_normal(ls_rng_key key, uint64_t index) {
    uint32_t words[4];
    float normals[2];
    ls_rng_block(key, index / 4, words);
    const uint32_t *pair = words + 2 * (index / 2 % 2);
    make_pairs(pair, pair + 1, 1, &normals[0], &normals[1]);
    return (double)normals[index % 2];
}
