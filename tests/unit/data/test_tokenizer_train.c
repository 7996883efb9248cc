#include "data/byte_level.h"
#include "data/tokenizer_impl.h"
#include "data_check.h"

enum { MAX_PAIRS = 4096, MAX_SYMBOLS = 4096 };

/* Training by the book on words divided by -1: count every pair, merge the most frequent, again and again. */
typedef struct naive {
    int32_t symbols[MAX_SYMBOLS];
    int n;
} naive;

static void load_words(naive *text, const char *words) {
    text->n = 0;
    for (const char *p = words; *p != '\0'; p++) {
        /* GPT-2's pattern puts a space before the word after it */
        if (*p == ' ') text->symbols[text->n++] = -1;
        text->symbols[text->n++] = ls_byte_gpt2_id((unsigned char)*p);
    }
}

static int count_pair(const naive *text, int32_t left, int32_t right) {
    int count = 0;
    for (int i = 0; i + 1 < text->n; i++)
        count += text->symbols[i] == left && text->symbols[i + 1] == right;
    return count;
}

static int best_pair(const naive *text, ls_merge *best) {
    int best_count = 0;
    for (int i = 0; i + 1 < text->n; i++) {
        const int32_t left = text->symbols[i], right = text->symbols[i + 1];
        if (left < 0 || right < 0) continue;
        const int count = count_pair(text, left, right);
        const int smaller = left < best->left || (left == best->left && right < best->right);
        if (count > best_count || (count == best_count && smaller)) {
            best_count = count;
            best->left = left;
            best->right = right;
        }
    }
    return best_count;
}

static void merge_pair(naive *text, ls_merge merge) {
    int k = 0;
    for (int i = 0; i < text->n; k++) {
        const int here = i + 1 < text->n && text->symbols[i] == merge.left &&
                         text->symbols[i + 1] == merge.right;
        text->symbols[k] = here ? merge.result : text->symbols[i];
        i += here ? 2 : 1;
    }
    text->n = k;
}

static ls_tokenizer *train_text(const char *text, int32_t vocab_size, int64_t min_count) {
    ls_dataset *dataset = open_dataset(write_file("train.txt", text, strlen(text)));
    const ls_tokenizer_train_options options = {.vocab_size = vocab_size, .min_count = min_count};
    ls_tokenizer *tokenizer = NULL;
    check_ok(ls_tokenizer_train(dataset, &options, &tokenizer));
    ls_dataset_close(dataset);
    return tokenizer;
}

static void check_against_naive(const char *words, int32_t vocab_size) {
    static naive text;
    load_words(&text, words);
    ls_tokenizer *tokenizer = train_text(words, vocab_size, 1);
    int32_t next = 256;
    for (int64_t rank = 0; rank < tokenizer->n_merges; rank++) {
        const ls_merge *got = &tokenizer->merges[rank];
        ls_merge want = {INT32_MAX, INT32_MAX, 0};
        assert_true(best_pair(&text, &want) > 0);
        if (got->left != want.left || got->right != want.right)
            fail_msg("merge %lld is %d+%d, wanted %d+%d", (long long)rank, got->left, got->right,
                     want.left, want.right);
        assert_true(got->result <= next);
        next += got->result == next;
        merge_pair(&text, *got);
    }
    assert_int_equal(next, vocab_size - 1);
    ls_tokenizer_destroy(tokenizer);
}

static void test_agrees_with_naive_training(void **state) {
    (void)state;
    check_against_naive("low low low lower lower newest newest newest widest widest", 271);
    check_against_naive("aaaaaaaa aaaa aaaaaaaaaaaaaaa aaa aa", 263);
    check_against_naive("abababab babababa abba baab ababababab", 270);
    char words[1500];
    for (uint64_t seed = 0; seed < 10; seed++) {
        const ls_rng_key key = {seed, 0, 3};
        for (size_t i = 0; i < sizeof words - 1; i++) {
            const int space = i > 0 && words[i - 1] != ' ' && ls_rng_below(key, 2 * i, 6) == 0;
            words[i] = space ? ' ' : "abc"[ls_rng_below(key, 2 * i + 1, 3)];
        }
        words[0] = words[sizeof words - 2] = 'a';
        words[sizeof words - 1] = '\0';
        check_against_naive(words, 330);
    }
}

static void test_layout_of_the_vocabulary(void **state) {
    (void)state;
    ls_tokenizer *tokenizer = train_text("the the the cat", 260, 2);
    assert_int_equal(ls_tokenizer_vocab_size(tokenizer), 260);
    assert_int_equal(ls_tokenizer_merge_count(tokenizer), 3);
    assert_int_equal(ls_tokenizer_eot(tokenizer), 259);
    /* h+e 3 times, then t+he 3 times, then " "+the twice */
    assert_int_equal(ls_tokenizer_find(tokenizer, "he", 2), 256);
    assert_int_equal(ls_tokenizer_find(tokenizer, "the", 3), 257);
    assert_int_equal(ls_tokenizer_find(tokenizer, " the", 4), 258);
    for (int byte = 0; byte < 256; byte++) {
        const unsigned char text = (unsigned char)byte;
        assert_int_equal(ls_tokenizer_find(tokenizer, &text, 1), ls_byte_gpt2_id(byte));
    }
    ls_tokenizer_destroy(tokenizer);
}

static void test_same_text_same_tokenizer(void **state) {
    (void)state;
    ls_tokenizer *a = train_tiny(700), *b = train_tiny(700), *c = train_tiny(701);
    assert_string_equal(ls_tokenizer_fingerprint(a), ls_tokenizer_fingerprint(b));
    assert_string_not_equal(ls_tokenizer_fingerprint(a), ls_tokenizer_fingerprint(c));
    assert_int_equal(strlen(ls_tokenizer_fingerprint(a)), 64);
    ls_tokenizer_destroy(a);
    ls_tokenizer_destroy(b);
    ls_tokenizer_destroy(c);
}

static void test_refused(void **state) {
    (void)state;
    ls_tokenizer *tokenizer = NULL;
    ls_dataset *dataset = open_dataset(write_file("few.txt", "abc abc", 7));
    ls_tokenizer_train_options options = {.vocab_size = 256};
    check_fails(ls_tokenizer_train(dataset, &options, &tokenizer), LS_ERR_INVALID, "needed is 257");
    options.vocab_size = 1 << 30;
    check_fails(ls_tokenizer_train(dataset, &options, &tokenizer), LS_ERR_INVALID, "vocabulary");
    options.vocab_size = 1000;
    check_fails(ls_tokenizer_train(dataset, &options, &tokenizer), LS_ERR_DATA,
                "no more than 259 with pairs seen at least 2 times");
    options.vocab_size = 259;
    check_ok(ls_tokenizer_train(dataset, &options, &tokenizer));
    ls_tokenizer_destroy(tokenizer);
    ls_dataset_close(dataset);
}

static void count_calls(void *user, const char *what, int64_t done, int64_t total, double rate) {
    int64_t *last = user;
    assert_string_equal(what, "merges");
    assert_true(done >= *last && done <= total && rate >= 0);
    *last = done;
}

static void test_progress(void **state) {
    (void)state;
    int64_t last = -1;
    ls_dataset *dataset = open_dataset(TINY_PATH);
    const ls_tokenizer_train_options options = {
        .vocab_size = 1024, .progress = count_calls, .progress_user = &last};
    ls_tokenizer *tokenizer = NULL;
    check_ok(ls_tokenizer_train(dataset, &options, &tokenizer));
    assert_int_equal(last, 1024 - 257);
    ls_tokenizer_destroy(tokenizer);
    ls_dataset_close(dataset);
}

/* A word of 100,000 letters is counted in pieces, not scanned whole for each merge. */
static void test_long_words(void **state) {
    (void)state;
    char *text = ls_alloc(100001);
    for (int i = 0; i < 100000; i++)
        text[i] = "abcdefgh"[ls_rng_u32((ls_rng_key){5, 0, 0}, (uint64_t)i) % 8];
    ls_tokenizer *tokenizer = train_text(text, 2000, 2);
    check_round_trip(tokenizer, text, 100000);
    ls_tokenizer_destroy(tokenizer);
    ls_free(text);
}

static ls_status train_once(void *user) {
    ls_dataset *dataset = NULL;
    LS_TRY(ls_dataset_open(user, NULL, &dataset));
    const ls_tokenizer_train_options options = {.vocab_size = 266, .min_count = 1};
    ls_tokenizer *tokenizer = NULL;
    const ls_status status = ls_tokenizer_train(dataset, &options, &tokenizer);
    ls_tokenizer_destroy(tokenizer);
    ls_dataset_close(dataset);
    return status;
}

static void test_out_of_memory(void **state) {
    (void)state;
    char path[512];
    snprintf(path, sizeof path, "%s", write_file("oom.txt", "in the end there then the", 25));
    assert_true(check_torture(train_once, path) > 40);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_agrees_with_naive_training),
        cmocka_unit_test(test_layout_of_the_vocabulary),
        cmocka_unit_test(test_same_text_same_tokenizer),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_long_words),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
