/* Trains a byte-level BPE tokenizer on a text, encodes the text, decodes it again and compares.
 * usage: tokenize [TEXT [VOCABULARY]]   (run from the repository's root: TEXT is examples/data/tiny.txt unless given) */
#include "lockstep/dataset.h"
#include "lockstep/memory.h"
#include "lockstep/tokenizer.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN = 12 };

/* The first tokens, each in brackets. */
static void print_tokens(const ls_tokenizer *tokenizer, const ls_ids *ids) {
    for (int64_t i = 0; i < ids->count && i < SHOWN; i++) {
        size_t bytes;
        const unsigned char *text = ls_tokenizer_token(tokenizer, ids->data[i], &bytes);
        printf("[%.*s]", (int)bytes, (const char *)text);
    }
    puts(" ...");
}

static ls_status round_trip(const ls_tokenizer *tokenizer, const char *text, size_t bytes,
                            ls_ids *ids) {
    LS_TRY(ls_tokenizer_encode(tokenizer, text, bytes, LS_ENCODE_SPECIAL_AS_TEXT, ids));
    print_tokens(tokenizer, ids);
    printf("%zu bytes in %lld tokens: %.2f bytes a token\n", bytes, (long long)ids->count,
           (double)bytes / (double)ids->count);
    char *again = NULL;
    size_t again_bytes = 0;
    LS_TRY(ls_tokenizer_decode(tokenizer, ids->data, ids->count, 0, &again, &again_bytes));
    const int same = again_bytes == bytes && memcmp(again, text, bytes) == 0;
    ls_free(again);
    if (!same) return LS_FAIL(LS_ERR_DATA, "decoding does not give the text back");
    puts("decoded: the same bytes");
    return LS_OK;
}

static ls_status use_dataset(ls_dataset *dataset, int32_t vocabulary) {
    const ls_tokenizer_train_options options = {.vocab_size = vocabulary};
    ls_tokenizer *tokenizer = NULL;
    LS_TRY(ls_tokenizer_train(dataset, &options, &tokenizer));
    printf("%lld merges learned; fingerprint %.16s...\n",
           (long long)ls_tokenizer_merge_count(tokenizer), ls_tokenizer_fingerprint(tokenizer));
    char *text = NULL;
    size_t bytes = 0;
    ls_ids ids = {0};
    ls_status status = ls_dataset_read(dataset, &text, &bytes);
    if (status == LS_OK) status = round_trip(tokenizer, text, bytes, &ids);
    ls_ids_deinit(&ids);
    ls_free(text);
    ls_tokenizer_destroy(tokenizer);
    return status;
}

int main(int argc, char **argv) {
    const char *path = argc > 1 ? argv[1] : "examples/data/tiny.txt";
    const int32_t vocabulary = argc > 2 ? atoi(argv[2]) : 512;
    ls_dataset *dataset = NULL;
    ls_status status = ls_dataset_open(path, NULL, &dataset);
    if (status == LS_OK) status = use_dataset(dataset, vocabulary);
    ls_dataset_close(dataset);
    if (status != LS_OK) fprintf(stderr, "tokenize: %s\n", ls_error_message());
    return ls_status_exit_code(status);
}
