#include "unit/base/check.h"

static void test_blocks_do_not_overlap_and_are_zeroed(void **state) {
    (void)state;
    ls_arena *arena;
    check_ok(ls_arena_create(&arena));
    enum { N = 2000 };
    static unsigned char *ptrs[N];
    static size_t sizes[N];
    for (int i = 0; i < N; i++) {
        sizes[i] = (size_t)(i * 37 % 501) + (i % 100 == 0 ? 70000u : 0u);
        ptrs[i] = ls_arena_alloc(arena, sizes[i]);
        assert_non_null(ptrs[i]);
        assert_int_equal((uintptr_t)ptrs[i] % 16, 0);
        for (size_t j = 0; j < sizes[i]; j++) assert_int_equal(ptrs[i][j], 0);
        memset(ptrs[i], i & 0xff, sizes[i]);
    }
    for (int i = 0; i < N; i++)
        for (size_t j = 0; j < sizes[i]; j++) assert_int_equal(ptrs[i][j], i & 0xff);
    ls_arena_destroy(arena);
}

static void test_strings_and_bytes_held(void **state) {
    (void)state;
    ls_arena *arena;
    check_ok(ls_arena_create(&arena));
    const size_t empty = ls_arena_bytes(arena);
    const char *copy = ls_arena_strdup(arena, "abc");
    const char *made = ls_arena_format(arena, "%d/%s", 4, "x");
    assert_string_equal(copy, "abc");
    assert_string_equal(made, "4/x");
    assert_true(ls_arena_bytes(arena) > empty);
    const size_t small = ls_arena_bytes(arena);
    assert_non_null(ls_arena_alloc(arena, 1 << 20));
    assert_true(ls_arena_bytes(arena) >= small + (1 << 20));
    /* Many small pieces cost little more than their sum. */
    const size_t before = ls_arena_bytes(arena);
    for (int i = 0; i < 100000; i++) assert_non_null(ls_arena_alloc(arena, 16));
    assert_in_range(ls_arena_bytes(arena) - before, 1500000, 3500000);
    ls_arena_destroy(arena);
    ls_arena_destroy(NULL);
}

static void test_impossible_size(void **state) {
    (void)state;
    ls_arena *arena;
    check_ok(ls_arena_create(&arena));
    assert_null(ls_arena_alloc(arena, (size_t)-1));
    assert_null(ls_arena_alloc(arena, (size_t)-64));
    assert_non_null(strstr(ls_error_message(), "out of memory"));
    const void *empty = ls_arena_alloc(arena, 0);
    assert_non_null(empty);
    assert_ptr_not_equal(empty, ls_arena_alloc(arena, 0));
    ls_arena_destroy(arena);
}

static ls_status use_arena(void *user) {
    (void)user;
    ls_arena *arena;
    LS_TRY(ls_arena_create(&arena));
    ls_status status = LS_OK;
    for (int i = 0; status == LS_OK && i < 40; i++) {
        const int good = ls_arena_alloc(arena, 1000) && ls_arena_alloc(arena, 30000) &&
                         ls_arena_strdup(arena, "x") && ls_arena_format(arena, "%d", i);
        if (!good) status = LS_ERR_NO_MEMORY;
    }
    ls_arena_destroy(arena);
    return status;
}

static void test_torture(void **state) {
    (void)state;
    assert_true(check_torture(use_arena, NULL) > 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks_do_not_overlap_and_are_zeroed),
        cmocka_unit_test(test_strings_and_bytes_held),
        cmocka_unit_test(test_impossible_size),
        cmocka_unit_test(test_torture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
