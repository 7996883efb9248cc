/* What the data tests share. */
#ifndef LS_TESTS_DATA_CHECK_H
#define LS_TESTS_DATA_CHECK_H
#include "base/fs.h"
#include "base/rng.h"
#include "lockstep/data.h"
#include "unit/base/check.h"

#define TINY_PATH "examples/data/tiny.txt"

static inline const char *write_file(const char *name, const void *data, size_t bytes) {
    const char *path = check_path(name);
    check_ok(ls_file_write_atomic(path, data, bytes));
    return path;
}

static inline ls_dataset *open_dataset(const char *path) {
    ls_dataset *dataset = NULL;
    check_ok(ls_dataset_open(path, NULL, &dataset));
    return dataset;
}

/* A tokenizer of 512 tokens trained on the shipped text. */
static inline ls_tokenizer *train_tiny(int32_t vocab_size) {
    ls_dataset *dataset = open_dataset(TINY_PATH);
    const ls_tokenizer_train_options options = {.vocab_size = vocab_size};
    ls_tokenizer *tokenizer = NULL;
    check_ok(ls_tokenizer_train(dataset, &options, &tokenizer));
    ls_dataset_close(dataset);
    return tokenizer;
}

static inline ls_ids encode(const ls_tokenizer *tokenizer, const void *text, size_t bytes) {
    ls_ids ids = {0};
    check_ok(ls_tokenizer_encode(tokenizer, text, bytes, LS_ENCODE_SPECIAL_AS_TEXT, &ids));
    return ids;
}

static inline void check_round_trip(const ls_tokenizer *tokenizer, const void *text, size_t bytes) {
    ls_ids ids = encode(tokenizer, text, bytes);
    char *back = NULL;
    size_t n = 0;
    check_ok(ls_tokenizer_decode(tokenizer, ids.data, ids.count, 1, &back, &n));
    assert_int_equal(n, bytes);
    if (bytes > 0) assert_memory_equal(back, text, bytes);
    ls_free(back);
    ls_ids_deinit(&ids);
}

#endif
