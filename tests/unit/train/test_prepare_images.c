/* Compressed images are unpacked once; plain ones are read where they lie; what is kept is never another data set's. */
#include "base/fs.h"
#include "train/source.h"
#include "unit/base/check.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <zlib.h>

enum { N = 6, SIDE = 4, PIXELS = SIDE * SIDE };

static char folder[512], cache[600];

static const char *in_folder(const char *name) {
    static char paths[4][700];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

/* Pixels first, first + 1, ...; settled long ago unless `age` is 0. */
static void write_part(const char *part, int first, int packed, int64_t age) {
    unsigned char images[16 + N * PIXELS] = {0, 0, 8, 3, 0, 0, 0, N, 0, 0, 0, SIDE, 0, 0, 0, SIDE};
    unsigned char labels[8 + N] = {0, 0, 8, 1, 0, 0, 0, N};
    for (int i = 0; i < N; i++) labels[8 + i] = (unsigned char)(i % 3);
    for (int i = 0; i < N * PIXELS; i++) images[16 + i] = (unsigned char)(first + i);
    const struct {
        const char *kind;
        const void *data;
        unsigned bytes;
    } files[] = {{"images-idx3", images, sizeof images}, {"labels-idx1", labels, sizeof labels}};
    for (int i = 0; i < 2; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s-%s-ubyte%s", part, files[i].kind, packed ? ".gz" : "");
        gzFile file = gzopen(in_folder(name), packed ? "wb" : "wbT");
        assert_non_null(file);
        assert_int_equal(gzwrite(file, files[i].data, files[i].bytes), files[i].bytes);
        assert_int_equal(gzclose(file), Z_OK);
        const struct timespec times[2] = {{age, 0}, {age, 0}};
        assert_int_equal(utimensat(AT_FDCWD, in_folder(name), times, 0), 0);
    }
}

static ls_train_config make_config(void) {
    ls_train_config c = {0};
    c.model.kind = LS_MODEL_RESNET;
    c.data.path = folder;
    c.data.tokenizer = "bpe";
    c.data.cache = cache;
    return c;
}

static int set_up(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "%s", check_path("packed"));
    snprintf(cache, sizeof cache, "%s-cache", folder);
    check_ok(ls_dir_make(folder));
    write_part("train", 1, 1, 1000000000);
    write_part("t10k", 100, 1, 1000000000);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    if (ls_path_is_dir(cache)) check_ok(ls_dir_remove(cache));
    return ls_dir_remove(folder) == LS_OK ? 0 : 1;
}

/* Bytes that opening unpacked; the rest is as the files say. */
static int64_t open_and_check(int first, ls_prepared_images *numbers_out) {
    const ls_train_config c = make_config();
    ls_prepared_images p;
    ls_images *test = NULL;
    double mean, std;
    check_ok(ls_prepare_images(&c, &p));
    assert_int_equal(ls_images_get_info(p.train).n_images, N);
    assert_int_equal(ls_images_pixels(p.train, 0)[0], first);
    assert_int_equal(ls_images_label(p.train, 4), 1);
    ls_images_statistics(p.train, &mean, &std);
    assert_true(p.mean == mean && p.std == std && p.hash == ls_images_hash(p.train));
    check_ok(ls_images_open(p.folder, LS_IMAGES_TEST, &test));
    assert_int_equal(ls_images_pixels(test, 0)[0], 100);
    ls_images_close(test);
    const int64_t unpacked = p.unpacked_bytes;
    if (numbers_out) *numbers_out = p;
    ls_prepared_images_close(&p);
    return unpacked;
}

static void test_unpacked_once(void **state) {
    (void)state;
    ls_prepared_images first, second;
    assert_int_equal(open_and_check(1, &first), N * (PIXELS + 1));
    assert_int_equal(open_and_check(1, &second), 0);
    assert_true(first.mean == second.mean && first.std == second.std);
    assert_true(first.hash == second.hash);
    write_part("train", 1, 1, 1000000007); /* touched */
    assert_int_equal(open_and_check(1, NULL), 0);
}

static void test_changed(void **state) {
    (void)state;
    assert_true(open_and_check(1, NULL) > 0);
    write_part("train", 2, 1, 1000000000); /* the same times, and perhaps the same sizes */
    assert_true(open_and_check(2, NULL) > 0);
    assert_int_equal(open_and_check(2, NULL), 0);
}

static void test_plain(void **state) {
    (void)state;
    check_ok(ls_dir_remove(folder));
    check_ok(ls_dir_make(folder));
    write_part("train", 1, 0, 1000000000);
    write_part("t10k", 100, 0, 1000000000);
    assert_int_equal(open_and_check(1, NULL), 0);
    assert_false(ls_path_exists(cache));
}

/* No room for the cache: said, and the run goes on. */
static void test_unwritable(void **state) {
    (void)state;
    ls_fs_fail_at(-1, ENOSPC);
    assert_true(open_and_check(1, NULL) > 0);
    assert_true(open_and_check(1, NULL) > 0);
    ls_fs_fail_at(0, 0);
    assert_string_equal(ls_error_message(), "");
    assert_true(open_and_check(1, NULL) > 0);
    ls_fs_fail_at(-1, EROFS);
    assert_int_equal(open_and_check(1, NULL), 0); /* nothing is to be written */
    ls_fs_fail_at(0, 0);
}

static void test_damaged(void **state) {
    (void)state;
    char path[700];
    static const char *const texts[] = {"", "0x1p-1", "0x1p-1 nan 12\n", "0x1p-1 0x1p-2 zz\n",
                                        "0x1p-1 0x1p-2 12\n\n"};
    const ls_train_config c = make_config();
    ls_prepared_images p;
    assert_true(open_and_check(1, NULL) > 0);
    snprintf(path, sizeof path, "%s/images/statistics.txt", cache);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        check_ok(ls_file_write_atomic(path, texts[i], strlen(texts[i])));
        check_fails(ls_prepare_images(&c, &p), LS_ERR_FORMAT, "statistics.txt: wanted mean");
    }
    snprintf(path, sizeof path, "%s/images/train-images-idx3-ubyte", cache);
    assert_int_equal(truncate(path, 50), 0);
    check_fails(ls_prepare_images(&c, &p), LS_ERR_FORMAT, "cut off");
    ls_train_config nowhere = c;
    nowhere.data.path = "no/such/folder";
    check_fails(ls_prepare_images(&nowhere, &p), LS_ERR_NOT_FOUND, "no image folder");
}

static ls_status prepare(void *user) {
    ls_prepared_images p;
    LS_TRY(ls_prepare_images(user, &p));
    ls_prepared_images_close(&p);
    return LS_OK;
}

static ls_status prepare_anew(void *user) {
    char note[700];
    snprintf(note, sizeof note, "%s/images/source.txt", cache);
    (void)unlink(note);
    return prepare(user);
}

static void test_memory(void **state) {
    (void)state;
    ls_train_config c = make_config();
    assert_true(check_torture(prepare_anew, &c) > 10);
    assert_true(open_and_check(1, NULL) >= 0);
    assert_true(check_torture(prepare, &c) > 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_unpacked_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_changed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_plain, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unwritable, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damaged, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_memory, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
