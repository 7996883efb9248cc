#include "data_check.h"
#include <math.h>
#include <zlib.h>

enum { N = 40, H = 5, W = 4, PIXELS = H * W };

typedef struct files {
    char images[512], labels[512];
} files;

static void put_be32(unsigned char *out, uint32_t value) {
    for (int i = 0; i < 4; i++) out[i] = (unsigned char)(value >> (24 - 8 * i));
}

static const char *write_gz(const char *name, const unsigned char *data, size_t bytes) {
    const char *path = check_path(name);
    gzFile file = gzopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(gzwrite(file, data, (unsigned)bytes), bytes);
    assert_int_equal(gzclose(file), Z_OK);
    return path;
}

/* Image i has the pixels i, i + 1, ...; label i mod 10. */
static files write_set(int gz) {
    static unsigned char images[16 + N * PIXELS], labels[8 + N];
    files f;
    put_be32(images, 0x803);
    put_be32(images + 4, N);
    put_be32(images + 8, H);
    put_be32(images + 12, W);
    put_be32(labels, 0x801);
    put_be32(labels + 4, N);
    for (int i = 0; i < N; i++) {
        labels[8 + i] = (unsigned char)(i % 10);
        for (int p = 0; p < PIXELS; p++) images[16 + i * PIXELS + p] = (unsigned char)(i + p + 1);
    }
    snprintf(f.images, sizeof f.images, "%s",
             gz ? write_gz("i.gz", images, sizeof images) : write_file("i", images, sizeof images));
    snprintf(f.labels, sizeof f.labels, "%s",
             gz ? write_gz("l.gz", labels, sizeof labels) : write_file("l", labels, sizeof labels));
    return f;
}

static ls_images *open_set(void) {
    const files f = write_set(0);
    ls_images *images = NULL;
    check_ok(ls_images_open_files(f.images, f.labels, &images));
    return images;
}

static void test_reads_both_forms(void **state) {
    (void)state;
    for (int gz = 0; gz < 2; gz++) {
        const files f = write_set(gz);
        ls_images *images = NULL;
        check_ok(ls_images_open_files(f.images, f.labels, &images));
        const ls_images_info info = ls_images_get_info(images);
        assert_int_equal(info.n_images, N);
        assert_int_equal(info.height, H);
        assert_int_equal(info.width, W);
        assert_int_equal(info.n_classes, 10);
        for (int i = 0; i < N; i++) {
            assert_int_equal(ls_images_label(images, i), i % 10);
            for (int p = 0; p < PIXELS; p++)
                assert_int_equal(ls_images_pixels(images, i)[p], i + p + 1);
        }
        double mean = 0, std = 0;
        ls_images_statistics(images, &mean, &std);
        assert_true(fabs(mean * 255 - (N - 1) / 2.0 - (PIXELS + 1) / 2.0) < 1e-9);
        assert_true(fabs(std * 255 - sqrt((N * N - 1) / 12.0 + (PIXELS * PIXELS - 1) / 12.0)) <
                    1e-9);
        ls_images_close(images);
    }
    ls_images_close(NULL);
}

/* An epoch has each image once, whatever the lanes; step and lane alone decide. */
static void test_order(void **state) {
    (void)state;
    ls_images *images = open_set();
    const ls_images_options whole = {.seed = 5, .batch = 8};
    float pixels[8 * PIXELS], part_pixels[8 * PIXELS];
    int32_t labels[8], part_labels[8];
    int first_epoch[N], moved = 0;
    for (int epoch = 0; epoch < 2; epoch++) {
        int seen[N] = {0};
        for (int step = 0; step < N / 8; step++) {
            check_ok(ls_images_next(images, &whole, epoch * (N / 8) + step, 0, pixels, labels));
            for (int b = 0; b < 8; b++) {
                const int i = (int)lround(pixels[b * PIXELS] * 255.0) - 1;
                assert_int_equal(labels[b], i % 10);
                assert_int_equal(seen[i]++, 0);
                if (epoch == 0)
                    first_epoch[step * 8 + b] = i;
                else
                    moved += first_epoch[step * 8 + b] != i;
            }
            for (int64_t lanes = 2; lanes <= 4; lanes *= 2) {
                ls_images_options some = whole;
                some.lanes = lanes;
                for (int64_t lane = lanes - 1; lane >= 0; lane--) {
                    check_ok(ls_images_next(images, &some, epoch * (N / 8) + step, lane,
                                            part_pixels, part_labels));
                    const size_t n = (size_t)(8 / lanes);
                    assert_memory_equal(part_pixels, pixels + (size_t)lane * n * PIXELS,
                                        n * PIXELS * sizeof *pixels);
                    assert_memory_equal(part_labels, labels + (size_t)lane * n, n * sizeof *labels);
                }
            }
        }
    }
    assert_true(moved > N / 2);
    ls_images_close(images);
}

/* Each augmented image is one of the shifted, perhaps mirrored, forms of an image with its label; all forms occur. */
static void test_augmentation(void **state) {
    (void)state;
    ls_images *images = open_set();
    const ls_images_options options = {.seed = 1, .batch = 10, .max_shift = 1, .flip = 1};
    float pixels[10 * PIXELS];
    int32_t labels[10];
    int seen[2][3][3] = {0};
    for (int step = 0; step < 80; step++) {
        check_ok(ls_images_next(images, &options, step, 0, pixels, labels));
        for (int b = 0; b < 10; b++) {
            int n_matches = 0;
            for (int form = 0; form < 18; form++) {
                const int flip = form / 9, down = form / 3 % 3 - 1, right = form % 3 - 1;
                const int y = 2,
                          x = 1; /* a pixel that no shift pushes out: says which image it is */
                const float *image = pixels + b * PIXELS;
                const int i = (int)lround(image[y * W + x] * 255) - 1 -
                              ((y - down) * W + (flip ? W - 1 - x : x) - right);
                if (i < 0 || i >= N || i % 10 != labels[b]) continue;
                int same = 1;
                for (int p = 0; p < PIXELS; p++) {
                    const int from_y = p / W - down, at_x = p % W;
                    const int from_x = (flip ? W - 1 - at_x : at_x) - right;
                    const int inside = from_y >= 0 && from_y < H && from_x >= 0 && from_x < W;
                    const int want = inside ? i + from_y * W + from_x + 1 : 0;
                    same &= lround(image[p] * 255) == want;
                }
                if (!same) continue;
                n_matches++;
                seen[flip][down + 1][right + 1]++;
            }
            assert_int_equal(n_matches, 1);
        }
    }
    for (int form = 0; form < 18; form++) assert_true(seen[form / 9][form / 3 % 3][form % 3] > 15);
    ls_images_close(images);
}

static void test_evaluation(void **state) {
    (void)state;
    ls_images *images = open_set();
    const ls_images_options options = {.mean = 0.5, .std = 0.25, .max_shift = 2, .flip = 1};
    float pixels[16 * PIXELS];
    int32_t labels[16];
    int n = 0;
    for (int64_t first = 0; first < 64; first += 16) {
        check_ok(ls_images_evaluation(images, &options, first, 16, pixels, labels));
        for (int b = 0; b < 16; b++) {
            assert_int_equal(labels[b], first + b < N ? (first + b) % 10 : -1);
            n += labels[b] >= 0;
            const double want = first + b < N ? ((double)(first + b + 1) / 255 - 0.5) / 0.25 : 0;
            assert_true(fabs(pixels[b * PIXELS] - want) < 1e-6);
        }
    }
    assert_int_equal(n, N);
    check_fails(ls_images_evaluation(images, &options, -1, 1, pixels, labels), LS_ERR_INVALID,
                "-1");
    ls_images_close(images);
}

static void test_refused_batches(void **state) {
    (void)state;
    ls_images *images = open_set();
    float pixels[PIXELS];
    int32_t labels[1];
    static const struct {
        ls_images_options options;
        int64_t step, lane;
        const char *part;
    } cases[] = {
        {{.batch = 0}, 0, 0, "a batch of 0"},
        {{.batch = 3, .lanes = 2}, 0, 0, "multiple of the lanes"},
        {{.batch = 2, .lanes = -2}, 0, 0, "-2 lanes"},
        {{.batch = 1}, -1, 0, "step -1"},
        {{.batch = 1}, INT64_MAX, 0, "step"},
        {{.batch = 1}, 0, 1, "lane 1"},
        {{.batch = 1, .max_shift = 4}, 0, 0, "shift of up to 4"},
        {{.batch = 1, .max_shift = -1}, 0, 0, "shift of up to -1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_fails(
            ls_images_next(images, &cases[i].options, cases[i].step, cases[i].lane, pixels, labels),
            LS_ERR_INVALID, cases[i].part);
    ls_images_close(images);
}

static void test_damaged_files(void **state) {
    (void)state;
    static const struct {
        unsigned char data[24];
        size_t bytes;
        const char *part;
    } cases[] = {
        {{0}, 0, "cut off"},
        {{0, 0, 8}, 3, "cut off"},
        {{0, 0, 8, 1, 0, 0, 0, 1, 7}, 9, "begins with 00000801, wanted is 00000803"},
        {{0, 0, 13, 3}, 24, "begins with 00000d03"},
        {"PNG and so on", 14, "begins with 504e4720"},
        {{0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0}, 15, "cut off"},
        {{0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1}, 16, "dimension 1 is 0"},
        {{0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3}, 19, "promises 4 bytes"},
        {{0, 0, 8, 3, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 1, 0, 0, 0, 1}, 16, "promises 4294967295"},
        {{0, 0, 8, 3, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF},
         16,
         "dimension 1"},
        {{0x1F, 0x8B, 8, 0}, 4, "gzip"},
        {{0x1F, 0x8B, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9}, 12, "gzip"},
    };
    const files good = write_set(0), packed = write_set(1);
    ls_images *images = NULL;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_fails(ls_images_open_files(write_file("bad", cases[i].data, cases[i].bytes),
                                         good.labels, &images),
                    LS_ERR_FORMAT, cases[i].part);
    check_fails(ls_images_open_files(good.images, good.images, &images), LS_ERR_FORMAT,
                "wanted is 00000801");
    const unsigned char two[] = {0, 0, 8, 1, 0, 0, 0, 2, 1, 1};
    check_fails(ls_images_open_files(good.images, write_file("two", two, sizeof two), &images),
                LS_ERR_FORMAT, "40 images but 2 labels");
    check_fails(ls_images_open("no/such/folder", LS_IMAGES_TRAIN, &images), LS_ERR_NOT_FOUND,
                "dataset-fashion-mnist");
    check_fails(ls_images_open("examples", LS_IMAGES_TRAIN, &images), LS_ERR_NOT_FOUND,
                "train-images-idx3-ubyte");
    /* cut anywhere, a compressed file is refused (its check sum is not looked at once all pixels are there) */
    char *data = NULL;
    size_t bytes = 0;
    check_ok(ls_file_read(packed.images, &data, &bytes));
    for (size_t n = 0; n + 12 < bytes; n += 3)
        assert_int_not_equal(
            ls_images_open_files(write_file("cut.gz", data, n), good.labels, &images), LS_OK);
    ls_free(data);
}

static void test_fashion_mnist(void **state) {
    (void)state;
    if (!ls_path_is_dir(LS_FASHION_PATH)) skip();
    ls_images *train = NULL, *test = NULL;
    check_ok(ls_images_open(LS_FASHION_PATH, LS_IMAGES_TRAIN, &train));
    check_ok(ls_images_open(LS_FASHION_PATH, LS_IMAGES_TEST, &test));
    assert_int_equal(ls_images_get_info(train).n_images, 60000);
    assert_int_equal(ls_images_get_info(test).n_images, 10000);
    assert_int_equal(ls_images_get_info(test).n_classes, 10);
    double mean = 0, std = 0;
    ls_images_statistics(train, &mean, &std);
    assert_true(fabs(mean - LS_FASHION_MEAN) < 5e-5 && fabs(std - LS_FASHION_STD) < 5e-5);
    static const int32_t labels[] = {9, 0, 0, 3, 0, 2, 7, 2, 5, 5};
    for (int i = 0; i < 10; i++) assert_int_equal(ls_images_label(train, i), labels[i]);
    ls_images_close(train);
    ls_images_close(test);
}

static ls_status open_once(void *user) {
    const files *f = user;
    ls_images *images = NULL;
    LS_TRY(ls_images_open_files(f->images, f->labels, &images));
    ls_images_close(images);
    return LS_OK;
}

static void test_out_of_memory(void **state) {
    (void)state;
    files f = write_set(1);
    assert_true(check_torture(open_once, &f) > 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_both_forms), cmocka_unit_test(test_order),
        cmocka_unit_test(test_augmentation),     cmocka_unit_test(test_evaluation),
        cmocka_unit_test(test_refused_batches),  cmocka_unit_test(test_damaged_files),
        cmocka_unit_test(test_fashion_mnist),    cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
