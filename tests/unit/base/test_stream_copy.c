/* Every byte of the block and none beside it, at all alignments of both ends. */
#include "base/stream_copy.h"
#include "unit/base/check.h"
#include <stdlib.h>
#include <string.h>

enum { MARGIN = 256 };

static unsigned char byte_at(size_t i) {
    return (unsigned char)(i * 37 + i / 251);
}

static void copy_once(size_t bytes, size_t to_offset, size_t from_offset) {
    unsigned char *from = malloc(bytes + 2 * MARGIN), *to = malloc(bytes + 2 * MARGIN);
    for (size_t i = 0; i < bytes + 2 * MARGIN; i++) from[i] = byte_at(i);
    memset(to, 0xee, bytes + 2 * MARGIN);
    ls_stream_copy(to + to_offset, from + from_offset, bytes);
    for (size_t i = 0; i < bytes + 2 * MARGIN; i++) {
        const int inside = i >= to_offset && i < to_offset + bytes;
        const unsigned char want = inside ? byte_at(i - to_offset + from_offset) : 0xee;
        if (to[i] != want)
            fail_msg("%zu bytes to offset %zu: byte %zu is %02x, not %02x", bytes, to_offset, i,
                     to[i], want);
    }
    free(from);
    free(to);
}

static void test_copies_every_byte(void **state) {
    (void)state;
    static const size_t sizes[] = {0,
                                   1,
                                   63,
                                   4096,
                                   LS_STREAM_COPY_BYTES - 1,
                                   LS_STREAM_COPY_BYTES,
                                   LS_STREAM_COPY_BYTES + 1,
                                   LS_STREAM_COPY_BYTES + 63,
                                   LS_STREAM_COPY_BYTES + 64,
                                   3 * LS_STREAM_COPY_BYTES + 4097};
    static const size_t offsets[] = {0, 1, 8, 16, 31, 63, 64, 100};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (size_t a = 0; a < sizeof offsets / sizeof offsets[0]; a++)
            for (size_t b = 0; b < sizeof offsets / sizeof offsets[0]; b++)
                copy_once(sizes[s], offsets[a], offsets[b]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_copies_every_byte)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
