/* Counter-based randomness: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11).
 *
 * A draw is a pure function of (seed, step, stream, index): no state, so it depends on logical position only
 * and never on rank, thread or call order. `stream` is usually ls_rng_stream(name of the tensor).
 * Local, reentrant. */
#ifndef LS_BASE_RNG_H
#define LS_BASE_RNG_H
#include "lockstep/status.h"
#include <stdint.h>

typedef struct ls_rng_key {
    uint64_t seed;
    uint64_t step;
    uint64_t stream;
} ls_rng_key;

/* The raw generator: out = philox4x32-10(counter, key). Known-answer vectors are in the test. */
LS_API void ls_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);
/* 64-bit stream id of a name (XXH3). */
LS_API uint64_t ls_rng_stream(const char *name);
/* Four words for block `block` of this key; word i of block b is element 4b+i. */
LS_API void ls_rng_block(ls_rng_key key, uint64_t block, uint32_t out[4]);
/* Blocks first .. first + LS_RNG_BULK at once: out[w][i] is word w of block first + i. About five times as fast. */
enum { LS_RNG_BULK = 64 };
LS_API void ls_rng_blocks(ls_rng_key key, uint64_t first, uint32_t out[4][LS_RNG_BULK]);
LS_API uint32_t ls_rng_u32(ls_rng_key key, uint64_t index);
LS_API uint64_t ls_rng_u64(ls_rng_key key, uint64_t index);
LS_API double ls_rng_uniform(ls_rng_key key, uint64_t index); /* [0, 1), 53 bits */
LS_API double ls_rng_normal(ls_rng_key key,
                            uint64_t index); /* f32 Box-Muller, the same on every machine */
/* Normals first .. first + count: out[i] == ls_rng_normal(key, first + i), the same bits at every instruction-set level. */
LS_API void ls_rng_normals(ls_rng_key key, uint64_t first, int64_t count, float *out);
/* out[i] = (float)(mean + std * ls_rng_normal(key, first + i)), in f64 until the end. */
LS_API void ls_rng_normals_of(ls_rng_key key, const double mean_std[2], uint64_t first,
                              int64_t count, float *out);
LS_API uint64_t ls_rng_below(ls_rng_key key, uint64_t index, uint64_t n); /* [0, n), n > 0 */
/* Position of `index` in a keyed pseudorandom permutation of [0, n) (Feistel with cycle walking): shuffling without
 * a table. n > 0, index < n. */
LS_API uint64_t ls_rng_permute(ls_rng_key key, uint64_t index, uint64_t n);

#endif
