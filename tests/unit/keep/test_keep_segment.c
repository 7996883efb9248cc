/* The beginning of a segment: what it says, and that no damage to it is believed; sets of ranges. */
#include "keep/keep_ranges.h"
#include "keep/keep_segment.h"
#include "unit/base/check.h"

static ls_keep_header *make_small(void) {
    const ls_plan_part parts[] = {
        {.name = "weight",
         .role = LS_ROLE_WEIGHT,
         .whole = {LS_DTYPE_F32, {2, {6, 4}}},
         .first = 8,
         .count = 8},
        {.name = "h.0.state",
         .whole = {LS_DTYPE_BF16, {1, {10}}},
         .count = 10,
         .offset = 64,
         .is_shared = 1},
        {.name = "empty", .whole = {LS_DTYPE_F32, {1, {4}}}, .first = 128, .offset = 1 << 20},
    };
    const ls_keep_layout layout = {.rank = 1,
                                   .size = 3,
                                   .n_tensors = 3,
                                   .job = 5,
                                   .parts = parts,
                                   .n_parts = 3,
                                   .buffer_bytes = 100};
    ls_keep_header *image = NULL;
    check_ok(ls_keep_segment_make(&layout, &image));
    return image;
}

static void test_make(void **state) {
    (void)state;
    ls_keep_header *image = make_small();
    check_ok(ls_keep_segment_verify(image, image->buffers, image->bytes));
    assert_int_equal(image->bytes, image->buffers + 2 * 4096);
    const ls_keep_part *parts = ls_keep_parts(image);
    assert_string_equal(ls_keep_part_name(image, &parts[0]), "weight");
    assert_string_equal(ls_keep_part_name(image, &parts[1]), "h.0.state");
    assert_int_equal(parts[0].first, 8);
    assert_int_equal(parts[1].dtype, LS_DTYPE_BF16);
    assert_int_equal(parts[2].count, 0);
    assert_int_equal(ls_keep_segment_newest(image), -1);
    ls_free(image);
}

/* Everything that the layout is made of changes the fingerprint; the job does not. */
static void test_fingerprint(void **state) {
    (void)state;
    ls_plan_part part = {.name = "a", .whole = {LS_DTYPE_F32, {1, {64}}}, .count = 32};
    ls_keep_layout layout = {
        .size = 2, .n_tensors = 1, .parts = &part, .n_parts = 1, .buffer_bytes = 256};
    uint64_t seen[16];
    int n = 0;
    for (int i = 0; i < 10; i++) {
        ls_keep_header *image = NULL;
        switch (i) {
        case 1:
            part.name = "b";
            break;
        case 2:
            part.first = 32;
            break;
        case 3:
            part.count = 16;
            break;
        case 4:
            part.offset = 64;
            break;
        case 5:
            part.whole.dtype = LS_DTYPE_F16;
            break;
        case 6:
            layout.rank = 1;
            break;
        case 7:
            layout.size = 4;
            break;
        case 8:
            layout.buffer_bytes = 512;
            break;
        case 9:
            layout.job = 7;
            break;
        default:
            break;
        }
        check_ok(ls_keep_segment_make(&layout, &image));
        check_ok(ls_keep_segment_verify(image, image->buffers, image->bytes));
        for (int k = 0; i < 9 && k < n; k++) assert_int_not_equal(seen[k], image->fingerprint);
        if (i == 9) assert_int_equal(seen[8], image->fingerprint);
        seen[n++] = image->fingerprint;
        ls_free(image);
    }
}

/* Reads what a keeper reads of an image that was found sound. */
static void use(const ls_keep_header *image) {
    for (uint32_t i = 0; i < image->n_parts; i++) {
        const ls_keep_part *part = &ls_keep_parts(image)[i];
        const uint64_t size = ls_dtype_bytes((ls_dtype)part->dtype);
        assert_true(strlen(ls_keep_part_name(image, part)) > 0);
        assert_true(part->offset + (uint64_t)part->count * size <= image->buffer_bytes);
        assert_true(image->buffers + image->buffer_stride + part->offset <= image->bytes);
    }
}

/* Every byte that matters, with several values: refused, or harmless. */
static void test_damage(void **state) {
    (void)state;
    ls_keep_header *good = make_small();
    const size_t bytes = good->buffers;
    const uint64_t whole = good->bytes;
    static const unsigned char flips[] = {0x01, 0x80, 0xff, 0x10};
    int refused = 0;
    for (size_t at = 0; at < bytes; at++) {
        if (at >= offsetof(ls_keep_header, job) && at < good->parts) continue; /* its own words */
        for (size_t f = 0; f < sizeof flips; f++) {
            ls_keep_header *bad = ls_alloc(bytes);
            memcpy(bad, good, bytes);
            ((unsigned char *)bad)[at] ^= flips[f];
            if (ls_keep_segment_verify(bad, bytes, whole) == LS_OK)
                use(bad);
            else
                refused++;
            ls_free(bad);
        }
    }
    /* All of the header and the table but padding. */
    assert_true(refused > 4 * (int)(offsetof(ls_keep_header, rank) + 3 * sizeof(ls_keep_part)));
    check_fails(ls_keep_segment_verify(good, bytes, whole + 4096), LS_ERR_FORMAT, "contradicts");
    check_fails(ls_keep_segment_verify(good, sizeof *good - 1, whole), LS_ERR_FORMAT,
                "do not begin like");
    for (size_t n = sizeof *good; n < bytes; n += 64)
        check_fails(ls_keep_segment_verify(good, n, whole), LS_ERR_FORMAT, "contradicts");
    good->version++;
    check_fails(ls_keep_segment_verify(good, bytes, whole), LS_ERR_FORMAT, "knows version 1");
    good->version--;
    good->magic++;
    check_fails(ls_keep_segment_verify(good, bytes, whole), LS_ERR_FORMAT, "do not begin like");
    ls_free(good);
}

static void test_commit_words(void **state) {
    (void)state;
    ls_keep_header *segment = make_small();
    char blob[LS_KEEP_BLOB];
    size_t bytes = 0;
    ls_keep_segment_commit(segment, 0, 4, "four", 5);
    ls_keep_segment_commit(segment, 1, 5, NULL, 0);
    assert_int_equal(ls_keep_segment_newest(segment), 1);
    assert_int_equal(ls_keep_segment_find(segment, 4), 0);
    assert_int_equal(ls_keep_segment_find(segment, 6), -1);
    assert_int_equal(ls_keep_segment_find(segment, -1), -1);
    assert_true(ls_keep_segment_blob(segment, 0, blob, &bytes));
    assert_int_equal(bytes, 5);
    assert_string_equal(blob, "four");
    ls_keep_segment_tear(segment, 1);
    assert_int_equal(ls_keep_segment_newest(segment), 0);
    ls_keep_segment_tear(segment, 0);
    assert_int_equal(ls_keep_segment_newest(segment), -1);
    assert_int_equal(ls_keep_segment_find(segment, -1), -1);
    segment->blobs[0][2] = 'x';
    assert_false(ls_keep_segment_blob(segment, 0, blob, &bytes));
    atomic_store(&segment->blob_bytes[0], LS_KEEP_BLOB + 1);
    assert_false(ls_keep_segment_blob(segment, 0, blob, &bytes));
    ls_free(segment);
}

/* Against a bitmap. */
static void test_ranges(void **state) {
    (void)state;
    enum { N = 40 };
    unsigned seed = 1;
    for (int round = 0; round < 300; round++) {
        ls_keep_ranges ranges = {0};
        char bits[N] = {0};
        for (int i = 0; i < round % 12; i++) {
            const int64_t first = rand_r(&seed) % N, end = first + rand_r(&seed) % 8;
            const int64_t stop = end < N ? end : N;
            check_ok(ls_keep_ranges_add(&ranges, first, stop));
            for (int64_t k = first; k < stop; k++) bits[k] = 1;
        }
        for (int64_t i = 1; i < ranges.n; i++)
            assert_true(ranges.items[i - 1].end < ranges.items[i].first);
        for (int first = 0; first < N; first++) {
            ls_keep_range gap = {0};
            int from = first;
            while (from < N && bits[from]) from++;
            assert_int_equal(ls_keep_ranges_gap(&ranges, first, N, &gap), from < N);
            if (from == N) continue;
            int end = from;
            while (end < N && !bits[end]) end++;
            assert_int_equal(gap.first, from);
            assert_int_equal(gap.end, end);
        }
        ls_keep_ranges_deinit(&ranges);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_make),   cmocka_unit_test(test_fingerprint),
        cmocka_unit_test(test_damage), cmocka_unit_test(test_commit_words),
        cmocka_unit_test(test_ranges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
