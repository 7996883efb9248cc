#include "base/fs.h"
#include "lockstep/safetensors.h"
#include "unit/base/check.h"

/* A file in memory, at the end of a heap block so that a sanitizer sees any read past it. */
typedef struct image {
    unsigned char *data;
    size_t bytes;
} image;

static image make_image(const char *header, size_t data_bytes) {
    const uint64_t length = strlen(header);
    image made = {NULL, 8 + (size_t)length + data_bytes};
    made.data = malloc(made.bytes);
    memcpy(made.data, &length, 8);
    memcpy(made.data + 8, header, (size_t)length);
    for (size_t i = 0; i < data_bytes; i++) made.data[8 + length + i] = (unsigned char)(i + 1);
    return made;
}

static void test_a_good_file(void **state) {
    (void)state;
    image file =
        make_image("{\"__metadata__\":{\"format\":\"pt\"},"
                   "\"b\":{\"dtype\":\"I32\",\"shape\":[2,1],\"data_offsets\":[4,12]},"
                   "\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
                   "\"s\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[12,20]},"
                   "\"e\":{\"dtype\":\"BF16\",\"shape\":[3,0],\"data_offsets\":[20,20]}}   ",
                   20);
    ls_safetensors *parsed;
    check_ok(ls_safetensors_parse(file.data, file.bytes, "m", &parsed));
    assert_int_equal(ls_safetensors_count(parsed), 4);
    static const char *const names[] = {"b", "a", "s", "e"};
    for (int i = 0; i < 4; i++) assert_string_equal(ls_safetensors_name(parsed, i), names[i]);
    const ls_tensor b = ls_safetensors_tensor(parsed, 0);
    assert_int_equal(b.dtype, LS_DTYPE_I32);
    assert_int_equal(b.shape.n_dims, 2);
    assert_int_equal(((const int32_t *)b.data)[0], 0x08070605);
    ls_tensor found;
    check_ok(ls_safetensors_find(parsed, "a", &found));
    assert_int_equal(((const uint8_t *)found.data)[3], 4);
    check_ok(ls_safetensors_find(parsed, "s", &found));
    assert_int_equal((uintptr_t)found.data % 8, 0);
    assert_memory_equal(found.data, "\x0d\x0e\x0f\x10\x11\x12\x13\x14", 8);
    check_ok(ls_safetensors_find(parsed, "e", &found));
    assert_int_equal(ls_tensor_bytes(&found), 0);
    assert_non_null(found.data);
    check_fails(ls_safetensors_find(parsed, "z", &found), LS_ERR_NOT_FOUND, "no tensor 'z'");
    assert_string_equal(ls_safetensors_metadata(parsed, "format"), "pt");
    assert_null(ls_safetensors_metadata(parsed, "other"));
    ls_safetensors_close(parsed);
    ls_safetensors_close(NULL);
    free(file.data);
}

static void test_every_dtype_of_the_format(void **state) {
    (void)state;
    static const char *const names[] = {"F32", "BF16", "F16", "F64", "I64",
                                        "I32", "I8",   "U8",  "BOOL"};
    for (int i = 0; i < LS_DTYPE_COUNT; i++) {
        char header[256];
        const size_t bytes = 3 * ls_dtype_bytes((ls_dtype)i);
        snprintf(header, sizeof header,
                 "{\"t\":{\"dtype\":\"%s\",\"shape\":[3],\"data_offsets\":[0,%zu]}}", names[i],
                 bytes);
        image file = make_image(header, bytes);
        ls_safetensors *parsed;
        check_ok(ls_safetensors_parse(file.data, file.bytes, "m", &parsed));
        assert_int_equal(ls_safetensors_tensor(parsed, 0).dtype, i);
        ls_safetensors_close(parsed);
        free(file.data);
    }
}

#define T(dtype, shape, offsets) \
    "{\"t\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
#define U8_AT(name, shape, offsets) \
    "\"" name "\":{\"dtype\":\"U8\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void test_bad_headers(void **state) {
    (void)state;
    static const struct {
        const char *header;
        size_t data_bytes;
        ls_status code;
        const char *part;
    } cases[] = {
        {"", 0, LS_ERR_FORMAT, "does not begin with '{'"},
        {" {}", 0, LS_ERR_FORMAT, "does not begin with '{'"},
        {"[]", 0, LS_ERR_FORMAT, "does not begin with '{'"},
        {"{", 0, LS_ERR_FORMAT, "not valid JSON"},
        {"{} x", 0, LS_ERR_FORMAT, "not valid JSON"},
        {"{\"t\":1}", 0, LS_ERR_FORMAT, "tensor 't': its entry is not an object"},
        {"{\"t\":{}}", 0, LS_ERR_FORMAT, "m: tensor 't': the key \"dtype\" is missing"},
        {"{\"t\":{\"dtype\":\"U8\",\"data_offsets\":[0,0]}}", 0, LS_ERR_FORMAT,
         "\"shape\" is missing"},
        {"{\"t\":{\"dtype\":\"U8\",\"shape\":[0]}}", 0, LS_ERR_FORMAT,
         "\"data_offsets\" is missing"},
        {"{\"t\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":1}}", 1,
         LS_ERR_FORMAT, "unknown key 'x'"},
        {"{\"t\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,1]}}", 1, LS_ERR_FORMAT,
         "\"dtype\" must be a string"},
        {T("F8_E4M3", "[1]", "[0,1]"), 1, LS_ERR_UNSUPPORTED, "tensor 't' has dtype F8_E4M3"},
        {T("U16", "[1]", "[0,2]"), 2, LS_ERR_UNSUPPORTED, "has dtype U16"},
        {T("u8", "[1]", "[0,1]"), 1, LS_ERR_UNSUPPORTED, "has dtype u8"},
        {T("U8", "3", "[0,3]"), 3, LS_ERR_FORMAT, "\"shape\" must be an array"},
        {T("U8", "[1.0]", "[0,1]"), 1, LS_ERR_FORMAT, "its shape holds more than integers"},
        {T("U8", "[\"1\"]", "[0,1]"), 1, LS_ERR_FORMAT, "its shape holds more than integers"},
        {T("U8", "[-1]", "[0,1]"), 1, LS_ERR_FORMAT, "tensor 't': dimension 0 of a shape is -1"},
        {T("U8", "[1,1,1,1,1,1,1]", "[0,1]"), 1, LS_ERR_UNSUPPORTED, "has 7 dimensions"},
        {T("U8", "[4294967296,4294967296]", "[0,0]"), 0, LS_ERR_FORMAT, "more than 2^60"},
        {T("F64", "[2305843009213693952]", "[0,0]"), 0, LS_ERR_FORMAT, "more than 2^60"},
        {T("U8", "[9223372036854775808]", "[0,0]"), 0, LS_ERR_FORMAT, "too big integer"},
        {T("U8", "[1]", "0"), 1, LS_ERR_FORMAT, "\"data_offsets\" must be an array"},
        {T("U8", "[1]", "[0]"), 1, LS_ERR_FORMAT, "must be two integers"},
        {T("U8", "[1]", "[0,1,2]"), 1, LS_ERR_FORMAT, "must be two integers"},
        {T("U8", "[1]", "[0,1.0]"), 1, LS_ERR_FORMAT, "must be two integers"},
        {T("U8", "[1]", "[-1,0]"), 1, LS_ERR_FORMAT, "do not lie in the 1 bytes"},
        {T("U8", "[1]", "[1,0]"), 1, LS_ERR_FORMAT, "[1, 0] do not lie"},
        {T("U8", "[2]", "[0,2]"), 1, LS_ERR_FORMAT, "the file may be truncated"},
        {T("U8", "[1]", "[9223372036854775806,9223372036854775807]"), 1, LS_ERR_FORMAT,
         "do not lie"},
        {T("F32", "[2]", "[0,4]"), 4, LS_ERR_FORMAT, "need 8 bytes, its data_offsets span 4"},
        {T("U8", "[0]", "[0,1]"), 1, LS_ERR_FORMAT, "need 0 bytes"},
        {T("U8", "[]", "[0,0]"), 0, LS_ERR_FORMAT, "need 1 bytes"},
        {T("U8", "[1]", "[0,1]"), 2, LS_ERR_FORMAT, "1 bytes after the last tensor belong to none"},
        {"{}", 1, LS_ERR_FORMAT, "1 bytes after the last tensor"},
        {"{" U8_AT("a", "[2]", "[0,2]") "," U8_AT("b", "[2]", "[1,3]") "}", 3, LS_ERR_FORMAT,
         "tensor 'b' begins at byte 1 of the data, where 2 was expected: tensors overlap"},
        {"{" U8_AT("a", "[2]", "[0,2]") "," U8_AT("b", "[2]", "[0,2]") "}", 2, LS_ERR_FORMAT,
         "overlap"},
        {"{" U8_AT("a", "[1]", "[0,1]") "," U8_AT("b", "[1]", "[2,3]") "}", 3, LS_ERR_FORMAT,
         "leave a hole"},
        {"{" U8_AT("a", "[1]", "[1,2]") "}", 2, LS_ERR_FORMAT, "leave a hole"},
        {"{" U8_AT("a", "[1]", "[0,1]") "," U8_AT("a", "[1]", "[1,2]") "}", 2, LS_ERR_FORMAT,
         "duplicate object key"},
        {"{\"a\":{\"dtype\":\"U8\",\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
         LS_ERR_FORMAT, "duplicate object key"},
        {"{\"__metadata__\":1}", 0, LS_ERR_FORMAT, "__metadata__ must be an object"},
        {"{\"__metadata__\":{\"a\":1}}", 0, LS_ERR_FORMAT, "__metadata__ \"a\" must be a string"},
        {"{\"\xff\":1}", 0, LS_ERR_FORMAT, "not valid JSON"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        image file = make_image(cases[i].header, cases[i].data_bytes);
        ls_safetensors *parsed = NULL;
        check_fails(ls_safetensors_parse(file.data, file.bytes, "m", &parsed), cases[i].code,
                    cases[i].part);
        assert_non_null(strstr(ls_error_message(), "m: "));
        assert_null(parsed);
        free(file.data);
    }
}

static void test_bad_lengths(void **state) {
    (void)state;
    static const uint64_t lengths[] = {3, 100, 100000001, UINT64_MAX, (uint64_t)1 << 63, 0};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        unsigned char data[10] = {0, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
        memcpy(data, &lengths[i], 8);
        ls_safetensors *parsed;
        check_fails(ls_safetensors_parse(data, sizeof data, "m", &parsed), LS_ERR_FORMAT, "header");
    }
}

/* Every prefix of a good file is refused, and so is the file with a byte too many. */
static void test_truncated_files(void **state) {
    (void)state;
    image whole = make_image("{" U8_AT("a", "[3]", "[0,3]") "," U8_AT("b", "[5]", "[3,8]") "}", 8);
    for (size_t bytes = 0; bytes <= whole.bytes; bytes++) {
        unsigned char *cut = malloc(bytes ? bytes : 1);
        memcpy(cut, whole.data, bytes);
        ls_safetensors *parsed;
        const ls_status status = ls_safetensors_parse(cut, bytes, "m", &parsed);
        assert_int_equal(status, bytes == whole.bytes ? LS_OK : LS_ERR_FORMAT);
        if (status == LS_OK) ls_safetensors_close(parsed);
        free(cut);
    }
    free(whole.data);
}

/* Whatever one byte of the header becomes, the reader answers and every tensor it gives lies in the file. */
static void test_every_changed_header_byte_is_survived(void **state) {
    (void)state;
    image file =
        make_image("{\"a\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[0,8]}}", 8);
    for (size_t at = 0; at < file.bytes - 8; at++)
        for (int value = 0; value < 256; value++) {
            const unsigned char held = file.data[at];
            file.data[at] = (unsigned char)value;
            ls_safetensors *parsed;
            if (ls_safetensors_parse(file.data, file.bytes, "m", &parsed) == LS_OK) {
                const ls_tensor tensor = ls_safetensors_tensor(parsed, 0);
                volatile unsigned char sum = 0;
                for (size_t i = 0; i < ls_tensor_bytes(&tensor); i++)
                    sum = (unsigned char)(sum + ((const unsigned char *)tensor.data)[i]);
                ls_safetensors_close(parsed);
            }
            file.data[at] = held;
        }
    free(file.data);
}

static void test_files_on_disk(void **state) {
    (void)state;
    const char *path = check_path("m.safetensors");
    image file = make_image("{" U8_AT("a", "[3]", "[0,3]") "}", 3);
    check_ok(ls_file_write_atomic(path, file.data, file.bytes));
    ls_safetensors *parsed;
    check_ok(ls_safetensors_open(path, &parsed));
    assert_memory_equal(ls_safetensors_tensor(parsed, 0).data, "\1\2\3", 3);
    ls_safetensors_close(parsed);
    check_ok(ls_file_write_atomic(path, file.data, file.bytes - 1));
    check_fails(ls_safetensors_open(path, &parsed), LS_ERR_FORMAT, "m.safetensors: tensor 'a'");
    check_ok(ls_file_write_atomic(path, "", 0));
    check_fails(ls_safetensors_open(path, &parsed), LS_ERR_FORMAT, "0 bytes are too few");
    unlink(path);
    check_fails(ls_safetensors_open(path, &parsed), LS_ERR_NOT_FOUND, "m.safetensors");
    free(file.data);
}

static ls_status parse_image(void *user) {
    const image *file = user;
    ls_safetensors *parsed;
    LS_TRY(ls_safetensors_parse(file->data, file->bytes, "m", &parsed));
    ls_safetensors_close(parsed);
    return LS_OK;
}

static void test_torture(void **state) {
    (void)state;
    /* F64 after one byte: the aligned copy is an allocation, too. */
    image file = make_image(
        "{" U8_AT("a", "[1]",
                  "[0,1]") ",\"b\":{\"dtype\":\"F64\",\"shape\":[1],"
                           "\"data_offsets\":[1,9]},\"c\":{\"dtype\":\"F64\",\"shape\":[1],"
                           "\"data_offsets\":[9,17]},\"__metadata__\":{\"k\":\"v\"}}",
        17);
    assert_true(check_torture(parse_image, &file) > 20);
    free(file.data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_good_file),
        cmocka_unit_test(test_every_dtype_of_the_format),
        cmocka_unit_test(test_bad_headers),
        cmocka_unit_test(test_bad_lengths),
        cmocka_unit_test(test_truncated_files),
        cmocka_unit_test(test_every_changed_header_byte_is_survived),
        cmocka_unit_test(test_files_on_disk),
        cmocka_unit_test(test_torture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
