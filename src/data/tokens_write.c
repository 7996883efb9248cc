/* Writing token sequences, to memory or block by block to a shard. */
#include "base/alloc.h"
#include "base/hash.h"
#include "data/tokens_impl.h"
#include <string.h>

struct ls_tokens_writer {
    ls_tokens_info info;
    ls_file_writer *file; /* NULL: in memory */
    char *path;
    ls_shard_header header;
    unsigned char *block; /* of the shard; in memory: all ids */
    int64_t block_capacity, block_used;
    uint64_t body_bytes;
    uint64_t *hashes;
    int64_t n_hashes, hash_capacity;
    uint64_t *documents;
    int64_t document_capacity;
    int in_document;
};

static ls_status check_info(const ls_tokens_info *info) {
    if (info->vocab_size < 1)
        return LS_FAIL(LS_ERR_INVALID, "tokens with a vocabulary of %d; needed is at least 1",
                       info->vocab_size);
    if (info->eot < -1 || info->eot >= info->vocab_size)
        return LS_FAIL(LS_ERR_INVALID, "end-of-text token %d is not below the vocabulary size %d",
                       info->eot, info->vocab_size);
    return LS_OK;
}

/* A full block is hashed and written. */
static ls_status flush_block(ls_tokens_writer *w) {
    LS_TRY(ls_array_reserve((void **)&w->hashes, &w->hash_capacity, w->n_hashes + 1,
                            sizeof *w->hashes));
    w->hashes[w->n_hashes] = ls_xxh3(w->block, (size_t)w->block_used, (uint64_t)w->n_hashes);
    w->n_hashes++;
    LS_TRY(ls_file_writer_write(w->file, w->block, (size_t)w->block_used));
    w->block_used = 0;
    return LS_OK;
}

static ls_status emit(ls_tokens_writer *w, const void *data, size_t bytes) {
    const unsigned char *p = data;
    w->body_bytes += bytes;
    while (bytes > 0) {
        const size_t room = (size_t)(LS_SHARD_BLOCK_BYTES - w->block_used);
        const size_t n = bytes < room ? bytes : room;
        memcpy(w->block + w->block_used, p, n);
        w->block_used += (int64_t)n;
        p += n;
        bytes -= n;
        if (w->block_used == LS_SHARD_BLOCK_BYTES) LS_TRY(flush_block(w));
    }
    return LS_OK;
}

static ls_status begin_shard(ls_tokens_writer *w, const char *path) {
    w->path = ls_strdup(path);
    w->block = ls_alloc(LS_SHARD_BLOCK_BYTES);
    if (w->path == NULL || w->block == NULL) return LS_ERR_NO_MEMORY;
    memcpy(w->header.magic, LS_SHARD_MAGIC, sizeof w->header.magic);
    w->header.version = LS_SHARD_VERSION;
    w->header.token_bytes = (uint32_t)w->info.token_bytes;
    w->header.vocab_size = (uint32_t)w->info.vocab_size;
    w->header.eot = w->info.eot;
    w->header.block_bytes = LS_SHARD_BLOCK_BYTES;
    memcpy(w->header.fingerprint, w->info.fingerprint, sizeof w->header.fingerprint);
    LS_TRY(ls_file_writer_begin(path, &w->file));
    return emit(w, &w->header, sizeof w->header);
}

ls_status ls_tokens_writer_begin(const char *path, const ls_tokens_info *info,
                                 ls_tokens_writer **out) {
    LS_TRY(check_info(info));
    ls_tokens_writer *w = ls_alloc(sizeof *w);
    if (w == NULL) return LS_ERR_NO_MEMORY;
    w->info.vocab_size = info->vocab_size;
    w->info.eot = info->eot;
    memcpy(w->info.fingerprint, info->fingerprint, sizeof w->info.fingerprint - 1);
    w->info.token_bytes = info->vocab_size <= LS_SHARD_U16_VOCAB ? 2 : 4;
    const ls_status status = path != NULL ? begin_shard(w, path) : LS_OK;
    if (status != LS_OK) {
        ls_tokens_writer_abort(w);
        return status;
    }
    *out = w;
    return LS_OK;
}

void ls_tokens_writer_abort(ls_tokens_writer *writer) {
    if (writer == NULL) return;
    ls_file_writer_abort(writer->file);
    ls_free(writer->path);
    ls_free(writer->block);
    ls_free(writer->hashes);
    ls_free(writer->documents);
    ls_free(writer);
}

static ls_status store_id(ls_tokens_writer *w, int32_t id) {
    const uint32_t wide = (uint32_t)id;
    const uint16_t narrow = (uint16_t)id;
    const size_t bytes = (size_t)w->info.token_bytes;
    const void *data = bytes == 2 ? (const void *)&narrow : (const void *)&wide;
    if (w->file != NULL) return emit(w, data, bytes);
    memcpy(w->block + w->block_used, data, bytes);
    w->block_used += (int64_t)bytes;
    return LS_OK;
}

static ls_status start_document(ls_tokens_writer *w) {
    LS_TRY(ls_array_reserve((void **)&w->documents, &w->document_capacity, w->info.n_documents + 1,
                            sizeof *w->documents));
    w->documents[w->info.n_documents++] = (uint64_t)w->info.n_tokens;
    w->in_document = 1;
    return LS_OK;
}

ls_status ls_tokens_writer_append(ls_tokens_writer *writer, const int32_t *ids, int64_t count) {
    ls_tokens_writer *w = writer;
    if (count == 0) return LS_OK;
    if (!w->in_document) LS_TRY(start_document(w));
    if (w->file == NULL)
        LS_TRY(ls_array_reserve((void **)&w->block, &w->block_capacity,
                                w->block_used + count * w->info.token_bytes, 1));
    for (int64_t i = 0; i < count; i++) {
        if (ids[i] < 0 || ids[i] >= w->info.vocab_size)
            return LS_FAIL(LS_ERR_DATA,
                           "token id %d at position %lld is not below the vocabulary size %d",
                           ids[i], (long long)w->info.n_tokens, w->info.vocab_size);
        if (ids[i] > w->info.max_token) w->info.max_token = ids[i];
        LS_TRY(store_id(w, ids[i]));
        w->info.n_tokens++;
    }
    return LS_OK;
}

ls_status ls_tokens_writer_end_document(ls_tokens_writer *writer, int64_t n_text_bytes) {
    writer->in_document = 0;
    writer->info.n_text_bytes += n_text_bytes;
    return LS_OK;
}

static ls_status finish_shard(ls_tokens_writer *w) {
    static const char zeros[8];
    LS_TRY(emit(w, zeros, (size_t)(-w->body_bytes % 8)));
    LS_TRY(emit(w, w->documents, (size_t)w->info.n_documents * sizeof *w->documents));
    if (w->block_used > 0) LS_TRY(flush_block(w));
    const size_t table_bytes = (size_t)w->n_hashes * sizeof *w->hashes;
    ls_shard_footer footer = {.n_tokens = (uint64_t)w->info.n_tokens,
                              .n_documents = (uint64_t)w->info.n_documents,
                              .n_text_bytes = (uint64_t)w->info.n_text_bytes,
                              .max_token = (uint32_t)w->info.max_token,
                              .n_blocks = (uint64_t)w->n_hashes,
                              .file_bytes = w->body_bytes + table_bytes + sizeof footer};
    footer.hash = ls_shard_hash(&w->header, w->hashes, footer.n_blocks, &footer);
    memcpy(footer.magic, LS_SHARD_END_MAGIC, sizeof footer.magic);
    LS_TRY(ls_file_writer_write(w->file, w->hashes, table_bytes));
    LS_TRY(ls_file_writer_write(w->file, &footer, sizeof footer));
    ls_file_writer *file = w->file;
    w->file = NULL; /* commit frees it, also on failure */
    return ls_file_writer_commit(file);
}

static ls_status finish_memory(ls_tokens_writer *w, ls_tokens **out) {
    ls_tokens *tokens = ls_alloc(sizeof *tokens);
    if (tokens == NULL) return LS_ERR_NO_MEMORY;
    tokens->what = ls_strdup("tokens in memory");
    if (tokens->what == NULL) {
        ls_free(tokens);
        return LS_ERR_NO_MEMORY;
    }
    tokens->info = w->info;
    tokens->ids = tokens->owned_ids = w->block;
    tokens->documents = tokens->owned_documents = w->documents;
    w->block = NULL;
    w->documents = NULL;
    *out = tokens;
    return LS_OK;
}

static ls_status finish(ls_tokens_writer *w, ls_tokens **out) {
    if (w->info.n_tokens == 0) return LS_FAIL(LS_ERR_DATA, "no tokens: the text is empty");
    if (w->file == NULL)
        return out != NULL ? finish_memory(w, out)
                           : LS_FAIL(LS_ERR_INVALID, "tokens in memory need a place to go");
    LS_TRY(finish_shard(w));
    return out != NULL ? ls_tokens_open(w->path, out) : LS_OK;
}

ls_status ls_tokens_writer_finish(ls_tokens_writer *writer, ls_tokens_info *info_out,
                                  ls_tokens **out) {
    const ls_tokens_info info = writer->info;
    const ls_status status = finish(writer, out);
    ls_tokens_writer_abort(writer);
    if (status == LS_OK && info_out != NULL) *info_out = info;
    return status;
}
