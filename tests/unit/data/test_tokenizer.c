#include "data/tokenizer_impl.h"
#include "data_check.h"

/* The encoder, whose look-ups of pairs are counted, and end the test when they are too many. */
static int64_t n_lookups, most_lookups = INT64_MAX;

static int32_t count_lookup(const ls_tokenizer *tokenizer, int32_t left, int32_t right) {
    const int64_t most = most_lookups;
    if (++n_lookups > most) {
        most_lookups = INT64_MAX;
        fail_msg("more than %lld look-ups", (long long)most);
    }
    return ls_tokenizer_rank(tokenizer, left, right);
}

#define ls_tokenizer_rank count_lookup
#include "data/tokenizer_encode.c"
#undef ls_tokenizer_rank

static void test_bytes(void **state) {
    (void)state;
    ls_tokenizer *tokenizer = NULL;
    check_ok(ls_tokenizer_create_bytes(0, &tokenizer));
    assert_int_equal(ls_tokenizer_vocab_size(tokenizer), 256);
    assert_int_equal(ls_tokenizer_eot(tokenizer), -1);
    ls_ids ids = encode(tokenizer, "\0a\xFF", 3);
    assert_int_equal(ids.count, 3);
    assert_int_equal(ids.data[0], 0);
    assert_int_equal(ids.data[1], 'a');
    assert_int_equal(ids.data[2], 255);
    ls_ids_deinit(&ids);
    ls_tokenizer_destroy(tokenizer);
    check_ok(ls_tokenizer_create_bytes(1, &tokenizer));
    assert_int_equal(ls_tokenizer_vocab_size(tokenizer), 257);
    assert_int_equal(ls_tokenizer_eot(tokenizer), 256);
    assert_int_equal(ls_tokenizer_find(tokenizer, LS_EOT_TEXT, strlen(LS_EOT_TEXT)), 256);
    assert_int_equal(ls_tokenizer_find(tokenizer, "b", 1), 'b');
    assert_int_equal(ls_tokenizer_find(tokenizer, "bb", 2), -1);
    assert_true(ls_tokenizer_is_special(tokenizer, 256));
    assert_false(ls_tokenizer_is_special(tokenizer, 0));
    assert_false(ls_tokenizer_is_special(tokenizer, 257));
    ls_tokenizer_destroy(tokenizer);
    ls_tokenizer_destroy(NULL);
}

static void test_special_tokens(void **state) {
    (void)state;
    static const char text[] = "<|endoftext|>a<|endoftext|><|endoftext|";
    ls_tokenizer *tokenizer = train_tiny(300);
    const int32_t eot = ls_tokenizer_eot(tokenizer);
    assert_int_equal(eot, 299);
    ls_ids ids = {0};
    check_ok(ls_tokenizer_encode(tokenizer, text, sizeof text - 1, LS_ENCODE_SPECIAL_PARSE, &ids));
    assert_int_equal(ids.data[0], eot);
    assert_int_equal(ids.data[2], eot);
    int n = 0;
    for (int64_t i = 0; i < ids.count; i++) n += ids.data[i] == eot;
    assert_int_equal(n, 2);
    char *back = NULL;
    size_t bytes = 0;
    check_ok(ls_tokenizer_decode(tokenizer, ids.data, ids.count, 1, &back, &bytes));
    assert_string_equal(back, text);
    ls_free(back);
    check_ok(ls_tokenizer_decode(tokenizer, ids.data, ids.count, 0, &back, &bytes));
    assert_string_equal(back, "a<|endoftext|");
    ls_free(back);
    ls_ids_deinit(&ids);
    ids = encode(tokenizer, text, sizeof text - 1);
    for (int64_t i = 0; i < ids.count; i++) assert_int_not_equal(ids.data[i], eot);
    ls_ids_deinit(&ids);
    check_round_trip(tokenizer, text, sizeof text - 1);
    ls_tokenizer_destroy(tokenizer);
}

static void test_decode_refuses_unknown_ids(void **state) {
    (void)state;
    ls_tokenizer *tokenizer = NULL;
    check_ok(ls_tokenizer_create_bytes(0, &tokenizer));
    char *text = NULL;
    size_t bytes = 0;
    check_fails(ls_tokenizer_decode(tokenizer, (const int32_t[]){65, 256}, 2, 1, &text, &bytes),
                LS_ERR_DATA, "token id 256 at position 1");
    check_fails(ls_tokenizer_decode(tokenizer, (const int32_t[]){-1}, 1, 1, &text, &bytes),
                LS_ERR_DATA, "token id -1 at position 0");
    assert_null(ls_tokenizer_token(tokenizer, 256, &bytes));
    check_ok(ls_tokenizer_decode(tokenizer, NULL, 0, 1, &text, &bytes));
    assert_string_equal(text, "");
    ls_free(text);
    ls_tokenizer_destroy(tokenizer);
}

/* Random bytes of several kinds: any, UTF-8-like, few different ones, spaces and letters. */
static void fill_random(uint64_t seed, int kind, unsigned char *out, size_t bytes) {
    static const char *const alphabets[] = {NULL, "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80 a", "ab",
                                            "the LORD God\n 1:'s"};
    const ls_rng_key key = {seed, (uint64_t)kind, 1};
    for (size_t i = 0; i < bytes; i++) {
        const uint32_t draw = ls_rng_u32(key, i);
        const char *alphabet = alphabets[kind];
        out[i] =
            (unsigned char)(alphabet == NULL ? draw : (uint32_t)alphabet[draw % strlen(alphabet)]);
    }
}

static void test_round_trip_of_random_bytes(void **state) {
    (void)state;
    ls_tokenizer *tokenizer = train_tiny(600);
    unsigned char text[700];
    for (uint64_t seed = 0; seed < 300; seed++) {
        for (int kind = 0; kind < 4; kind++) {
            const size_t bytes = seed < 20 ? seed : (seed * 37) % sizeof text;
            fill_random(seed, kind, text, bytes);
            check_round_trip(tokenizer, text, bytes);
        }
    }
    ls_tokenizer_destroy(tokenizer);
}

/* Merging by the book: the pair with the lowest rank, leftmost first, again and again. */
static void merge_naively(const ls_tokenizer *tokenizer, ls_ids *ids) {
    for (;;) {
        int64_t best = -1;
        int32_t best_rank = INT32_MAX;
        for (int64_t i = 0; i + 1 < ids->count; i++) {
            const int32_t rank = ls_tokenizer_rank(tokenizer, ids->data[i], ids->data[i + 1]);
            if (rank >= 0 && rank < best_rank) {
                best_rank = rank;
                best = i;
            }
        }
        if (best < 0) return;
        ids->data[best] = tokenizer->merges[best_rank].result;
        memmove(ids->data + best + 1, ids->data + best + 2,
                (size_t)(ids->count - best - 2) * sizeof *ids->data);
        ids->count--;
    }
}

static void test_agrees_with_naive_merging(void **state) {
    (void)state;
    ls_tokenizer *tokenizer = train_tiny(800);
    char word[400];
    for (uint64_t seed = 0; seed < 200; seed++) {
        /* letters only: one word for the pattern */
        const ls_rng_key key = {seed, 0, 2};
        const size_t bytes = 1 + ls_rng_below(key, 1000, sizeof word - 1);
        for (size_t i = 0; i < bytes; i++)
            word[i] = "etaoinshrdlu"[ls_rng_below(key, i, seed % 3 == 0 ? 2 : 12)];
        ls_ids want = {0}, got = encode(tokenizer, word, bytes);
        for (size_t i = 0; i < bytes; i++)
            check_ok(ls_ids_append(&want, &tokenizer->byte_ids[(unsigned char)word[i]], 1));
        merge_naively(tokenizer, &want);
        assert_int_equal(got.count, want.count);
        assert_memory_equal(got.data, want.data, (size_t)want.count * sizeof *want.data);
        ls_ids_deinit(&want);
        ls_ids_deinit(&got);
    }
    ls_tokenizer_destroy(tokenizer);
}

/* Encoding with one encoder, whose cache is warm, or anew gives the same ids. */
static void test_cache_changes_nothing(void **state) {
    (void)state;
    ls_tokenizer *tokenizer = train_tiny(512);
    ls_encoder *encoder = NULL;
    check_ok(ls_encoder_create(tokenizer, &encoder));
    char *text = NULL;
    size_t bytes = 0;
    check_ok(ls_file_read(TINY_PATH, &text, &bytes));
    ls_ids once = encode(tokenizer, text, bytes), again = {0};
    for (int round = 0; round < 2; round++) {
        again.count = 0;
        check_ok(ls_encoder_encode(encoder, text, bytes, LS_ENCODE_SPECIAL_AS_TEXT, &again));
        assert_int_equal(again.count, once.count);
        assert_memory_equal(again.data, once.data, (size_t)once.count * sizeof *once.data);
    }
    ls_encoder_destroy(encoder);
    ls_encoder_destroy(NULL);
    ls_ids_deinit(&once);
    ls_ids_deinit(&again);
    ls_free(text);
    ls_tokenizer_destroy(tokenizer);
}

/* Runs without a space: a word of n bytes has n - 1 pairs, and each of at most n - 1 merges makes two more. Merging that looks at the whole
 * word for each merge would look at a hundred thousand times as many. */
static void test_hostile_runs_take_linear_work(void **state) {
    (void)state;
    ls_tokenizer *tokenizer = train_tiny(1000);
    const size_t bytes = 1 << 20;
    unsigned char *text = ls_alloc(bytes);
    for (int kind = 0; kind < 5; kind++) {
        for (size_t i = 0; i < bytes; i++) {
            const uint32_t draw = ls_rng_u32((ls_rng_key){1, 0, (uint64_t)kind}, i);
            text[i] = (unsigned char)(kind == 0   ? 'e'
                                      : kind == 1 ? ' '
                                      : kind == 2 ? (unsigned char)"thea"[draw % 4]
                                      : kind == 3 ? 0x80 + draw % 64
                                                  : (unsigned char)"\xE2\x80"[i % 2]);
        }
        n_lookups = 0;
        most_lookups = 3 * (int64_t)bytes;
        check_round_trip(tokenizer, text, bytes);
        most_lookups = INT64_MAX;
        if (n_lookups == 0) fail_msg("kind %d: nothing was looked up", kind);
    }
    ls_free(text);
    ls_tokenizer_destroy(tokenizer);
}

static void test_failure_leaves_ids_alone(void **state) {
    (void)state;
    static const char file[] =
        "{\"added_tokens\":[],\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"model\":"
        "{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}}";
    ls_tokenizer *tokenizer = NULL;
    check_ok(ls_tokenizer_parse(file, sizeof file - 1, "three tokens", &tokenizer));
    ls_ids ids = encode(tokenizer, "abba", 4);
    assert_int_equal(ids.count, 3);
    check_fails(ls_tokenizer_encode(tokenizer, "ab c", 4, LS_ENCODE_SPECIAL_AS_TEXT, &ids),
                LS_ERR_DATA, "byte 0x20 has no token");
    assert_int_equal(ids.count, 3);
    ls_ids_deinit(&ids);
    ls_tokenizer_destroy(tokenizer);
}

static ls_status encode_text(void *user) {
    ls_ids ids = {0};
    char *text = NULL;
    size_t bytes = 0;
    ls_status status = ls_tokenizer_encode(user, "In the beginning God created<|endoftext|>\xFF",
                                           42, LS_ENCODE_SPECIAL_PARSE, &ids);
    if (status == LS_OK) status = ls_tokenizer_decode(user, ids.data, ids.count, 1, &text, &bytes);
    ls_free(text);
    ls_ids_deinit(&ids);
    return status;
}

static ls_status make_bytes(void *user) {
    (void)user;
    ls_tokenizer *tokenizer = NULL;
    LS_TRY(ls_tokenizer_create_bytes(1, &tokenizer));
    ls_tokenizer_destroy(tokenizer);
    return LS_OK;
}

static void test_out_of_memory(void **state) {
    (void)state;
    ls_tokenizer *tokenizer = train_tiny(400);
    assert_true(check_torture(encode_text, tokenizer) > 8);
    ls_tokenizer_destroy(tokenizer);
    assert_true(check_torture(make_bytes, NULL) > 8);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_special_tokens),
        cmocka_unit_test(test_decode_refuses_unknown_ids),
        cmocka_unit_test(test_round_trip_of_random_bytes),
        cmocka_unit_test(test_agrees_with_naive_merging),
        cmocka_unit_test(test_cache_changes_nothing),
        cmocka_unit_test(test_hostile_runs_take_linear_work),
        cmocka_unit_test(test_failure_leaves_ids_alone),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
