/* Token shards: whatever the bytes, opening, verifying, reading and loading fail with a message or work. Tried as they are,
 * and with sizes and hashes made right, so that the checks behind the hashes are reached too. */
#include "base/alloc.h"
#include "base/hash.h"
#include "data/tokens_impl.h"
#include "lockstep/loader.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void need(int holds) {
    if (!holds) abort();
}

static void use_loader(const ls_tokens *tokens) {
    int32_t in[12], out[12];
    ls_batch batch = {.n_sequences = 4, .tokens = in, .targets = out};
    const ls_loader_options options = {
        .seed = 1, .batch = 4, .window = 3, .ignore_across_documents = 1};
    ls_loader *loader = NULL;
    if (ls_loader_create(tokens, &options, &loader) != LS_OK) return;
    (void)ls_loader_next(loader, 5, 0, &batch);
    (void)ls_loader_evaluation(loader, ls_loader_evaluation_windows(loader) - 2, &batch);
    ls_loader_destroy(loader);
}

static void use(const void *data, size_t bytes) {
    ls_tokens *tokens = NULL;
    if (ls_tokens_parse(data, bytes, "fuzz", &tokens) != LS_OK) {
        need(ls_error_message()[0] != '\0');
        return;
    }
    const ls_tokens_info info = ls_tokens_get_info(tokens);
    need(info.n_tokens > 0 && info.n_documents > 0 && info.max_token < info.vocab_size);
    const int good = ls_tokens_verify(tokens) == LS_OK;
    for (int64_t i = 0; i < info.n_tokens; i++) {
        int32_t id = -1;
        const ls_status status = ls_tokens_read(tokens, i, 1, &id);
        need(status == LS_OK ? id >= 0 && id < info.vocab_size : !good);
    }
    for (int64_t i = 0; i < info.n_documents; i++)
        need(ls_tokens_next_document(tokens, ls_tokens_document(tokens, i)) == i);
    use_loader(tokens);
    ls_tokens_close(tokens);
}

/* Makes file size, block count and hashes agree with what is there, as far as the file is long enough. */
static void repair(unsigned char *data, size_t bytes) {
    ls_shard_header *header = (ls_shard_header *)data;
    ls_shard_footer *footer = (ls_shard_footer *)(data + bytes - sizeof *footer);
    const size_t body = bytes - sizeof *footer - sizeof(uint64_t);
    footer->file_bytes = bytes;
    footer->n_blocks = 1;
    const uint64_t block = ls_xxh3(data, body, 0);
    memcpy(data + body, &block, sizeof block);
    footer->hash = ls_shard_hash(header, data + body, 1, footer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    unsigned char *copy = ls_alloc(bytes); /* aligned, and exactly as long */
    if (copy == NULL) return 0;
    if (bytes > 0) memcpy(copy, data, bytes);
    use(copy, bytes);
    if (bytes >= sizeof(ls_shard_header) + 8 + sizeof(ls_shard_footer) && bytes % 8 == 0 &&
        bytes < LS_SHARD_BLOCK_BYTES) {
        repair(copy, bytes);
        use(copy, bytes);
    }
    ls_free(copy);
    return 0;
}
