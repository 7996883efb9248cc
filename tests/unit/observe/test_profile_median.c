/* Medians of what happens again in every step: groups are told apart by each of their marks, and outliers move none. */
#include "observe/profile.h"
#include "unit/base/check.h"

static void test_outliers(void **state) {
    static const struct {
        int n;
        double ns[6], sum;
    } cases[] = {
        {1, {7}, 7},
        {2, {4, 6}, 10},
        {3, {5, 1000, 4}, 15},        /* one disturbed step of three */
        {4, {9, 1, 3, 5}, 16},        /* 4 between 3 and 5, four times */
        {5, {2, 2, 1e9, 2, 1e9}, 10}, /* two of five */
        {6, {6, 5, 4, 3, 2, 1}, 21},
    };
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        ls_profile_sample samples[6];
        double sum = 0;
        for (int i = 0; i < cases[c].n; i++)
            samples[i] = (ls_profile_sample){.what = 3, .lane = 1, .ns = cases[c].ns[i]};
        ls_profile_add_medians(samples, cases[c].n, &sum);
        assert_float_equal(sum, cases[c].sum, 0);
    }
}

/* Three steps of two ranks, two nodes and two lanes in two classes, the second ten thousand times slower; in any order. */
static void test_groups(void **state) {
    enum { STEPS = 3, N = STEPS * 16 };
    ls_profile_sample samples[N];
    double sums[2] = {0.5, 0};
    (void)state;
    for (int i = 0; i < N; i++) {
        const int k = i * 7 % N, mark = k % 16,
                  step = k / 16; /* 7 and N have no divisor in common */
        const double ns = (1 << mark % 8) * (mark < 8 ? 1.0 : 1e4);
        samples[i] = (ls_profile_sample){.row = mark >= 8,
                                         .rank = mark & 1,
                                         .what = mark >> 1 & 1,
                                         .lane = mark >> 2 & 1,
                                         .ns = step == 1 ? 1e12 : ns};
    }
    ls_profile_add_medians(samples, N, sums);
    assert_float_equal(sums[0], 0.5 + STEPS * 255.0, 0); /* adds to what is there */
    assert_float_equal(sums[1], STEPS * 255e4, 0);
}

static void test_nothing(void **state) {
    double sum = 1;
    (void)state;
    ls_profile_add_medians(NULL, 0, &sum);
    assert_float_equal(sum, 1, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_outliers),
                                       cmocka_unit_test(test_groups),
                                       cmocka_unit_test(test_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
