/* TensorBoard event files, read back byte by byte: CRC-32C known answers, TFRecord frames, protobuf fields. */
#include "base/fs.h"
#include "observe/metrics.h"
#include "unit/base/check.h"
#include <math.h>

/* RFC 3720, appendix B.4, and the check value of the CRC catalogue. */
static void test_crc(void **state) {
    (void)state;
    unsigned char bytes[32] = {0};
    assert_int_equal(ls_crc32c(bytes, 32), 0x8a9136aa);
    memset(bytes, 0xff, 32);
    assert_int_equal(ls_crc32c(bytes, 32), 0x62a8ab43);
    for (int i = 0; i < 32; i++) bytes[i] = (unsigned char)i;
    assert_int_equal(ls_crc32c(bytes, 32), 0x46dd794e);
    assert_int_equal(ls_crc32c("123456789", 9), 0xe3069283);
    assert_int_equal(ls_crc32c("", 0), 0);
}

static uint32_t mask(uint32_t crc) {
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

typedef struct cursor {
    const unsigned char *data;
    size_t bytes, at;
} cursor;

static uint64_t take_number(cursor *c, size_t bytes) {
    uint64_t value = 0;
    assert_true(c->at + bytes <= c->bytes);
    memcpy(&value, c->data + c->at, bytes);
    c->at += bytes;
    return value;
}

static uint64_t take_varint(cursor *c) {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
        const uint64_t byte = take_number(c, 1);
        value |= (byte & 0x7f) << shift;
        if (byte < 0x80) return value;
    }
}

static cursor take_bytes(cursor *c, size_t bytes) {
    assert_true(c->at + bytes <= c->bytes);
    const cursor part = {c->data + c->at, bytes, 0};
    c->at += bytes;
    return part;
}

/* One frame: length, its checksum, the event, its checksum. */
static cursor take_record(cursor *file) {
    const unsigned char *start = file->data + file->at;
    const uint64_t size = take_number(file, 8);
    assert_int_equal(take_number(file, 4), mask(ls_crc32c(start, 8)));
    const cursor event = take_bytes(file, size);
    assert_int_equal(take_number(file, 4), mask(ls_crc32c(event.data, event.bytes)));
    return event;
}

/* Key of a field: number << 3 | wire type. */
static void expect_key(cursor *c, unsigned field, unsigned wire) {
    assert_int_equal(take_varint(c), field << 3 | wire);
}

static void expect_wall_time(cursor *event) {
    double time;
    expect_key(event, 1, 1);
    const uint64_t bits = take_number(event, 8);
    memcpy(&time, &bits, sizeof time);
    assert_true(time > 1.6e9 && time < 1e11);
}

static void expect_scalar(cursor *summary, const char *tag, float wanted) {
    expect_key(summary, 1, 2);
    cursor value = take_bytes(summary, take_varint(summary));
    expect_key(&value, 1, 2);
    const cursor name = take_bytes(&value, take_varint(&value));
    assert_int_equal(name.bytes, strlen(tag));
    assert_memory_equal(name.data, tag, name.bytes);
    expect_key(&value, 2, 5);
    const uint32_t bits = (uint32_t)take_number(&value, 4);
    float found;
    memcpy(&found, &bits, sizeof found);
    assert_true(found == wanted);
    assert_int_equal(value.at, value.bytes);
}

/* The one event file in the folder. */
static ls_map map_events(const char *folder) {
    char **names, path[700] = "";
    int n;
    check_ok(ls_dir_list(folder, &names, &n));
    for (int i = 0; i < n; i++) {
        if (strncmp(names[i], "events.out.tfevents.", 20) == 0)
            snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        ls_free(names[i]);
    }
    ls_free(names);
    ls_map map;
    check_ok(ls_map_open(path, &map));
    return map;
}

static void test_events(void **state) {
    (void)state;
    char folder[512];
    snprintf(folder, sizeof folder, "%s", check_path("board"));
    check_ok(ls_dir_make(folder));
    ls_tensorboard *board;
    char long_name[200];
    memset(long_name, 'n', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    const ls_metric items[] = {
        {"loss", 2.25}, {"held", NAN}, {"lr", 1e-3}, {long_name, 1}, {"norm", -INFINITY}};
    check_ok(ls_tensorboard_open(folder, &board));
    check_ok(ls_tensorboard_write(board, 300, items, 5));
    check_ok(ls_tensorboard_write(board, 301, items + 1, 1));
    ls_tensorboard_close(board);
    ls_tensorboard_close(NULL);
    ls_map map = map_events(folder);
    cursor file = {map.data, map.bytes, 0};
    cursor event = take_record(&file);
    expect_wall_time(&event);
    expect_key(&event, 3, 2);
    const cursor version = take_bytes(&event, take_varint(&event));
    assert_int_equal(version.bytes, 13);
    assert_memory_equal(version.data, "brain.Event:2", 13);
    assert_int_equal(event.at, event.bytes);
    event = take_record(&file);
    expect_wall_time(&event);
    expect_key(&event, 2, 0);
    assert_int_equal(take_varint(&event), 300);
    expect_key(&event, 5, 2);
    cursor summary = take_bytes(&event, take_varint(&event));
    expect_scalar(&summary, "loss", 2.25f);
    expect_scalar(&summary, "lr", 1e-3f);
    assert_int_equal(summary.at, summary.bytes);
    event = take_record(&file); /* nothing finite: an empty summary */
    assert_int_equal(file.at, file.bytes);
    ls_map_close(&map);
    check_ok(ls_dir_remove(folder));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_crc), cmocka_unit_test(test_events)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
