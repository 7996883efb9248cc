#include "data_check.h"

enum { MAX_IDS = 4096 };

/* ids 0 .. n-1 in documents of the lengths given (0 ends the list), so that a token tells its position. */
static ls_tokens *make_tokens(const int64_t *lengths, int32_t vocab_size, int32_t eot) {
    const ls_tokens_info info = {.vocab_size = vocab_size, .eot = eot};
    ls_tokens_writer *writer = NULL;
    ls_tokens *tokens = NULL;
    check_ok(ls_tokens_writer_begin(NULL, &info, &writer));
    for (int32_t id = 0; *lengths > 0; lengths++) {
        for (int64_t i = 0; i < *lengths; i++, id++)
            check_ok(ls_tokens_writer_append(writer, &id, 1));
        check_ok(ls_tokens_writer_end_document(writer, *lengths));
    }
    check_ok(ls_tokens_writer_finish(writer, NULL, &tokens));
    return tokens;
}

static ls_tokens *make_line(int64_t n_tokens) {
    return make_tokens((const int64_t[]){n_tokens, 0}, MAX_IDS, -1);
}

static ls_loader *make_loader(const ls_tokens *tokens, ls_loader_options options) {
    ls_loader *loader = NULL;
    check_ok(ls_loader_create(tokens, &options, &loader));
    return loader;
}

static ls_batch make_batch(int64_t n_sequences, int32_t *tokens, int32_t *targets) {
    return (ls_batch){.n_sequences = n_sequences, .tokens = tokens, .targets = targets};
}

static void test_targets_are_the_next_tokens(void **state) {
    (void)state;
    ls_tokens *tokens = make_line(100);
    ls_loader *loader =
        make_loader(tokens, (ls_loader_options){.seed = 1, .batch = 6, .lanes = 2, .window = 7});
    int32_t in[21], out[21];
    for (int64_t step = 0; step < 50; step++) {
        for (int64_t lane = 0; lane < 2; lane++) {
            ls_batch batch = make_batch(3, in, out);
            check_ok(ls_loader_next(loader, step, lane, &batch));
            assert_int_equal(batch.n_targets, 21);
            assert_int_equal(batch.n_filled, 3);
            assert_int_equal(batch.target_bytes, -1);
            for (int i = 0; i < 21; i++) {
                assert_int_equal(out[i], in[i] + 1);
                if (i % 7 > 0) assert_int_equal(in[i], in[i - 1] + 1);
            }
        }
    }
    ls_loader_destroy(loader);
    ls_loader_destroy(NULL);
    ls_tokens_close(tokens);
}

/* In each epoch each window comes once, and no target twice; all but a few targets are seen. */
static void check_epochs(int64_t n_tokens, int64_t window) {
    ls_tokens *tokens = make_line(n_tokens);
    ls_loader *loader =
        make_loader(tokens, (ls_loader_options){.seed = 7, .batch = 1, .window = window});
    const int64_t n = ls_loader_epoch_windows(loader);
    int32_t in[64], out[64];
    int shifted = 0, reordered = 0;
    int32_t first_start = -1;
    for (int64_t epoch = 0; epoch < 6; epoch++) {
        int seen[MAX_IDS] = {0};
        int32_t least = INT32_MAX, before = -1;
        for (int64_t i = 0; i < n; i++) {
            ls_batch batch = make_batch(1, in, out);
            check_ok(ls_loader_next(loader, epoch * n + i, 0, &batch));
            for (int64_t t = 0; t < window; t++)
                if (seen[out[t]]++ > 0)
                    fail_msg("target %d twice in epoch %lld", out[t], (long long)epoch);
            if (in[0] < least) least = in[0];
            reordered += in[0] < before;
            before = in[0];
        }
        int64_t n_seen = 0;
        for (int i = 0; i < MAX_IDS; i++) n_seen += seen[i];
        assert_int_equal(n_seen, n * window);
        assert_true(n_tokens - 1 - n_seen < 2 * window);
        shifted += first_start >= 0 && least != first_start;
        first_start = least;
    }
    if (n > 10) assert_true(reordered > 10);
    if (n > 1 && window > 2) assert_true(shifted > 0);
    ls_loader_destroy(loader);
    ls_tokens_close(tokens);
}

static void test_each_epoch_covers_the_text(void **state) {
    (void)state;
    check_epochs(1000, 8);
    check_epochs(4000, 64);
    check_epochs(129, 64);
    check_epochs(128, 64);
    check_epochs(65, 64); /* the smallest text for the window */
    check_epochs(66, 64);
    check_epochs(500, 1);
    check_epochs(2, 1);
}

/* Asked in any order, with any number of lanes, sample number g is the same. */
static void test_order_is_a_pure_function(void **state) {
    (void)state;
    ls_tokens *tokens = make_line(1000);
    const ls_loader_options one = {.seed = 3, .batch = 8, .lanes = 1, .window = 5};
    ls_loader *whole = make_loader(tokens, one);
    int32_t want_in[40], want_out[40], in[40], out[40];
    for (int64_t lanes = 2; lanes <= 8; lanes *= 2) {
        ls_loader_options options = one;
        options.lanes = lanes;
        ls_loader *loader = make_loader(tokens, options);
        for (int64_t step = 60; step >= 0; step -= 3) {
            ls_batch all = make_batch(8, want_in, want_out);
            check_ok(ls_loader_next(whole, step, 0, &all));
            for (int64_t lane = lanes - 1; lane >= 0; lane--) {
                ls_batch part = make_batch(8 / lanes, in, out);
                check_ok(ls_loader_next(loader, step, lane, &part));
                const size_t n = (size_t)(40 / lanes);
                assert_memory_equal(in, want_in + (size_t)lane * n, n * sizeof *in);
                assert_memory_equal(out, want_out + (size_t)lane * n, n * sizeof *out);
            }
        }
        ls_loader_destroy(loader);
    }
    ls_loader_destroy(whole);
    ls_tokens_close(tokens);
}

static void test_seed_changes_the_order(void **state) {
    (void)state;
    ls_tokens *tokens = make_line(1000);
    int32_t in[2][80], out[2][80];
    for (uint64_t seed = 0; seed < 2; seed++) {
        ls_loader *loader =
            make_loader(tokens, (ls_loader_options){.seed = seed, .batch = 16, .window = 5});
        ls_batch batch = make_batch(16, in[seed], out[seed]);
        check_ok(ls_loader_next(loader, 0, 0, &batch));
        ls_loader_destroy(loader);
    }
    assert_memory_not_equal(in[0], in[1], sizeof in[0]);
    ls_tokens_close(tokens);
}

/* The order is part of a run's identity: this changes only with a note in the change log. */
static void test_known_order(void **state) {
    (void)state;
    ls_tokens *tokens = make_line(1000);
    ls_loader *loader =
        make_loader(tokens, (ls_loader_options){.seed = 42, .batch = 8, .window = 10});
    int32_t in[80], out[80];
    ls_batch batch = make_batch(8, in, out);
    check_ok(ls_loader_next(loader, 0, 0, &batch));
    static const int32_t want[8] = {365, 585, 755, 645, 255, 685, 125, 405};
    for (int b = 0; b < 8; b++) assert_int_equal(in[10 * b], want[b]);
    ls_loader_destroy(loader);
    ls_tokens_close(tokens);
}

static void test_document_starts_are_ignored(void **state) {
    (void)state;
    static const int64_t lengths[] = {13, 1, 1, 30, 55, 0};
    const int starts[] = {0, 13, 14, 15, 45};
    ls_tokens *tokens = make_tokens(lengths, MAX_IDS, -1);
    for (int ignore = 0; ignore < 2; ignore++) {
        ls_loader *loader = make_loader(
            tokens, (ls_loader_options){
                        .seed = 1, .batch = 4, .window = 9, .ignore_across_documents = ignore});
        int32_t in[36], out[36];
        int64_t n_ignored = 0;
        for (int64_t step = 0; step < 40; step++) {
            ls_batch batch = make_batch(4, in, out);
            check_ok(ls_loader_next(loader, step, 0, &batch));
            int64_t n = 0;
            for (int i = 0; i < 36; i++) {
                int is_start = 0;
                for (int d = 1; d < 5; d++) is_start |= in[i] + 1 == starts[d];
                assert_int_equal(out[i], ignore && is_start ? LS_TARGET_IGNORE : in[i] + 1);
                n += out[i] >= 0;
            }
            assert_int_equal(batch.n_targets, n);
            n_ignored += 36 - n;
        }
        assert_int_equal(n_ignored > 0, ignore);
        ls_loader_destroy(loader);
    }
    ls_tokens_close(tokens);
}

/* Every token a target exactly once, in order, whatever the batch; padding has no targets. */
static void check_evaluation(int64_t n_tokens, int64_t window, int64_t rows, int32_t eot) {
    ls_tokens *tokens = make_tokens((const int64_t[]){n_tokens, 0}, MAX_IDS, eot);
    ls_loader *loader = make_loader(tokens, (ls_loader_options){.window = window});
    int32_t in[256], out[256];
    int64_t next = eot < 0, n_targets = 0, n_filled = 0, n_rows = 0;
    const int64_t n_windows = ls_loader_evaluation_windows(loader);
    for (int64_t first = 0; first < n_windows + rows; first += rows) {
        ls_batch batch = make_batch(rows, in, out);
        check_ok(ls_loader_evaluation(loader, first, &batch));
        for (int64_t i = 0; i < rows * window; i++) {
            if (out[i] == LS_TARGET_IGNORE) {
                assert_int_equal(in[i], 0);
                continue;
            }
            assert_int_equal(out[i], next);
            assert_int_equal(in[i], next == 0 ? eot : next - 1);
            next++;
        }
        n_targets += batch.n_targets;
        n_filled += batch.n_filled;
        n_rows += rows;
    }
    assert_int_equal(next, n_tokens);
    assert_int_equal(n_targets, n_tokens - (eot < 0));
    assert_int_equal(n_targets, ls_loader_evaluation_targets(loader));
    assert_int_equal(n_filled, n_windows);
    assert_true(n_rows >= n_windows);
    ls_loader_destroy(loader);
    ls_tokens_close(tokens);
}

static void test_evaluation_covers_every_token_once(void **state) {
    (void)state;
    for (int64_t n = 2; n < 60; n += 5)
        for (int64_t rows = 1; rows < 5; rows++) {
            check_evaluation(n, 8, rows, -1);
            check_evaluation(n, 8, rows, MAX_IDS - 1);
            check_evaluation(n, 1, rows, -1);
        }
}

/* The bytes of an evaluation's targets are the bytes of the text. */
static void test_bytes_are_exact(void **state) {
    (void)state;
    ls_tokenizer *tokenizer = train_tiny(500), *other = train_tiny(400);
    const ls_dataset_options held = {.begin = LS_SPLIT_HELD_BEGIN, .end = 1};
    ls_dataset *dataset = NULL;
    ls_tokens *tokens = NULL;
    check_ok(ls_dataset_open(TINY_PATH, &held, &dataset));
    const ls_tokens_options with_eot = {.append_eot = 1};
    check_ok(ls_tokens_encode(dataset, tokenizer, &with_eot, &tokens));
    ls_loader_options options = {.batch = 1, .window = 32, .tokenizer = tokenizer};
    ls_loader *loader = make_loader(tokens, options);
    static int32_t in[32 * 16], out[32 * 16];
    int64_t bytes = 0, targets = 0;
    for (int64_t first = 0; first < ls_loader_evaluation_windows(loader); first += 16) {
        ls_batch batch = make_batch(16, in, out);
        check_ok(ls_loader_evaluation(loader, first, &batch));
        bytes += batch.target_bytes;
        targets += batch.n_targets;
    }
    assert_int_equal(bytes, ls_tokens_get_info(tokens).n_text_bytes);
    assert_int_equal(bytes, (91796 + 19) / 20);
    assert_int_equal(targets, ls_tokens_get_info(tokens).n_tokens);
    ls_loader_destroy(loader);
    options.tokenizer = other;
    check_fails(ls_loader_create(tokens, &options, &loader), LS_ERR_INVALID,
                "the tokens were made with tokenizer");
    ls_tokens_close(tokens);
    ls_dataset_close(dataset);
    ls_tokenizer_destroy(tokenizer);
    ls_tokenizer_destroy(other);
}

static void test_refused(void **state) {
    (void)state;
    ls_tokens *tokens = make_line(20);
    static const struct {
        ls_loader_options options;
        ls_status code;
        const char *part;
    } cases[] = {
        {{.batch = 4, .lanes = 3, .window = 4}, LS_ERR_INVALID, "multiple of the lanes"},
        {{.batch = -4, .window = 4}, LS_ERR_INVALID, "a batch of -4"},
        {{.batch = 4, .lanes = -1, .window = 4}, LS_ERR_INVALID, "-1 lanes"},
        {{.batch = INT64_MAX, .window = 4}, LS_ERR_INVALID, "multiple"},
        {{.batch = 4, .window = 0}, LS_ERR_INVALID, "a window of 0"},
        {{.batch = 4, .window = -5}, LS_ERR_INVALID, "a window of -5"},
        {{.batch = 4, .window = INT64_MAX}, LS_ERR_INVALID, "a window of"},
        {{.batch = 4, .window = 20}, LS_ERR_DATA, "needs at least 21"},
    };
    ls_loader *loader = NULL;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_fails(ls_loader_create(tokens, &cases[i].options, &loader), cases[i].code,
                    cases[i].part);
    loader = make_loader(tokens, (ls_loader_options){.batch = 4, .lanes = 2, .window = 4});
    int32_t in[16], out[16];
    ls_batch batch = make_batch(2, in, out);
    check_fails(ls_loader_next(loader, -1, 0, &batch), LS_ERR_INVALID, "step -1");
    check_fails(ls_loader_next(loader, 0, 2, &batch), LS_ERR_INVALID, "lane 2");
    check_fails(ls_loader_next(loader, 0, -1, &batch), LS_ERR_INVALID, "lane -1");
    check_fails(ls_loader_next(loader, INT64_MAX, 0, &batch), LS_ERR_INVALID, "step");
    check_ok(ls_loader_next(loader, INT64_MAX / 4 - 1, 1, &batch));
    check_fails(ls_loader_evaluation(loader, -1, &batch), LS_ERR_INVALID, "windows -1");
    check_ok(ls_loader_evaluation(loader, INT64_MAX, &batch));
    assert_int_equal(batch.n_targets, 0);
    batch.n_sequences = 4;
    check_fails(ls_loader_next(loader, 0, 0, &batch), LS_ERR_INVALID, "a lane has 2");
    ls_loader_destroy(loader);
    loader = make_loader(tokens, (ls_loader_options){.window = 4});
    check_fails(ls_loader_next(loader, 0, 0, &batch), LS_ERR_INVALID, "for evaluation only");
    ls_loader_destroy(loader);
    ls_tokens *single = make_line(1);
    check_fails(ls_loader_create(single, &(ls_loader_options){.window = 4}, &loader), LS_ERR_DATA,
                "single token");
    ls_tokens_close(single);
    ls_tokens_close(tokens);
}

static ls_status create_once(void *user) {
    const ls_loader_options *options = user;
    const ls_tokens_info info = {.vocab_size = 256, .eot = -1};
    const int32_t ids[] = {1, 2, 3};
    ls_tokens_writer *writer = NULL;
    ls_tokens *tokens = NULL;
    ls_loader *loader = NULL;
    LS_TRY(ls_tokens_writer_begin(NULL, &info, &writer));
    ls_status status = ls_tokens_writer_append(writer, ids, 3);
    if (status != LS_OK) {
        ls_tokens_writer_abort(writer);
        return status;
    }
    LS_TRY(ls_tokens_writer_finish(writer, NULL, &tokens));
    status = ls_loader_create(tokens, options, &loader);
    ls_loader_destroy(loader);
    ls_tokens_close(tokens);
    return status;
}

static void test_out_of_memory(void **state) {
    (void)state;
    ls_tokenizer *tokenizer = NULL;
    check_ok(ls_tokenizer_create_bytes(0, &tokenizer));
    ls_loader_options options = {.batch = 1, .window = 2, .tokenizer = tokenizer};
    assert_true(check_torture(create_once, &options) > 4);
    ls_tokenizer_destroy(tokenizer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_targets_are_the_next_tokens),
        cmocka_unit_test(test_each_epoch_covers_the_text),
        cmocka_unit_test(test_order_is_a_pure_function),
        cmocka_unit_test(test_seed_changes_the_order),
        cmocka_unit_test(test_known_order),
        cmocka_unit_test(test_document_starts_are_ignored),
        cmocka_unit_test(test_evaluation_covers_every_token_once),
        cmocka_unit_test(test_bytes_are_exact),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
