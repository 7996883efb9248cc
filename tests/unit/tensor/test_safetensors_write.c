#include "base/fs.h"
#include "lockstep/safetensors.h"
#include "unit/base/check.h"
#include <errno.h>

static float weights[6] = {1, 2, 3, 4, 5, 6};
static uint8_t bytes[3] = {7, 8, 9};
static double scalar[1] = {0.5};

static const ls_named_tensor tensors[] = {
    {"z.weight", {LS_DTYPE_F32, {2, {2, 3}}, weights}},
    {"b\xc3\xa9\"\n", {LS_DTYPE_U8, {1, {3}}, bytes}},
    {"empty", {LS_DTYPE_BF16, {2, {0, 4}}, NULL}},
    {"a", {LS_DTYPE_F64, {0, {0}}, scalar}},
};
enum { N_TENSORS = 4 };
static const char *const metadata[] = {"format", "lockstep", "step", "12", NULL};

static void test_written_file_reads_back(void **state) {
    (void)state;
    const char *path = check_path("w.safetensors");
    check_ok(ls_safetensors_write(path, tensors, N_TENSORS, metadata));
    ls_safetensors *file;
    check_ok(ls_safetensors_open(path, &file));
    assert_int_equal(ls_safetensors_count(file), N_TENSORS);
    for (int i = 0; i < N_TENSORS; i++) {
        const ls_tensor tensor = ls_safetensors_tensor(file, i);
        const ls_tensor *wanted = &tensors[i].tensor;
        assert_string_equal(ls_safetensors_name(file, i), tensors[i].name);
        assert_int_equal(tensor.dtype, wanted->dtype);
        assert_true(ls_shape_equal(&tensor.shape, &wanted->shape));
        if (wanted->data) assert_memory_equal(tensor.data, wanted->data, ls_tensor_bytes(wanted));
    }
    assert_int_equal((uintptr_t)ls_safetensors_tensor(file, 0).data % 64, 0);
    assert_string_equal(ls_safetensors_metadata(file, "step"), "12");
    ls_safetensors_close(file);
    unlink(path);
}

static void test_bytes_of_the_file(void **state) {
    (void)state;
    const char *path = check_path("bytes.safetensors");
    check_ok(ls_safetensors_write(path, &tensors[1], 0, NULL));
    char *data;
    size_t n;
    check_ok(ls_file_read(path, &data, &n));
    assert_int_equal(n, 64);
    assert_memory_equal(data, "\x38\0\0\0\0\0\0\0{}   ", 13);
    ls_free(data);
    const ls_named_tensor one = {"t", {LS_DTYPE_U8, {1, {3}}, bytes}};
    check_ok(ls_safetensors_write(path, &one, 1, NULL));
    check_ok(ls_file_read(path, &data, &n));
    static const char header[] = "{\"t\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}}";
    assert_int_equal(n, 64 + 3);
    assert_memory_equal(data + 8, header, sizeof header - 1);
    assert_memory_equal(data + 64, "\7\x8\x9", 3);
    ls_free(data);
    unlink(path);
}

static void test_bad_input_is_refused_and_nothing_written(void **state) {
    (void)state;
    const char *path = check_path("bad.safetensors");
    const ls_named_tensor twice[] = {tensors[0], tensors[0]};
    const ls_named_tensor reserved = {"__metadata__", tensors[0].tensor};
    const ls_named_tensor not_utf8 = {"\xff", tensors[0].tensor};
    const ls_named_tensor no_data = {"n", {LS_DTYPE_F32, {1, {2}}, NULL}};
    const ls_named_tensor bad_shape = {"n", {LS_DTYPE_F32, {1, {-2}}, weights}};
    const ls_named_tensor bad_dtype = {"n", {LS_DTYPE_COUNT, {1, {2}}, weights}};
    static const char *const odd[] = {"key", NULL}, *const same[] = {"a", "1", "a", "2", NULL};
    static const char *const bad_text[] = {"a", "\xff", NULL};
    check_fails(ls_safetensors_write(path, twice, 2, NULL), LS_ERR_INVALID,
                "two tensors are named");
    check_fails(ls_safetensors_write(path, &reserved, 1, NULL), LS_ERR_INVALID, "__metadata__");
    check_fails(ls_safetensors_write(path, &not_utf8, 1, NULL), LS_ERR_INVALID, "not UTF-8");
    check_fails(ls_safetensors_write(path, &no_data, 1, NULL), LS_ERR_INVALID, "has no data");
    check_fails(ls_safetensors_write(path, &bad_shape, 1, NULL), LS_ERR_INVALID, "tensor 'n'");
    check_fails(ls_safetensors_write(path, &bad_dtype, 1, NULL), LS_ERR_INVALID, "unknown dtype");
    check_fails(ls_safetensors_write(path, tensors, 1, odd), LS_ERR_INVALID, "'key' has no value");
    check_fails(ls_safetensors_write(path, tensors, 1, same), LS_ERR_INVALID, "given twice");
    check_fails(ls_safetensors_write(path, tensors, 1, bad_text), LS_ERR_INVALID, "not UTF-8");
    assert_false(ls_path_exists(path));
    check_fails(ls_safetensors_write("no/such/x", tensors, 1, NULL), LS_ERR_NOT_FOUND, "no/such/x");
}

/* A full disk at any write, sync or rename keeps the old file whole. */
static void test_full_disk_keeps_the_old_file(void **state) {
    (void)state;
    const char *path = check_path("full.safetensors");
    check_ok(ls_safetensors_write(path, &tensors[3], 1, NULL));
    int64_t n_hit = 0;
    for (int64_t n = 1;; n++) {
        const int64_t before = ls_fs_op_count();
        ls_fs_fail_at(n, ENOSPC);
        const ls_status status = ls_safetensors_write(path, tensors, N_TENSORS, metadata);
        ls_fs_fail_at(0, 0);
        if (ls_fs_op_count() - before < n) {
            check_ok(status);
            break;
        }
        assert_int_equal(status, LS_ERR_NO_SPACE);
        ls_safetensors *file;
        check_ok(ls_safetensors_open(path, &file));
        const int count = ls_safetensors_count(file);
        assert_true(count == 1 || count == N_TENSORS);
        ls_safetensors_close(file);
        n_hit++;
    }
    assert_true(n_hit >= 6); /* the header, three tensors, sync, rename */
    unlink(path);
}

static ls_status write_all(void *user) {
    return ls_safetensors_write(user, tensors, N_TENSORS, metadata);
}

static void test_torture(void **state) {
    (void)state;
    char path[512];
    snprintf(path, sizeof path, "%s", check_path("torture.safetensors"));
    assert_true(check_torture(write_all, path) > 60);
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_written_file_reads_back),
        cmocka_unit_test(test_bytes_of_the_file),
        cmocka_unit_test(test_bad_input_is_refused_and_nothing_written),
        cmocka_unit_test(test_full_disk_keeps_the_old_file),
        cmocka_unit_test(test_torture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
