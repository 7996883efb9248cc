/* Normal draws in bulk: Box-Muller in f32 with polynomials of our own, so that first weights depend on no math library and no
 * instruction set. One Philox block makes four normals: words 0 and 1 the first pair, words 2 and 3 the second. */
#include <math.h>
#include <string.h>

#include "base/rng.h"

enum { CHUNK_BLOCKS = 64, CHUNK_PAIRS = 2 * CHUNK_BLOCKS };

/* ln x for x in (0, 1]: x = m 2^e with m in [sqrt(1/2), sqrt(2)), ln m = 2 artanh((m - 1) / (m + 1)). Off by at most 2e-7 relative. */
static inline float natural_log(float x) {
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
static inline void sine_cosine(float t, float *sine, float *cosine) {
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

/* 24 bits are a float exactly; half a step keeps the logarithm's argument off zero. */
static void make_normals(const uint32_t *words, int n_pairs, float *out) {
    float radius[CHUNK_PAIRS], sine[CHUNK_PAIRS], cosine[CHUNK_PAIRS];
    for (int i = 0; i < n_pairs; i++) {
        const float u = ((float)(words[2 * i] >> 9) + 0.5f) * 0x1p-23f;
        radius[i] = sqrtf(-2.0f * natural_log(u));
    }
    for (int i = 0; i < n_pairs; i++)
        sine_cosine((float)(words[2 * i + 1] >> 8) * 0x1p-24f, &sine[i], &cosine[i]);
    for (int i = 0; i < n_pairs; i++) {
        out[2 * i] = radius[i] * cosine[i];
        out[2 * i + 1] = radius[i] * sine[i];
    }
}

void ls_rng_normals(ls_rng_key key, uint64_t first, int64_t count, float *out) {
    uint32_t words[4 * CHUNK_BLOCKS];
    float normals[4 * CHUNK_BLOCKS];
    while (count > 0) {
        const uint64_t block = first / 4, skip = first % 4;
        for (int b = 0; b < CHUNK_BLOCKS; b++)
            ls_rng_block(key, block + (uint64_t)b, words + 4 * b);
        make_normals(words, CHUNK_PAIRS, normals);
        int64_t n = 4 * CHUNK_BLOCKS - (int64_t)skip;
        if (n > count) n = count;
        memcpy(out, normals + skip, (size_t)n * sizeof *out);
        out += n;
        first += (uint64_t)n;
        count -= n;
    }
}

double ls_rng_normal(ls_rng_key key, uint64_t index) {
    uint32_t words[4];
    float normals[4];
    ls_rng_block(key, index / 4, words);
    make_normals(words, 2, normals);
    return (double)normals[index % 4];
}
