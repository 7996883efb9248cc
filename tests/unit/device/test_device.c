#include "device/device.h"
#include "unit/base/check.h"
#include <pthread.h>

static void test_cpu_memory_is_zeroed_aligned_and_counted(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 100, 4096, (2u << 20) - 1, 2u << 20, (5u << 20) + 7};
    ls_device *device;
    check_ok(ls_device_create("cpu", 0, &device));
    assert_int_equal(device->ops->kind, LS_DEVICE_CPU);
    size_t total = 0;
    unsigned char *ptrs[7];
    for (int i = 0; i < 7; i++) {
        void *ptr;
        check_ok(ls_device_alloc(device, sizes[i], &ptr));
        ptrs[i] = ptr;
        assert_int_equal((uintptr_t)ptr % (sizes[i] >= 2u << 20 ? 4096 : 64), 0);
        for (size_t j = 0; j < sizes[i]; j += 512) assert_int_equal(ptrs[i][j], 0);
        memset(ptr, 0x5a, sizes[i]);
        total += sizes[i];
        assert_int_equal(device->allocated_bytes, total);
    }
    for (int i = 0; i < 7; i++) ls_device_release(device, ptrs[i], sizes[i]);
    ls_device_release(device, NULL, 99);
    assert_int_equal(device->allocated_bytes, 0);
    assert_int_equal(device->peak_bytes, total);
    assert_int_equal(device->n_allocs, 7);
    ls_device_destroy(device);
    ls_device_destroy(NULL);
}

static void test_cpu_copies(void **state) {
    (void)state;
    ls_device *device;
    check_ok(ls_device_create("cpu", 0, &device));
    void *ptr;
    char back[6] = "";
    check_ok(ls_device_alloc(device, 6, &ptr));
    check_ok(device->ops->copy_in(device, ptr, "hello", 6));
    check_ok(device->ops->synchronize(device));
    check_ok(device->ops->copy_out(device, back, ptr, 6));
    assert_string_equal(back, "hello");
    check_ok(device->ops->copy_in(device, ptr, NULL, 0));
    ls_device_release(device, ptr, 6);
    ls_device_destroy(device);
}

static void test_fake_hands_out_addresses_that_do_not_overlap(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 64, 3u << 20, (size_t)1 << 40, 5};
    ls_device *device;
    check_ok(ls_device_create("fake", 3, &device));
    assert_int_equal(device->ordinal, 3);
    const int64_t calls = ls_alloc_get_stats().n_calls;
    char *end = NULL;
    size_t total = 0;
    for (int i = 0; i < 6; i++) {
        void *ptr;
        check_ok(ls_device_alloc(device, sizes[i], &ptr));
        assert_non_null(ptr);
        assert_int_equal((uintptr_t)ptr % 4096, 0);
        assert_true((char *)ptr > end);
        end = (char *)ptr + sizes[i];
        total += sizes[i];
        check_ok(device->ops->copy_in(device, ptr, NULL, sizes[i])); /* touches nothing */
        ls_device_release(device, ptr, i == 5 ? sizes[i] : 0);
    }
    assert_int_equal(ls_alloc_get_stats().n_calls, calls);
    assert_int_equal(device->peak_bytes, total);
    assert_int_equal(device->allocated_bytes, total - sizes[5]);
    char byte = 'x';
    check_fails(device->ops->copy_out(device, &byte, end, 1), LS_ERR_UNSUPPORTED, "holds no bytes");
    assert_int_equal(byte, 'x');
    check_ok(device->ops->synchronize(device));
    ls_device_destroy(device);
}

static void test_refusals(void **state) {
    (void)state;
    ls_device *device = NULL;
    check_fails(ls_device_create("tpu", 0, &device), LS_ERR_INVALID, "'tpu' is not known; use cpu");
    check_fails(ls_device_create("cpu", 1, &device), LS_ERR_INVALID, "only cpu device 0");
    check_fails(ls_device_create("fake", -1, &device), LS_ERR_INVALID, "fake device -1");
#ifndef LS_CUDA
#ifndef LS_CUDA
    check_fails(ls_device_create("cuda", 0, &device), LS_ERR_UNSUPPORTED, "LS_CUDA=ON");
#endif
#endif
    assert_null(device);
    check_ok(ls_device_create("fake", 0, &device));
    void *ptr = NULL;
    check_fails(ls_device_alloc(device, (size_t)-1, &ptr), LS_ERR_NO_MEMORY, "no address space");
    assert_int_equal(device->n_allocs, 0);
    ls_device_destroy(device);
    check_ok(ls_device_create("cpu", 0, &device));
    check_fails(ls_device_alloc(device, (size_t)1 << 62, &ptr), LS_ERR_NO_MEMORY, "out of memory");
    assert_null(ptr);
    assert_int_equal(device->allocated_bytes, 0);
    ls_device_destroy(device);
}

static void *use_device(void *argument) {
    ls_device *device = argument;
    for (int i = 1; i <= 500; i++) {
        void *ptr;
        if (ls_device_alloc(device, (size_t)i, &ptr) != LS_OK) return argument;
        ls_device_release(device, ptr, (size_t)i);
    }
    return NULL;
}

static void test_counting_from_several_threads(void **state) {
    (void)state;
    static const char *const names[] = {"cpu", "fake"};
    for (int d = 0; d < 2; d++) {
        ls_device *device;
        check_ok(ls_device_create(names[d], 0, &device));
        pthread_t threads[3];
        for (int i = 0; i < 3; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, use_device, device), 0);
        for (int i = 0; i < 3; i++) {
            void *failed;
            pthread_join(threads[i], &failed);
            assert_null(failed);
        }
        assert_int_equal(device->n_allocs, 1500);
        assert_int_equal(device->allocated_bytes, 0);
        assert_in_range(device->peak_bytes, 500, 1500);
        ls_device_destroy(device);
    }
}

static ls_status create_and_allocate(void *user) {
    ls_device *device;
    LS_TRY(ls_device_create(user, 0, &device));
    void *small, *large;
    ls_status status = ls_device_alloc(device, 100, &small);
    if (status == LS_OK) {
        status = ls_device_alloc(device, 4u << 20, &large);
        if (status == LS_OK) ls_device_release(device, large, 4u << 20);
        ls_device_release(device, small, 100);
    }
    ls_device_destroy(device);
    return status;
}

static void test_torture(void **state) {
    (void)state;
    static char cpu[] = "cpu", fake[] = "fake";
    assert_int_equal(check_torture(create_and_allocate, cpu), 3);
    assert_int_equal(check_torture(create_and_allocate, fake), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cpu_memory_is_zeroed_aligned_and_counted),
        cmocka_unit_test(test_cpu_copies),
        cmocka_unit_test(test_fake_hands_out_addresses_that_do_not_overlap),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_counting_from_several_threads),
        cmocka_unit_test(test_torture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
