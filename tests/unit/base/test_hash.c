#include "base/hash.h"
#include "unit/base/check.h"

static void hash_in_pieces(const char *text, size_t piece, char hex[65]) {
    ls_sha256 *sha;
    check_ok(ls_sha256_create(&sha));
    const size_t n = strlen(text);
    for (size_t at = 0; at < n; at += piece)
        check_ok(ls_sha256_update(sha, text + at, n - at < piece ? n - at : piece));
    check_ok(ls_sha256_finish(sha, hex));
    ls_sha256_destroy(sha);
}

/* Vectors of FIPS 180-4's examples, and of the empty message. */
static void test_sha256_known_answers(void **state) {
    (void)state;
    static const struct {
        const char *text, *hex;
    } cases[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (size_t piece = 1; piece < 60; piece += 13) {
            char hex[65];
            hash_in_pieces(cases[i].text, piece, hex);
            assert_string_equal(hex, cases[i].hex);
        }
}

static void test_finished_state_is_not_reusable(void **state) {
    (void)state;
    ls_sha256 *sha;
    char hex[65];
    check_ok(ls_sha256_create(&sha));
    check_ok(ls_sha256_finish(sha, hex));
    check_fails(ls_sha256_finish(sha, hex), LS_ERR_INTERNAL, "once");
    check_fails(ls_sha256_update(sha, "a", 1), LS_ERR_INTERNAL, "1 bytes");
    ls_sha256_destroy(sha);
    ls_sha256_destroy(NULL);
}

static ls_status hash_once(void *user) {
    (void)user;
    ls_sha256 *sha;
    char hex[65];
    LS_TRY(ls_sha256_create(&sha));
    ls_status status = ls_sha256_update(sha, "abc", 3);
    if (status == LS_OK) status = ls_sha256_finish(sha, hex);
    ls_sha256_destroy(sha);
    return status;
}

static void test_torture(void **state) {
    (void)state;
    assert_int_equal(check_torture(hash_once, NULL), 1);
}

/* Values published with xxHash's specification (sanity checks of XXH3_64bits). */
static void test_xxh3_known_answers(void **state) {
    (void)state;
    assert_true(ls_xxh3("", 0, 0) == 0x2D06800538D394C2u);
    assert_true(ls_xxh3("abc", 3, 0) != ls_xxh3("abc", 3, 1));
    assert_true(ls_xxh3("abc", 3, 0) != ls_xxh3("abd", 3, 0));
    assert_true(ls_xxh3("abc", 3, 0) == 0x78AF5F94892F3950u);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256_known_answers),
        cmocka_unit_test(test_finished_state_is_not_reusable),
        cmocka_unit_test(test_torture),
        cmocka_unit_test(test_xxh3_known_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
