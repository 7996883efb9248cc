/* The CUDA device where there is one; where it was not built, or no GPU is there, the sentence that says so. */
#include "device/device.h"
#include "unit/base/check.h"

enum { N_BYTES = 1 << 20 };

static void check_round_trip(ls_device *device) {
    unsigned char *host = calloc(2, N_BYTES), *back = host + N_BYTES;
    assert_non_null(host);
    for (int i = 0; i < N_BYTES; i++) host[i] = (unsigned char)(i * 7 + i / 256);
    void *ptr;
    check_ok(ls_device_alloc(device, N_BYTES, &ptr));
    assert_int_equal(device->allocated_bytes, N_BYTES);
    memset(back, 1, N_BYTES);
    check_ok(device->ops->copy_out(device, back, ptr, N_BYTES));
    for (int i = 0; i < N_BYTES; i++) assert_int_equal(back[i], 0); /* fresh memory is zero */
    check_ok(device->ops->copy_in(device, ptr, host, N_BYTES));
    check_ok(device->ops->synchronize(device));
    check_ok(device->ops->copy_out(device, back, ptr, N_BYTES));
    assert_memory_equal(host, back, N_BYTES);
    ls_device_release(device, ptr, N_BYTES);
    assert_int_equal(device->allocated_bytes, 0);
    void *untouched = host;
    check_fails(ls_device_alloc(device, (size_t)1 << 60, &untouched), LS_ERR_NO_MEMORY,
                "allocating 1152921504606846976 bytes");
    assert_ptr_equal(untouched, host);
    check_ok(ls_device_alloc(device, 16, &ptr)); /* the failure left the device usable */
    ls_device_release(device, ptr, 16);
    free(host);
}

static void test_cuda(void **state) {
    (void)state;
    ls_device *device = NULL;
    ls_error_clear();
    const ls_status status = ls_device_create("cuda", 0, &device);
    if (status != LS_OK) {
        print_message("no CUDA here: %s\n", ls_error_message());
        assert_int_equal(status, LS_ERR_UNSUPPORTED);
        assert_non_null(strstr(ls_error_message(), "device 'cuda' was asked for, but"));
        assert_non_null(strstr(ls_error_message(), "use device 'cpu'"));
        assert_null(device);
        return;
    }
    check_round_trip(device);
    ls_device_destroy(device);
    check_fails(ls_device_create("cuda", 4096, &device), LS_ERR_INVALID,
                "cuda device 4096 was asked for");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cuda)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
