#include "base/rng.h"
#include "base/hash.h"
#include "base/rng_bulk.h"
#include <string.h>

enum { FEISTEL_ROUNDS = 8, SMALL_PERMUTATION = 64 };
/* The top bit of the second counter word sets permutation rounds apart from ordinary draws, which use block < 2^63. */
static const uint32_t permute_domain = 0x80000000u;

void ls_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        const uint64_t p0 = (uint64_t)philox_multipliers[0] * c0;
        const uint64_t p1 = (uint64_t)philox_multipliers[1] * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += philox_weyl[0];
        k1 += philox_weyl[1];
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

uint64_t ls_rng_stream(const char *name) {
    return ls_xxh3(name, strlen(name), 0);
}

/* The finalizer of SplitMix64 (Steele, Lea, Flood 2014): a bijection that spreads every bit. */
static uint64_t mix(uint64_t x) {
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

uint64_t ls_rng_fold_key(ls_rng_key key) {
    return mix(mix(key.seed) ^ key.stream);
}

static void draw(ls_rng_key key, uint64_t low, uint32_t out[4]) {
    const uint64_t folded = ls_rng_fold_key(key);
    const uint32_t words[2] = {(uint32_t)folded, (uint32_t)(folded >> 32)};
    const uint32_t counter[4] = {(uint32_t)low, (uint32_t)(low >> 32), (uint32_t)key.step,
                                 (uint32_t)(key.step >> 32)};
    ls_philox(counter, words, out);
}

void ls_rng_block(ls_rng_key key, uint64_t block, uint32_t out[4]) {
    draw(key, block, out);
}

void ls_rng_blocks(ls_rng_key key, uint64_t first, uint32_t out[4][LS_RNG_BULK]) {
    rng_bulk_blocks(ls_rng_fold_key(key), key.step, first, out);
}

uint32_t ls_rng_u32(ls_rng_key key, uint64_t index) {
    uint32_t words[4];
    draw(key, index / 4, words);
    return words[index % 4];
}

uint64_t ls_rng_u64(ls_rng_key key, uint64_t index) {
    uint32_t words[4];
    draw(key, index / 2, words);
    const uint32_t *pair = words + 2 * (index % 2);
    return (uint64_t)pair[1] << 32 | pair[0];
}

static double to_unit(uint64_t bits) {
    return (double)(bits >> 11) * 0x1p-53;
}

double ls_rng_uniform(ls_rng_key key, uint64_t index) {
    return to_unit(ls_rng_u64(key, index));
}

/* High half of a 64 x 64 product: off from uniform by less than n / 2^64. */
uint64_t ls_rng_below(ls_rng_key key, uint64_t index, uint64_t n) {
    const uint64_t x = ls_rng_u64(key, index);
    const uint64_t x_low = x & 0xffffffffu, x_high = x >> 32;
    const uint64_t n_low = n & 0xffffffffu, n_high = n >> 32;
    const uint64_t middle = x_high * n_low + (x_low * n_low >> 32);
    const uint64_t cross = x_low * n_high + (middle & 0xffffffffu);
    return x_high * n_high + (middle >> 32) + (cross >> 32);
}

static uint64_t feistel(ls_rng_key key, uint64_t x, int half_bits) {
    const uint32_t mask = half_bits == 32 ? 0xffffffffu : (1u << half_bits) - 1;
    uint32_t left = (uint32_t)(x >> half_bits) & mask, right = (uint32_t)x & mask;
    for (uint32_t round = 0; round < FEISTEL_ROUNDS; round++) {
        uint32_t words[4];
        draw(key, (uint64_t)(permute_domain | round) << 32 | right, words);
        const uint32_t next = (left ^ words[0]) & mask;
        left = right;
        right = next;
    }
    return (uint64_t)left << half_bits | right;
}

/* Few elements: Fisher-Yates by table, for a Feistel network of one or two bits shuffles badly. */
static uint64_t permute_small(ls_rng_key key, uint64_t index, uint64_t n) {
    unsigned char table[SMALL_PERMUTATION];
    for (uint64_t i = 0; i < n; i++) table[i] = (unsigned char)i;
    for (uint64_t i = n; i > 1; i--) {
        uint32_t words[4];
        draw(key, (uint64_t)permute_domain << 32 | (i << 8), words);
        const uint64_t j = (uint64_t)words[0] * i >> 32;
        const unsigned char held = table[i - 1];
        table[i - 1] = table[j];
        table[j] = held;
    }
    return table[index];
}

uint64_t ls_rng_permute(ls_rng_key key, uint64_t index, uint64_t n) {
    if (n <= SMALL_PERMUTATION) return permute_small(key, index, n);
    int bits = 2;
    while (bits < 64 && (n - 1) >> bits) bits += 2;
    uint64_t x = index;
    do x = feistel(key, x, bits / 2);
    while (x >= n); /* cycle walking: at most 4 rounds on average */
    return x;
}
