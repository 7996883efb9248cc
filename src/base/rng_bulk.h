/* LS_RNG_BULK Philox generators side by side, for rng*.c only. Plain loops over lanes in functions that are inlined into one caller per
 * instruction set, so that the compiler uses its vectors; whole numbers, so every set gives the same words. */
#ifndef LS_BASE_RNG_BULK_H
#define LS_BASE_RNG_BULK_H
#include "base/rng.h"

#define RNG_INLINE static inline __attribute__((always_inline, unused))

/* Constants of the paper (table 2 and section 4.3): multipliers and the Weyl sequence of the key. */
enum { PHILOX_ROUNDS = 10 };
static const uint32_t philox_multipliers[2] = {0xD2511F53u, 0xCD9E8D57u};
static const uint32_t philox_weyl[2] = {0x9E3779B9u, 0xBB67AE85u};

/* The generator's key is 64 bits: seed and stream are folded into it, step and position make the counter. */
uint64_t ls_rng_fold_key(ls_rng_key key);

RNG_INLINE void rng_bulk_round(uint32_t c[4][LS_RNG_BULK], uint32_t k0, uint32_t k1) {
    for (int i = 0; i < LS_RNG_BULK; i++) {
        const uint64_t p0 = (uint64_t)philox_multipliers[0] * c[0][i];
        const uint64_t p1 = (uint64_t)philox_multipliers[1] * c[2][i];
        c[0][i] = (uint32_t)(p1 >> 32) ^ c[1][i] ^ k0;
        c[1][i] = (uint32_t)p1;
        c[2][i] = (uint32_t)(p0 >> 32) ^ c[3][i] ^ k1;
        c[3][i] = (uint32_t)p0;
    }
}

/* folded: ls_rng_fold_key. */
RNG_INLINE void rng_bulk_blocks(uint64_t folded, uint64_t step, uint64_t first,
                                uint32_t out[4][LS_RNG_BULK]) {
    uint32_t k0 = (uint32_t)folded, k1 = (uint32_t)(folded >> 32);
    for (uint32_t i = 0; i < LS_RNG_BULK; i++) {
        out[0][i] = (uint32_t)(first + i);
        out[1][i] = (uint32_t)((first + i) >> 32);
        out[2][i] = (uint32_t)step;
        out[3][i] = (uint32_t)(step >> 32);
    }
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        rng_bulk_round(out, k0, k1);
        k0 += philox_weyl[0];
        k1 += philox_weyl[1];
    }
}

#endif
