/* Files as a disk, a network or a stranger leaves them: every reader is given its file with a byte changed at each place, and cut at each
 * length. It reads what is there or fails with a sentence that names the file; nothing crashes, nothing leaks.
 *
 * labels: slow timeout=300 */
#include "lockstep/images.h"
#include "unit/base/mangled.h"
#include "unit/data/data_check.h"
#include <zlib.h>
#include <zstd.h>

typedef struct reader {
    const char *name; /* of the file, whose ending counts */
    ls_status (*read)(const char *path);
    int is_whole; /* the format tells when its file was cut off */
    int has_hash; /* and when a byte was changed from this one on */
    size_t hashed_from;
} reader;

/* --- readers --- */

static ls_status take_document(void *user, const ls_document *document) {
    unsigned char *sum = user;
    for (size_t i = 0; i < document->bytes; i++) *sum = (unsigned char)(*sum + document->text[i]);
    return LS_OK;
}

static ls_status read_dataset(const char *path) {
    ls_dataset *dataset = NULL;
    int64_t n_documents = 0, n_bytes = 0;
    unsigned char sum = 0;
    LS_TRY(ls_dataset_open(path, NULL, &dataset));
    ls_status status = ls_dataset_each(dataset, take_document, &sum);
    if (status == LS_OK) status = ls_dataset_size(dataset, &n_documents, &n_bytes);
    ls_dataset_close(dataset);
    return status;
}

static ls_status read_tokenizer(const char *path) {
    static const char text[] = "the quick <|endoftext|> \xff\xc3\xa9 \n brown";
    ls_tokenizer *tokenizer = NULL;
    ls_ids ids = {0};
    char *back = NULL;
    size_t n = 0;
    LS_TRY(ls_tokenizer_open(path, &tokenizer));
    const ls_status status =
        ls_tokenizer_encode(tokenizer, text, sizeof text - 1, LS_ENCODE_SPECIAL_AS_TEXT, &ids);
    for (int64_t i = 0; status == LS_OK && i < ids.count; i++)
        assert_true(ids.data[i] >= 0 && ids.data[i] < ls_tokenizer_vocab_size(tokenizer));
    if (status == LS_OK) {
        check_ok(ls_tokenizer_decode(tokenizer, ids.data, ids.count, 1, &back, &n));
        assert_int_equal(n, sizeof text - 1);
        assert_memory_equal(back, text, n);
    }
    ls_free(back);
    ls_ids_deinit(&ids);
    ls_tokenizer_destroy(tokenizer);
    return status;
}

static ls_status read_tokens(const char *path) {
    ls_tokens *tokens = NULL;
    LS_TRY(ls_tokens_open(path, &tokens));
    const ls_status status = ls_tokens_verify(tokens);
    ls_tokens_close(tokens);
    return status;
}

/* The labels lie beside the pixels, whole. */
static ls_status read_images(const char *path) {
    char labels[600];
    ls_images *images = NULL;
    snprintf(labels, sizeof labels, "%s-labels", path);
    LS_TRY(ls_images_open_files(path, labels, &images));
    const ls_images_info info = ls_images_get_info(images);
    assert_true(info.n_images == 3 && info.n_classes <= 3);
    (void)ls_images_hash(images);
    ls_images_close(images);
    return LS_OK;
}

/* --- good files --- */

enum { MOST_BYTES = 1 << 16 };
static unsigned char good[MOST_BYTES];
static size_t n_good;

static void take_good(const void *data, size_t bytes) {
    assert_true(bytes <= MOST_BYTES);
    memcpy(good, data, bytes);
    n_good = bytes;
}

static const char lines[] = "{\"text\": \"one \\u00e9 line\"}\n{\"id\": 2, \"text\": \"and \\n "
                            "another\", \"more\": [1, {\"a\": null}]}\n";

static void make_zstd(const char *text) {
    char packed[4096];
    const size_t n = ZSTD_compress(packed, sizeof packed, text, strlen(text), 3);
    assert_false(ZSTD_isError(n));
    take_good(packed, n);
}

static void make_tokenizer(void) {
    ls_tokenizer *tokenizer = train_tiny(270);
    char *text = NULL;
    size_t n = 0;
    check_ok(ls_tokenizer_to_text(tokenizer, &text, &n));
    take_good(text, n);
    ls_free(text);
    ls_tokenizer_destroy(tokenizer);
}

static void make_tokens(void) {
    const char *text = write_file("mangled.txt", "some words to encode", 20);
    const char *path = check_path("good.tok");
    ls_tokenizer *tokenizer = NULL;
    ls_dataset *dataset = open_dataset(text);
    const ls_tokens_options options = {0};
    ls_tokens_info info;
    char *data = NULL;
    size_t n = 0;
    check_ok(ls_tokenizer_create_bytes(0, &tokenizer));
    check_ok(ls_tokens_encode_file(dataset, tokenizer, &options, path, &info));
    check_ok(ls_file_read(path, &data, &n));
    take_good(data, n);
    ls_free(data);
    ls_dataset_close(dataset);
    ls_tokenizer_destroy(tokenizer);
    unlink(path);
    unlink(text);
}

static void make_images(const char *path, int packed) {
    static const unsigned char labels[] = {0, 0, 8, 1, 0, 0, 0, 3, 0, 1, 2};
    unsigned char images[16 + 3 * 4] = {0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 2};
    char label_path[600];
    for (int i = 0; i < 12; i++) images[16 + i] = (unsigned char)(20 * i);
    snprintf(label_path, sizeof label_path, "%s-labels", path);
    check_ok(ls_file_write_atomic(label_path, labels, sizeof labels));
    gzFile file = gzopen(path, packed ? "wb" : "wbT");
    assert_non_null(file);
    assert_int_equal(gzwrite(file, images, sizeof images), (int)sizeof images);
    assert_int_equal(gzclose(file), Z_OK);
    char *data = NULL;
    size_t n = 0;
    check_ok(ls_file_read(path, &data, &n));
    take_good(data, n);
    ls_free(data);
}

/* --- mangling --- */

static ls_status call_reader(void *user, const char *path) {
    return ((const reader *)user)->read(path);
}

/* How the reader takes the bytes. */
static ls_status try_bytes(const reader *r, const char *path, const void *data, size_t bytes,
                           const char *how, size_t at) {
    char what[128];
    reader self = *r;
    snprintf(what, sizeof what, "%s, %s at %zu", r->name, how, at);
    const ls_status status = read_mangled(path, data, bytes, call_reader, &self, what);
    if (status == LS_OK) return status;
    if (!strstr(ls_error_message(), r->name) || strlen(ls_error_message()) < strlen(r->name) + 8)
        fail_msg("%s, %s at %zu: \"%s\"", r->name, how, at, ls_error_message());
    if (status == LS_ERR_INTERNAL || status == LS_ERR_NO_MEMORY)
        fail_msg("%s, %s at %zu: %s", r->name, how, at, ls_status_words(status));
    return status;
}

static void mangle(const reader *r, size_t stride) {
    static const unsigned char masks[] = {0x01, 0x80, 0xff};
    char path[512];
    snprintf(path, sizeof path, "%s", check_path(r->name));
    static unsigned char bytes[MOST_BYTES];
    check_ok(try_bytes(r, path, good, n_good, "nothing", 0));
    for (size_t at = 0; at < n_good; at += stride) {
        for (size_t m = 0; m < sizeof masks; m++) {
            memcpy(bytes, good, n_good);
            bytes[at] ^= masks[m];
            (void)try_bytes(r, path, bytes, n_good, "a changed byte", at);
        }
        if (r->has_hash && at >= r->hashed_from) {
            memcpy(bytes, good, n_good);
            bytes[at] ^= 0x10;
            if (try_bytes(r, path, bytes, n_good, "a changed byte", at) == LS_OK)
                fail_msg("%s changed at %zu is taken", r->name, at);
        }
        const ls_status cut = try_bytes(r, path, good, at, "the end", at);
        if (r->is_whole && cut == LS_OK) fail_msg("%s cut at %zu is taken", r->name, at);
    }
    /* Something behind the end. */
    memcpy(bytes, good, n_good);
    memset(bytes + n_good, 'x', 8);
    (void)try_bytes(r, path, bytes, n_good + 8, "more", n_good);
    unlink(path);
}

static void test_texts(void **state) {
    (void)state;
    take_good("plain \xc3\xa9\n\ntext", 14);
    mangle(&(reader){.name = "mangled.txt", .read = read_dataset, .is_whole = 0}, 1);
    take_good(lines, sizeof lines - 1);
    mangle(&(reader){.name = "mangled.jsonl", .read = read_dataset, .is_whole = 0}, 1);
    make_zstd(lines);
    mangle(&(reader){.name = "mangled.jsonl.zst", .read = read_dataset, .is_whole = 1}, 1);
    make_zstd("plain text, packed");
    mangle(&(reader){.name = "mangled.txt.zst", .read = read_dataset, .is_whole = 1}, 1);
}

static void test_tokenizer(void **state) {
    (void)state;
    make_tokenizer();
    mangle(&(reader){.name = "mangled.json", .read = read_tokenizer, .is_whole = 0}, 17);
}

/* Also what no checksum covers is refused: every byte counts. */
static void test_tokens(void **state) {
    (void)state;
    make_tokens();
    mangle(&(reader){"mangled.tok", read_tokens, 1, 1, 0}, 1);
}

static void test_images(void **state) {
    (void)state;
    for (int packed = 0; packed < 2; packed++) {
        /* gzip's own header is not covered */
        const reader r = {packed ? "mangled.gz" : "mangled", read_images, 1, packed, 10};
        char path[512], labels[600];
        snprintf(path, sizeof path, "%s", check_path(r.name));
        snprintf(labels, sizeof labels, "%s-labels", path);
        make_images(path, packed);
        mangle(&r, 1);
        unlink(labels);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_tokenizer),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_images),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
