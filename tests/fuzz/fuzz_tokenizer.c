/* tokenizer.json up to the first zero byte, then a text: opening fails with a message or works; encoding gives ids below
 * the vocabulary size; decoding gives the text back. */
#include "base/alloc.h"
#include "lockstep/tokenizer.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void need(int holds) {
    if (!holds) abort();
}

static void use(const ls_tokenizer *tokenizer, const uint8_t *text, size_t bytes,
                ls_encode_special special) {
    ls_ids ids = {0};
    char *back = NULL;
    size_t n = 0;
    if (ls_tokenizer_encode(tokenizer, text, bytes, special, &ids) == LS_OK) {
        for (int64_t i = 0; i < ids.count; i++)
            need(ids.data[i] >= 0 && ids.data[i] < ls_tokenizer_vocab_size(tokenizer));
        need(ls_tokenizer_decode(tokenizer, ids.data, ids.count, 1, &back, &n) == LS_OK);
        need(n == bytes && (n == 0 || memcmp(back, text, n) == 0));
        ls_free(back);
    } else {
        need(ls_error_message()[0] != '\0' && ids.count == 0);
    }
    ls_ids_deinit(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    const uint8_t *end = bytes > 0 ? memchr(data, 0, bytes) : NULL;
    const size_t json_bytes = end != NULL ? (size_t)(end - data) : bytes;
    ls_tokenizer *tokenizer = NULL;
    if (ls_tokenizer_parse((const char *)data, json_bytes, "fuzz", &tokenizer) != LS_OK) {
        need(ls_error_message()[0] != '\0');
        return 0;
    }
    const uint8_t *text = end != NULL ? end + 1 : data;
    const size_t text_bytes = end != NULL ? bytes - json_bytes - 1 : bytes;
    use(tokenizer, text, text_bytes, LS_ENCODE_SPECIAL_AS_TEXT);
    use(tokenizer, text, text_bytes, LS_ENCODE_SPECIAL_PARSE);
    ls_tokenizer_destroy(tokenizer);
    return 0;
}
