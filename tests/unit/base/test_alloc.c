#include "unit/base/check.h"
#include <jansson.h>

static void test_memory_is_zeroed_and_aligned(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 63, 64, 65, 4096, 100001};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        unsigned char *dirty = ls_alloc(sizes[i]);
        assert_non_null(dirty);
        memset(dirty, 0xee, sizes[i]);
        ls_free(dirty);
        unsigned char *ptr = ls_alloc(sizes[i]);
        assert_non_null(ptr);
        assert_int_equal((uintptr_t)ptr % 64, 0);
        for (size_t j = 0; j < sizes[i]; j++) assert_int_equal(ptr[j], 0);
        ls_free(ptr);
    }
    ls_free(NULL);
}

static void test_realloc_keeps_the_bytes(void **state) {
    (void)state;
    char *ptr = ls_realloc(NULL, 0, 4);
    assert_non_null(ptr);
    memcpy(ptr, "abc", 4);
    ptr = ls_realloc(ptr, 4, 5000);
    assert_string_equal(ptr, "abc");
    ptr = ls_realloc(ptr, 5000, 2);
    assert_memory_equal(ptr, "ab", 2);
    ls_alloc_fail_at(1, 0);
    assert_null(ls_realloc(ptr, 2, 100));
    assert_memory_equal(ptr, "ab", 2);
    ls_free(ptr);
}

static void test_strings(void **state) {
    (void)state;
    char *copy = ls_strdup("hello"), *made = ls_format("%s-%03d", "x", 7);
    assert_string_equal(copy, "hello");
    assert_string_equal(made, "x-007");
    ls_free(copy);
    ls_free(made);
}

static void test_counters_follow_every_block(void **state) {
    (void)state;
    const ls_alloc_stats before = ls_alloc_get_stats();
    void *a = ls_alloc(10), *b = ls_alloc(20);
    ls_alloc_stats now = ls_alloc_get_stats();
    assert_int_equal(now.n_live - before.n_live, 2);
    assert_int_equal(now.n_calls - before.n_calls, 2);
    ls_free(a);
    ls_free(b);
    now = ls_alloc_get_stats();
    assert_int_equal(now.n_live, before.n_live);
}

static void test_nth_allocation_fails_once_or_from_then_on(void **state) {
    (void)state;
    for (int sticky = 0; sticky < 2; sticky++) {
        ls_alloc_fail_at(3, sticky);
        const int64_t refused = ls_alloc_n_refused();
        void *ptrs[5];
        for (int i = 0; i < 5; i++) ptrs[i] = ls_alloc(8);
        ls_alloc_fail_at(0, 0);
        for (int i = 0; i < 5; i++) assert_int_equal(ptrs[i] == NULL, sticky ? i >= 2 : i == 2);
        assert_int_equal(ls_alloc_n_refused() - refused, sticky ? 3 : 1);
        for (int i = 0; i < 5; i++) ls_free(ptrs[i]);
    }
    void *after = ls_alloc(8);
    assert_non_null(after);
    ls_free(after);
}

static void test_impossible_size_is_an_error_with_a_message(void **state) {
    (void)state;
    ls_error_clear();
    assert_null(ls_alloc((size_t)-1));
    assert_non_null(strstr(ls_error_message(), "out of memory"));
    ls_error_clear();
    assert_null(ls_alloc((size_t)1 << 62));
    assert_non_null(strstr(ls_error_message(), "4611686018427387904 bytes"));
    assert_null(ls_alloc_pages((size_t)-1));
    assert_null(ls_alloc_pages((size_t)1 << 61));
}

static void test_pages_are_aligned_zeroed_counted_and_fail_on_demand(void **state) {
    (void)state;
    const ls_alloc_stats before = ls_alloc_get_stats();
    const size_t bytes = (5u << 20) + 3;
    unsigned char *ptr = ls_alloc_pages(bytes);
    assert_non_null(ptr);
    assert_int_equal((uintptr_t)ptr % (2u << 20), 0);
    assert_int_equal(ptr[0] | ptr[bytes - 1], 0);
    ptr[0] = ptr[bytes - 1] = 1;
    assert_int_equal(ls_alloc_get_stats().n_live - before.n_live, 1);
    ls_free_pages(ptr, bytes);
    ls_free_pages(NULL, 0);
    assert_int_equal(ls_alloc_get_stats().n_live, before.n_live);
    ls_alloc_fail_at(1, 0);
    assert_null(ls_alloc_pages(bytes));
    assert_int_equal(ls_alloc_get_stats().n_live, before.n_live);
}

static void test_array_grows_by_doubling_and_checks_overflow(void **state) {
    (void)state;
    void *items = NULL;
    int64_t capacity = 0;
    check_ok(ls_array_reserve(&items, &capacity, 1, 4));
    assert_int_equal(capacity, 8);
    ((int *)items)[7] = 77;
    void *same = items;
    check_ok(ls_array_reserve(&items, &capacity, 8, 4));
    assert_ptr_equal(items, same);
    check_ok(ls_array_reserve(&items, &capacity, 9, 4));
    assert_int_equal(capacity, 16);
    assert_int_equal(((int *)items)[7], 77);
    check_fails(ls_array_reserve(&items, &capacity, INT64_MAX / 2, 4), LS_ERR_NO_MEMORY, "items");
    ls_alloc_fail_at(1, 0);
    check_fails(ls_array_reserve(&items, &capacity, 17, 4), LS_ERR_NO_MEMORY, "out of memory");
    assert_int_equal(capacity, 16);
    ls_free(items);
}

static void test_jansson_uses_the_hook(void **state) {
    (void)state;
    const ls_alloc_stats before = ls_alloc_get_stats();
    json_t *value = json_object();
    assert_true(ls_alloc_get_stats().n_calls > before.n_calls);
    json_decref(value);
    assert_int_equal(ls_alloc_get_stats().n_live, before.n_live);
    ls_alloc_fail_at(1, 1);
    value = json_object();
    ls_alloc_fail_at(0, 0);
    assert_null(value);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_is_zeroed_and_aligned),
        cmocka_unit_test(test_realloc_keeps_the_bytes),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_counters_follow_every_block),
        cmocka_unit_test(test_nth_allocation_fails_once_or_from_then_on),
        cmocka_unit_test(test_impossible_size_is_an_error_with_a_message),
        cmocka_unit_test(test_pages_are_aligned_zeroed_counted_and_fail_on_demand),
        cmocka_unit_test(test_array_grows_by_doubling_and_checks_overflow),
        cmocka_unit_test(test_jansson_uses_the_hook),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
