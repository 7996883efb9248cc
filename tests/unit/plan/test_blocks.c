/* Blocks whose lives are known: side by side when they live together, over each other when they do not. */
#include "base/rng.h"
#include "plan/plan.h"
#include "unit/base/check.h"

enum { N = 60 };

static ls_block make(int64_t first, int64_t last, size_t bytes) {
    return (ls_block){first, last, bytes, 0, -1};
}

static int meet(const ls_block *a, const ls_block *b) {
    return a->first <= b->last && b->first <= a->last && a->offset < b->offset + b->bytes &&
           b->offset < a->offset + a->bytes;
}

static void test_gaps(void **state) {
    (void)state;
    /* long lives whole time; short ones take turns above it; one that meets a fixed block goes around it */
    ls_block fixed = {0, 9, 64, 128, -1};
    ls_block blocks[] = {make(0, 9, 128), make(0, 3, 192), make(4, 9, 256), make(5, 5, 64)};
    ls_block *order[4], *placed[5] = {&fixed};
    for (int i = 0; i < 4; i++) order[i] = &blocks[i];
    assert_int_equal(ls_blocks_place(order, 4, placed, 1), 192 + 256 + 64);
    assert_int_equal(blocks[2].offset, 192); /* the largest first */
    assert_int_equal(blocks[1].offset, 192); /* when that is over, in its place */
    assert_int_equal(blocks[0].offset, 0);   /* below the fixed one, where it just fits */
    assert_int_equal(blocks[3].offset, 192 + 256);
    assert_int_equal(fixed.offset, 128);
    for (int i = 1; i < 5; i++) assert_true(placed[i - 1]->offset <= placed[i]->offset);
}

static void test_nothing(void **state) {
    ls_block fixed = {0, 0, 64, 4096, -1};
    ls_block *placed[1] = {&fixed};
    (void)state;
    assert_int_equal(ls_blocks_place(NULL, 0, placed, 0), 0);
    assert_int_equal(ls_blocks_place(NULL, 0, placed, 1), 4160);
}

/* Those that live at once lie on each other, the largest at the bottom, those of one size as they lie in memory, in whatever order they are
 * given. */
static void test_order(void **state) {
    (void)state;
    for (int n = 1; n <= 17; n++)
        for (int turned = 0; turned < 2; turned++) {
            ls_block blocks[17], *order[17], *placed[17];
            for (int i = 0; i < n; i++) {
                blocks[i] = make(0, 1, i % 3 == 1 ? 128 : 64);
                order[turned ? n - 1 - i : i] = &blocks[i];
            }
            const size_t large = (size_t)(n + 1) / 3;
            assert_int_equal(ls_blocks_place(order, n, placed, 0), 64 * ((size_t)n + large));
            size_t end[2] = {64 * 2 * large, 0};
            for (int i = 0; i < n; i++) {
                size_t *at = &end[blocks[i].bytes == 128];
                assert_int_equal(blocks[i].offset, *at);
                *at += blocks[i].bytes;
            }
            for (int i = 1; i < n; i++) assert_true(placed[i - 1]->offset < placed[i]->offset);
        }
}

/* Random lives and sizes: nobody meets, and no more is taken than all of it together. */
static void test_random(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        const ls_rng_key key = {seed, 0, 1};
        ls_block blocks[N], *order[N], *placed[N];
        size_t sum = 0, end = 0;
        for (int i = 0; i < N; i++) {
            const int64_t first = (int64_t)ls_rng_below(key, (uint64_t)i * 3, 40);
            const int64_t life = (int64_t)ls_rng_below(key, (uint64_t)i * 3 + 1, 10);
            blocks[i] =
                make(first, first + life, 64 * (1 + ls_rng_below(key, (uint64_t)i * 3 + 2, 30)));
            order[i] = &blocks[i];
            sum += blocks[i].bytes;
        }
        const size_t bytes = ls_blocks_place(order, N, placed, 0);
        for (int a = 0; a < N; a++) {
            for (int b = 0; b < a; b++) assert_false(meet(&blocks[a], &blocks[b]));
            if (blocks[a].offset + blocks[a].bytes > end) end = blocks[a].offset + blocks[a].bytes;
            assert_int_equal(blocks[a].offset % 64, 0);
        }
        assert_int_equal(bytes, end);
        assert_true(bytes < sum / 2); /* at most a quarter of them lives at once */
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gaps),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
