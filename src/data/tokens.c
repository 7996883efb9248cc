/* Reading token sequences: opening and checking shards, looking things up. */
#include "base/alloc.h"
#include "base/hash.h"
#include "data/tokens_impl.h"
#include <stddef.h>
#include <string.h>

uint64_t ls_shard_hash(const ls_shard_header *header, const void *block_hashes, uint64_t n_blocks,
                       const ls_shard_footer *footer) {
    uint64_t hash = ls_xxh3(header, sizeof *header, 0);
    hash = ls_xxh3(block_hashes, (size_t)n_blocks * sizeof(uint64_t), hash);
    return ls_xxh3(footer, offsetof(ls_shard_footer, hash), hash);
}

/* --- opening ---------------------------------------------------------------------------------------------------- */

static int is_zero(const char *bytes, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (bytes[i] != 0) return 0;
    return 1;
}

static ls_status check_fingerprint(const char *hex) {
    if (is_zero(hex, 64)) return LS_OK;
    for (int i = 0; i < 64; i++)
        if (hex[i] == '\0' || strchr("0123456789abcdef", hex[i]) == NULL)
            return LS_FAIL(LS_ERR_FORMAT, "tokenizer fingerprint is not 64 hexadecimal digits");
    return LS_OK;
}

static ls_status check_header(const ls_shard_header *header) {
    if (memcmp(header->magic, LS_SHARD_MAGIC, sizeof header->magic) != 0)
        return LS_FAIL(LS_ERR_FORMAT, "not a token shard: it does not begin with " LS_SHARD_MAGIC
                                      " (make one with: lockstep data tokenize)");
    if (header->version != LS_SHARD_VERSION)
        return LS_FAIL(LS_ERR_UNSUPPORTED, "token shard of version %u; version %d works",
                       header->version, (int)LS_SHARD_VERSION);
    if (header->vocab_size == 0 || header->vocab_size > INT32_MAX)
        return LS_FAIL(LS_ERR_FORMAT, "vocabulary size %u is out of range", header->vocab_size);
    const uint32_t token_bytes = header->vocab_size <= LS_SHARD_U16_VOCAB ? 2 : 4;
    if (header->token_bytes != token_bytes)
        return LS_FAIL(LS_ERR_FORMAT, "%u bytes a token; with a vocabulary of %u it must be %u",
                       header->token_bytes, header->vocab_size, token_bytes);
    if (header->eot < -1 || header->eot >= (int64_t)header->vocab_size)
        return LS_FAIL(LS_ERR_FORMAT, "end-of-text token %d is not below the vocabulary size %u",
                       header->eot, header->vocab_size);
    if (header->block_bytes != LS_SHARD_BLOCK_BYTES ||
        !is_zero(header->reserved, sizeof header->reserved))
        return LS_FAIL(LS_ERR_FORMAT,
                       "header has unknown values in its block size or reserved bytes");
    return check_fingerprint(header->fingerprint);
}

/* Sizes: every count is first bounded by the file's size, so that nothing below can overflow. */
static ls_status check_sizes(const ls_shard_header *header, const ls_shard_footer *footer,
                             uint64_t bytes, uint64_t *body_out) {
    if (footer->file_bytes != bytes)
        return LS_FAIL(LS_ERR_FORMAT, "file has %llu bytes, its footer says %llu",
                       (unsigned long long)bytes, (unsigned long long)footer->file_bytes);
    if (footer->n_tokens > bytes / header->token_bytes || footer->n_documents > bytes / 8 ||
        footer->n_blocks > bytes / 8)
        return LS_FAIL(
            LS_ERR_FORMAT, "%llu tokens, %llu documents and %llu blocks do not fit into %llu bytes",
            (unsigned long long)footer->n_tokens, (unsigned long long)footer->n_documents,
            (unsigned long long)footer->n_blocks, (unsigned long long)bytes);
    const uint64_t id_bytes = (footer->n_tokens * header->token_bytes + 7) / 8 * 8;
    const uint64_t body = sizeof *header + id_bytes + 8 * footer->n_documents;
    const uint64_t n_blocks = (body + LS_SHARD_BLOCK_BYTES - 1) / LS_SHARD_BLOCK_BYTES;
    if (footer->n_blocks != n_blocks || body + 8 * n_blocks + sizeof *footer != bytes)
        return LS_FAIL(LS_ERR_FORMAT,
                       "%llu tokens of %u bytes, %llu documents and %llu blocks do not add up to "
                       "the file's %llu bytes",
                       (unsigned long long)footer->n_tokens, header->token_bytes,
                       (unsigned long long)footer->n_documents,
                       (unsigned long long)footer->n_blocks, (unsigned long long)bytes);
    *body_out = body;
    return LS_OK;
}

static ls_status check_footer(const ls_shard_header *header, const ls_shard_footer *footer) {
    if (footer->n_tokens == 0 || footer->n_tokens > INT64_MAX / 8 || footer->n_documents == 0)
        return LS_FAIL(LS_ERR_FORMAT, "shard without tokens or documents");
    if (footer->n_text_bytes > INT64_MAX || footer->reserved != 0)
        return LS_FAIL(LS_ERR_FORMAT, "footer has values out of range");
    if (footer->max_token >= header->vocab_size)
        return LS_FAIL(LS_ERR_FORMAT, "largest token id %u is not below the vocabulary size %u",
                       footer->max_token, header->vocab_size);
    return LS_OK;
}

static ls_status check_documents(const uint64_t *first, uint64_t n, uint64_t n_tokens) {
    if (first[0] != 0) return LS_FAIL(LS_ERR_FORMAT, "document 0 does not start at token 0");
    for (uint64_t i = 1; i < n; i++)
        if (first[i] <= first[i - 1] || first[i] >= n_tokens)
            return LS_FAIL(LS_ERR_FORMAT,
                           "document %llu starts at token %llu, after one that starts at %llu, of "
                           "%llu tokens",
                           (unsigned long long)i, (unsigned long long)first[i],
                           (unsigned long long)first[i - 1], (unsigned long long)n_tokens);
    return LS_OK;
}

static ls_status read_shard(ls_tokens *tokens, const unsigned char *data, uint64_t bytes) {
    const ls_shard_header *header = (const ls_shard_header *)data;
    if (bytes < sizeof(ls_shard_header) + sizeof(ls_shard_footer))
        return LS_FAIL(LS_ERR_FORMAT, "not a token shard: %llu bytes; the smallest has %zu",
                       (unsigned long long)bytes,
                       sizeof(ls_shard_header) + sizeof(ls_shard_footer));
    if ((uintptr_t)data % 8 != 0) return LS_FAIL(LS_ERR_INVALID, "data is not 8-byte aligned");
    LS_TRY(check_header(header));
    if (bytes % 8 != 0)
        return LS_FAIL(LS_ERR_FORMAT, "file is cut off: %llu bytes are no multiple of 8",
                       (unsigned long long)bytes);
    const ls_shard_footer *footer = (const ls_shard_footer *)(data + bytes - sizeof *footer);
    if (memcmp(footer->magic, LS_SHARD_END_MAGIC, sizeof footer->magic) != 0)
        return LS_FAIL(LS_ERR_FORMAT, "file is cut off: it does not end with " LS_SHARD_END_MAGIC);
    LS_TRY(check_sizes(header, footer, bytes, &tokens->body_bytes));
    tokens->block_hashes = (const uint64_t *)(data + tokens->body_bytes);
    tokens->n_blocks = footer->n_blocks;
    if (ls_shard_hash(header, tokens->block_hashes, tokens->n_blocks, footer) != footer->hash)
        return LS_FAIL(LS_ERR_FORMAT, "hash of header, block table and footer does not match: the "
                                      "file is damaged");
    LS_TRY(check_footer(header, footer));
    tokens->shard = data;
    tokens->ids = data + sizeof *header;
    tokens->documents = (const uint64_t *)(data + tokens->body_bytes - 8 * footer->n_documents);
    tokens->info = (ls_tokens_info){(int64_t)footer->n_tokens,
                                    (int64_t)footer->n_documents,
                                    (int64_t)footer->n_text_bytes,
                                    (int32_t)header->vocab_size,
                                    (int32_t)footer->max_token,
                                    header->eot,
                                    (int32_t)header->token_bytes,
                                    "",
                                    footer->hash};
    memcpy(tokens->info.fingerprint, header->fingerprint, sizeof header->fingerprint);
    return check_documents(tokens->documents, footer->n_documents, footer->n_tokens);
}

ls_status ls_tokens_parse(const void *data, size_t bytes, const char *what, ls_tokens **out) {
    ls_tokens *tokens = ls_alloc(sizeof *tokens);
    if (tokens == NULL) return LS_ERR_NO_MEMORY;
    tokens->what = ls_strdup(what);
    ls_status status = tokens->what == NULL ? LS_ERR_NO_MEMORY : LS_OK;
    if (status == LS_OK) {
        status = read_shard(tokens, data, bytes);
        if (status != LS_OK) ls_error_prefix(status, "%s", what);
    }
    if (status != LS_OK) {
        ls_tokens_close(tokens);
        return status;
    }
    *out = tokens;
    return LS_OK;
}

ls_status ls_tokens_open(const char *path, ls_tokens **out) {
    ls_map map = {0};
    LS_TRY(ls_map_open(path, &map));
    const ls_status status = ls_tokens_parse(map.data, map.bytes, path, out);
    if (status == LS_OK)
        (*out)->map = map;
    else
        ls_map_close(&map);
    return status;
}

void ls_tokens_close(ls_tokens *tokens) {
    if (tokens == NULL) return;
    ls_map_close(&tokens->map);
    ls_free(tokens->owned_ids);
    ls_free(tokens->owned_documents);
    ls_free(tokens->what);
    ls_free(tokens);
}

/* --- look-ups --------------------------------------------------------------------------------------------------- */

ls_tokens_info ls_tokens_get_info(const ls_tokens *tokens) {
    return tokens->info;
}

static uint32_t id_at(const ls_tokens *tokens, int64_t i) {
    return tokens->info.token_bytes == 2 ? ((const uint16_t *)tokens->ids)[i]
                                         : ((const uint32_t *)tokens->ids)[i];
}

/* Largest of ids [first, first + count). */
static uint32_t find_max(const ls_tokens *tokens, int64_t first, int64_t count) {
    uint32_t max = 0;
    if (tokens->info.token_bytes == 2) {
        const uint16_t *ids = (const uint16_t *)tokens->ids + first;
        for (int64_t i = 0; i < count; i++) max = ids[i] > max ? ids[i] : max;
    } else {
        const uint32_t *ids = (const uint32_t *)tokens->ids + first;
        for (int64_t i = 0; i < count; i++) max = ids[i] > max ? ids[i] : max;
    }
    return max;
}

static ls_status refuse_id(const ls_tokens *tokens, int64_t first, int64_t count, uint32_t limit) {
    int64_t at = first;
    while (at < first + count - 1 && id_at(tokens, at) < limit) at++;
    return LS_FAIL(
        LS_ERR_DATA,
        "%s: token id %u at position %lld is not below %u (vocabulary size %d, largest id "
        "by the header %d); run: lockstep data verify",
        tokens->what, id_at(tokens, at), (long long)at, limit, tokens->info.vocab_size,
        tokens->info.max_token);
}

ls_status ls_tokens_read(const ls_tokens *tokens, int64_t first, int64_t count, int32_t *out) {
    if (first < 0 || count < 0 || first > tokens->info.n_tokens - count)
        return LS_FAIL(LS_ERR_INVALID, "%s: %lld tokens from %lld on asked for; there are %lld",
                       tokens->what, (long long)count, (long long)first,
                       (long long)tokens->info.n_tokens);
    const uint32_t limit = (uint32_t)tokens->info.vocab_size;
    if (count > 0 && find_max(tokens, first, count) >= limit)
        return refuse_id(tokens, first, count, limit);
    for (int64_t i = 0; i < count; i++) out[i] = (int32_t)id_at(tokens, first + i);
    return LS_OK;
}

int64_t ls_tokens_document(const ls_tokens *tokens, int64_t i) {
    return i < tokens->info.n_documents ? (int64_t)tokens->documents[i] : tokens->info.n_tokens;
}

int64_t ls_tokens_next_document(const ls_tokens *tokens, int64_t position) {
    int64_t low = 0, high = tokens->info.n_documents;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if ((int64_t)tokens->documents[middle] < position)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* --- verifying -------------------------------------------------------------------------------------------------- */

static ls_status verify_blocks(const ls_tokens *tokens) {
    for (uint64_t i = 0; i < tokens->n_blocks; i++) {
        const uint64_t begin = i * LS_SHARD_BLOCK_BYTES;
        const uint64_t rest = tokens->body_bytes - begin;
        const uint64_t bytes = rest < LS_SHARD_BLOCK_BYTES ? rest : LS_SHARD_BLOCK_BYTES;
        if (ls_xxh3(tokens->shard + begin, bytes, i) != tokens->block_hashes[i])
            return LS_FAIL(LS_ERR_FORMAT,
                           "%s: block %llu of %llu (bytes %llu to %llu) is damaged: its hash does "
                           "not match; make the shard again or restore the file",
                           tokens->what, (unsigned long long)i,
                           (unsigned long long)tokens->n_blocks, (unsigned long long)begin,
                           (unsigned long long)(begin + bytes));
    }
    return LS_OK;
}

ls_status ls_tokens_verify(const ls_tokens *tokens) {
    if (tokens->shard == NULL)
        return LS_FAIL(LS_ERR_INVALID, "tokens in memory have no hashes to verify");
    LS_TRY(verify_blocks(tokens));
    const uint32_t max = find_max(tokens, 0, tokens->info.n_tokens);
    if (max > (uint32_t)tokens->info.max_token)
        return refuse_id(tokens, 0, tokens->info.n_tokens, (uint32_t)tokens->info.max_token + 1);
    if (max != (uint32_t)tokens->info.max_token)
        return LS_FAIL(LS_ERR_FORMAT, "%s: largest token id is %u, the header says %d",
                       tokens->what, max, tokens->info.max_token);
    return LS_OK;
}
