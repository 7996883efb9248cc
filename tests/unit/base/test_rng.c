#include "base/cpu.h"
#include "base/rng.h"
#include "unit/base/check.h"
#include <math.h>

static const ls_rng_key some_key = {1234, 7, 99};

/* The known-answer vectors that the authors publish for philox4x32-10. */
static void test_philox_known_answers(void **state) {
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } cases[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t out[4];
        ls_philox(cases[i].counter, cases[i].key, out);
        assert_memory_equal(out, cases[i].out, sizeof out);
    }
}

static void test_words_are_words_of_blocks(void **state) {
    (void)state;
    for (uint64_t i = 0; i < 40; i++) {
        uint32_t block[4];
        ls_rng_block(some_key, i / 4, block);
        assert_int_equal(ls_rng_u32(some_key, i), block[i % 4]);
        ls_rng_block(some_key, i / 2, block);
        const uint64_t wide = (uint64_t)block[2 * (i % 2) + 1] << 32 | block[2 * (i % 2)];
        assert_true(ls_rng_u64(some_key, i) == wide);
    }
}

static void test_every_part_of_the_key_matters(void **state) {
    (void)state;
    const uint64_t base = ls_rng_u64(some_key, 5);
    for (int bit = 0; bit < 64; bit++) {
        const uint64_t flip = (uint64_t)1 << bit;
        ls_rng_key seed = some_key, step = some_key, stream = some_key;
        seed.seed ^= flip;
        step.step ^= flip;
        stream.stream ^= flip;
        assert_true(ls_rng_u64(seed, 5) != base);
        assert_true(ls_rng_u64(step, 5) != base);
        assert_true(ls_rng_u64(stream, 5) != base);
        if (bit < 62) assert_true(ls_rng_u64(some_key, 5 ^ flip) != base);
    }
    assert_true(ls_rng_stream("layer.0.weight") != ls_rng_stream("layer.1.weight"));
}

/* Against Box-Muller by the math library, and the bulk form against single draws at every alignment. */
static void test_normals_follow_box_muller(void **state) {
    (void)state;
    float bulk[700];
    for (uint64_t first = 0; first < 9; first++) {
        ls_rng_normals(some_key, first, 700, bulk);
        for (uint64_t i = 0; i < 700; i++)
            assert_true((double)bulk[i] == ls_rng_normal(some_key, first + i));
    }
    for (uint64_t block = 0; block < 20000; block++) {
        uint32_t words[4];
        ls_rng_block(some_key, block, words);
        for (int pair = 0; pair < 2; pair++) {
            const double u = (words[2 * pair] >> 9) * 0x1p-23 + 0x1p-24;
            const double angle = (words[2 * pair + 1] >> 8) * 0x1p-24 * 6.283185307179586;
            const double radius = sqrt(-2 * log(u));
            const uint64_t i = 4 * block + 2 * (uint64_t)pair;
            assert_true(fabs(ls_rng_normal(some_key, i) - radius * cos(angle)) < 2e-6);
            assert_true(fabs(ls_rng_normal(some_key, i + 1) - radius * sin(angle)) < 2e-6);
        }
    }
}

/* At every level that this machine has, at every alignment, shorter and longer than a chunk. */
static void test_normals_are_the_same_at_every_level(void **state) {
    (void)state;
    static const double mean_std[2] = {0.25, 0.02};
    static float want[5000], got[5000];
    for (uint64_t first = 0; first < 5; first++)
        for (int64_t count = 255; count <= 5000; count = count < 258 ? count + 1 : count * 5) {
            for (int64_t i = 0; i < count; i++)
                want[i] = (float)(0.25 + 0.02 * ls_rng_normal(some_key, first + (uint64_t)i));
            for (int level = LS_ISA_BASE; level < LS_ISA_COUNT; level++) {
                ls_cpu_limit_isa((ls_isa)level);
                ls_rng_normals_of(some_key, mean_std, first, count, got);
                assert_memory_equal(got, want, sizeof *got * (size_t)count);
            }
        }
    ls_cpu_limit_isa(LS_ISA_COUNT);
}

static void test_uniform_and_normal_have_their_moments(void **state) {
    (void)state;
    enum { N = 200000 };
    double sum = 0, square = 0, n_sum = 0, n_square = 0, n_fourth = 0, pair = 0;
    for (uint64_t i = 0; i < N; i++) {
        const double u = ls_rng_uniform(some_key, i), z = ls_rng_normal(some_key, i);
        assert_true(u >= 0 && u < 1);
        assert_true(isfinite(z) && fabs(z) < 9);
        sum += u, square += u * u;
        n_sum += z, n_square += z * z, n_fourth += z * z * z * z;
        pair += z * ls_rng_normal(some_key, i ^ 1);
    }
    assert_true(fabs(sum / N - 0.5) < 0.004);
    assert_true(fabs(square / N - 1.0 / 3) < 0.004);
    assert_true(fabs(n_sum / N) < 0.012);
    assert_true(fabs(n_square / N - 1) < 0.02);
    assert_true(fabs(n_fourth / N - 3) < 0.15);
    assert_true(fabs(pair / N) < 0.02);
}

static void test_below_is_even_and_bounded(void **state) {
    (void)state;
    enum { N = 70000, SIDES = 7 };
    int counts[SIDES] = {0};
    for (uint64_t i = 0; i < N; i++) counts[ls_rng_below(some_key, i, SIDES)]++;
    for (int i = 0; i < SIDES; i++) assert_in_range(counts[i], 9600, 10400);
    for (uint64_t i = 0; i < 100; i++) {
        assert_int_equal(ls_rng_below(some_key, i, 1), 0);
        const uint64_t x = ls_rng_u64(some_key, i), big = ((uint64_t)1 << 63) + 12345;
        assert_true(ls_rng_below(some_key, i, big) < big);
        /* against the 128-bit product */
        __extension__ typedef unsigned __int128 wide;
        assert_true(ls_rng_below(some_key, i, big) == (uint64_t)((wide)x * big >> 64));
    }
}

static void test_permute_is_a_permutation_of_every_size(void **state) {
    (void)state;
    static unsigned char seen[5000];
    static const uint64_t sizes[] = {1, 2, 3, 4, 5, 16, 17, 63, 64, 65, 100, 256, 257, 1000, 4097};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (uint64_t seed = 0; seed < 3; seed++) {
            const ls_rng_key key = {seed, 0, 1};
            memset(seen, 0, sizeof seen);
            for (uint64_t i = 0; i < sizes[s]; i++) {
                const uint64_t at = ls_rng_permute(key, i, sizes[s]);
                assert_true(at < sizes[s]);
                assert_int_equal(seen[at]++, 0);
            }
        }
}

/* Over many keys, index 0 lands everywhere about equally often, and neighbours do not stay neighbours. */
static void check_spread(uint64_t n, int n_keys) {
    static int counts[128];
    memset(counts, 0, sizeof counts);
    int n_neighbours = 0;
    for (int seed = 0; seed < n_keys; seed++) {
        const ls_rng_key key = {(uint64_t)seed, 3, 1};
        const uint64_t at = ls_rng_permute(key, 0, n);
        counts[at]++;
        n_neighbours += ls_rng_permute(key, 1, n) == (at + 1) % n;
    }
    const double expected = (double)n_keys / (double)n;
    double chi_square = 0;
    for (uint64_t i = 0; i < n; i++)
        chi_square += (counts[i] - expected) * (counts[i] - expected) / expected;
    assert_true(chi_square < (double)n + 6 * sqrt(2.0 * (double)n));
    assert_true(fabs(n_neighbours - n_keys / (double)(n - 1)) < 6 * sqrt(expected));
}

static void test_permute_spreads(void **state) {
    (void)state;
    check_spread(5, 4000);
    check_spread(64, 12000);
    check_spread(100, 20000);
}

static void test_permute_large(void **state) {
    (void)state;
    static const uint64_t sizes[] = {1u << 30, ((uint64_t)1 << 40) + 1, UINT64_MAX};
    for (size_t s = 0; s < 3; s++)
        for (uint64_t i = 0; i < 50; i++) {
            const uint64_t a = ls_rng_permute(some_key, i, sizes[s]);
            assert_true(a < sizes[s]);
            assert_true(a != ls_rng_permute(some_key, i + 1, sizes[s]));
        }
}

/* Stored weights and resumed runs depend on these bits: they may never change. */
static void test_streams_are_frozen(void **state) {
    (void)state;
    assert_true(ls_rng_u64(some_key, 0) == 0x58e42a94c5d90ca5u);
    assert_true(ls_rng_stream("wte.weight") == 0xc8b4d0f7072d4517u);
    assert_true(ls_rng_permute(some_key, 17, 1000) == 422);
    assert_true(ls_rng_permute(some_key, 17, 50) == 32);
    assert_true(ls_rng_normal(some_key, 3) == 0x1.28e08cp-1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_philox_known_answers),
        cmocka_unit_test(test_words_are_words_of_blocks),
        cmocka_unit_test(test_every_part_of_the_key_matters),
        cmocka_unit_test(test_uniform_and_normal_have_their_moments),
        cmocka_unit_test(test_normals_follow_box_muller),
        cmocka_unit_test(test_normals_are_the_same_at_every_level),
        cmocka_unit_test(test_below_is_even_and_bounded),
        cmocka_unit_test(test_permute_is_a_permutation_of_every_size),
        cmocka_unit_test(test_permute_spreads),
        cmocka_unit_test(test_permute_large),
        cmocka_unit_test(test_streams_are_frozen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
