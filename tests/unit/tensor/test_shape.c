#include "lockstep/tensor.h"
#include "unit/base/check.h"

static void test_make_count_equal_print(void **state) {
    (void)state;
    static const struct {
        int n_dims;
        int64_t dims[LS_MAX_DIMS], count;
        const char *text;
    } cases[] = {
        {0, {0}, 1, "[]"},
        {1, {5}, 5, "[5]"},
        {1, {0}, 0, "[0]"},
        {3, {32, 128, 256}, 1048576, "[32, 128, 256]"},
        {6, {1, 2, 3, 4, 5, 6}, 720, "[1, 2, 3, 4, 5, 6]"},
        {2, {7, 0}, 0, "[7, 0]"},
        {1, {(int64_t)1 << 59}, (int64_t)1 << 59, "[576460752303423488]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ls_shape shape, other;
        char text[128];
        check_ok(ls_shape_make(cases[i].n_dims, cases[i].dims, &shape));
        assert_int_equal(ls_shape_count(&shape), cases[i].count);
        assert_string_equal(ls_shape_print(&shape, text), cases[i].text);
        assert_true(ls_shape_equal(&shape, &shape));
        for (size_t j = 0; j < sizeof cases / sizeof cases[0]; j++) {
            check_ok(ls_shape_make(cases[j].n_dims, cases[j].dims, &other));
            assert_int_equal(ls_shape_equal(&shape, &other), i == j);
        }
    }
}

static void test_bad_shapes(void **state) {
    (void)state;
    const int64_t big = (int64_t)1 << 40;
    const struct {
        int n_dims;
        int64_t dims[LS_MAX_DIMS + 1];
        const char *part;
    } cases[] = {
        {-1, {0}, "shape of -1 dimensions"},
        {7, {1, 1, 1, 1, 1, 1, 1}, "0 to 6 work"},
        {2, {3, -1}, "dimension 1 of a shape is -1"},
        {1, {INT64_MAX}, "more than 2^60"},
        {1, {(int64_t)1 << 60}, "more than 2^60"},
        {2, {big, big}, "dimension 1 = 1099511627776"},
        {3, {big, big, 0}, "more than 2^60"},
        {3, {0, big, big}, "more than 2^60"},
        {6, {big, big, big, big, big, big}, "more than 2^60"},
        {1, {INT64_MIN}, "it must be 0 or more"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ls_shape shape = {.n_dims = 42};
        check_fails(ls_shape_make(cases[i].n_dims, cases[i].dims, &shape), LS_ERR_INVALID,
                    cases[i].part);
        assert_int_equal(shape.n_dims, 42);
    }
}

static void test_longest_print_fits(void **state) {
    (void)state;
    const ls_shape shape = {6, {INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX}};
    char text[128];
    ls_shape_print(&shape, text);
    assert_int_equal(strlen(text), 6 * 19 + 5 * 2 + 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_make_count_equal_print),
        cmocka_unit_test(test_bad_shapes),
        cmocka_unit_test(test_longest_print_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
