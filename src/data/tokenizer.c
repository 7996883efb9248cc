/* The tokenizer object: making, sealing, look-ups, decoding. */
#include "base/hash.h"
#include "data/byte_level.h"
#include "data/tokenizer_impl.h"
#include <string.h>

static uint64_t pair_key(int32_t left, int32_t right) {
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static uint64_t mix(uint64_t key) {
    key *= UINT64_C(0x9E3779B97F4A7C15);
    return key ^ key >> 29;
}

static uint64_t table_size(int64_t n_items) {
    uint64_t size = 16;
    while (size < 2 * (uint64_t)n_items) size *= 2;
    return size;
}

/* --- making ----------------------------------------------------------------------------------------------------- */

ls_status ls_tokenizer_begin(int32_t n_tokens, ls_tokenizer **out) {
    ls_tokenizer *tokenizer = ls_alloc(sizeof *tokenizer);
    if (tokenizer == NULL) return LS_ERR_NO_MEMORY;
    tokenizer->n_tokens = n_tokens;
    tokenizer->tokens = ls_alloc((size_t)n_tokens * sizeof *tokenizer->tokens);
    if (tokenizer->tokens == NULL || ls_arena_create(&tokenizer->arena) != LS_OK) {
        ls_tokenizer_destroy(tokenizer);
        return LS_ERR_NO_MEMORY;
    }
    *out = tokenizer;
    return LS_OK;
}

void ls_tokenizer_destroy(ls_tokenizer *tokenizer) {
    if (tokenizer == NULL) return;
    for (int i = 0; i < tokenizer->n_rules; i++) ls_split_rule_destroy(tokenizer->rules[i]);
    ls_arena_destroy(tokenizer->arena);
    ls_free(tokenizer->tokens);
    ls_free(tokenizer->merges);
    ls_free(tokenizer->pairs);
    ls_free(tokenizer->text_ids);
    ls_free(tokenizer->added);
    ls_free(tokenizer);
}

ls_status ls_tokenizer_set_token(ls_tokenizer *tokenizer, int32_t id, const void *bytes,
                                 size_t n_bytes, uint32_t flags) {
    unsigned char *copy = ls_arena_alloc(tokenizer->arena, n_bytes + 1);
    if (copy == NULL) return LS_ERR_NO_MEMORY;
    memcpy(copy, bytes, n_bytes);
    tokenizer->tokens[id] = (ls_token){copy, (uint32_t)n_bytes, flags | LS_TOKEN_PRESENT};
    return LS_OK;
}

ls_status ls_tokenizer_add_merge(ls_tokenizer *tokenizer, ls_merge merge) {
    LS_TRY(ls_array_reserve((void **)&tokenizer->merges, &tokenizer->merge_capacity,
                            tokenizer->n_merges + 1, sizeof *tokenizer->merges));
    tokenizer->merges[tokenizer->n_merges++] = merge;
    return LS_OK;
}

ls_status ls_tokenizer_add_rule(ls_tokenizer *tokenizer, const char *pattern) {
    if (tokenizer->n_rules == LS_MAX_RULES)
        return LS_FAIL(LS_ERR_UNSUPPORTED, "more than %d pre-tokenizer rules", (int)LS_MAX_RULES);
    LS_TRY(ls_split_rule_create(pattern, &tokenizer->rules[tokenizer->n_rules]));
    tokenizer->n_rules++;
    return LS_OK;
}

ls_status ls_tokenizer_add_gpt2_rule(ls_tokenizer *tokenizer) {
    LS_TRY(ls_tokenizer_add_rule(tokenizer, LS_GPT2_PATTERN));
    tokenizer->gpt2_rule = 1;
    return LS_OK;
}

ls_status ls_tokenizer_create_bytes(int with_eot, ls_tokenizer **out) {
    ls_tokenizer *tokenizer = NULL;
    LS_TRY(ls_tokenizer_begin(with_eot ? 257 : 256, &tokenizer));
    ls_status status = LS_OK;
    for (int i = 0; i < 256 && status == LS_OK; i++) {
        const unsigned char byte = (unsigned char)i;
        status = ls_tokenizer_set_token(tokenizer, i, &byte, 1, 0);
    }
    if (status == LS_OK && with_eot)
        status = ls_tokenizer_set_token(tokenizer, 256, LS_EOT_TEXT, strlen(LS_EOT_TEXT),
                                        LS_TOKEN_ADDED | LS_TOKEN_SPECIAL);
    if (status == LS_OK) status = ls_tokenizer_add_gpt2_rule(tokenizer);
    if (status == LS_OK) status = ls_tokenizer_seal(tokenizer);
    if (status != LS_OK) {
        ls_tokenizer_destroy(tokenizer);
        return status;
    }
    *out = tokenizer;
    return LS_OK;
}

/* --- sealing ---------------------------------------------------------------------------------------------------- */

static ls_status index_merges(ls_tokenizer *tokenizer) {
    const uint64_t size = table_size(tokenizer->n_merges);
    tokenizer->pairs = ls_alloc(size * sizeof *tokenizer->pairs);
    if (tokenizer->pairs == NULL) return LS_ERR_NO_MEMORY;
    tokenizer->pair_mask = size - 1;
    for (uint64_t i = 0; i < size; i++) tokenizer->pairs[i].key = UINT64_MAX;
    for (int64_t rank = 0; rank < tokenizer->n_merges; rank++) {
        const ls_merge *merge = &tokenizer->merges[rank];
        const uint64_t key = pair_key(merge->left, merge->right);
        uint64_t slot = mix(key) & tokenizer->pair_mask;
        for (; tokenizer->pairs[slot].key != UINT64_MAX; slot = (slot + 1) & tokenizer->pair_mask)
            if (tokenizer->pairs[slot].key == key)
                return LS_FAIL(LS_ERR_FORMAT, "merges %d and %lld merge the same pair",
                               tokenizer->pairs[slot].rank, (long long)rank);
        tokenizer->pairs[slot] = (ls_pair_slot){key, (int32_t)rank};
    }
    return LS_OK;
}

static uint32_t text_slot(const ls_tokenizer *tokenizer, const void *bytes, size_t n_bytes) {
    uint32_t slot = (uint32_t)ls_xxh3(bytes, n_bytes, 0) & tokenizer->text_mask;
    for (; tokenizer->text_ids[slot] >= 0; slot = (slot + 1) & tokenizer->text_mask) {
        const ls_token *token = &tokenizer->tokens[tokenizer->text_ids[slot]];
        if (token->n_bytes == n_bytes && memcmp(token->bytes, bytes, n_bytes) == 0) break;
    }
    return slot;
}

static ls_status index_texts(ls_tokenizer *tokenizer) {
    const uint64_t size = table_size(tokenizer->n_tokens);
    tokenizer->text_ids = ls_alloc(size * sizeof *tokenizer->text_ids);
    if (tokenizer->text_ids == NULL) return LS_ERR_NO_MEMORY;
    tokenizer->text_mask = (uint32_t)(size - 1);
    memset(tokenizer->text_ids, 0xFF, size * sizeof *tokenizer->text_ids);
    memset(tokenizer->byte_ids, 0xFF, sizeof tokenizer->byte_ids);
    for (int32_t id = 0; id < tokenizer->n_tokens; id++) {
        const ls_token *token = &tokenizer->tokens[id];
        if (!(token->flags & LS_TOKEN_PRESENT))
            return LS_FAIL(LS_ERR_FORMAT, "id %d of %d has no token: ids must have no holes", id,
                           tokenizer->n_tokens);
        if (token->flags & LS_TOKEN_ADDED) continue;
        const uint32_t slot = text_slot(tokenizer, token->bytes, token->n_bytes);
        if (tokenizer->text_ids[slot] >= 0)
            return LS_FAIL(LS_ERR_FORMAT, "ids %d and %d are the same token",
                           tokenizer->text_ids[slot], id);
        tokenizer->text_ids[slot] = id;
        if (token->n_bytes == 1) tokenizer->byte_ids[token->bytes[0]] = id;
    }
    return LS_OK;
}

static int is_eot_text(const ls_token *token) {
    static const char *const names[] = {LS_EOT_TEXT, "<|end_of_text|>", "</s>", "<eos>"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (token->n_bytes == strlen(names[i]) &&
            memcmp(token->bytes, names[i], token->n_bytes) == 0)
            return 1;
    return 0;
}

static ls_status index_added(ls_tokenizer *tokenizer) {
    tokenizer->eot = -1;
    for (int32_t id = 0; id < tokenizer->n_tokens; id++)
        tokenizer->n_added += (tokenizer->tokens[id].flags & LS_TOKEN_ADDED) != 0;
    tokenizer->added = ls_alloc((size_t)tokenizer->n_added * sizeof *tokenizer->added);
    if (tokenizer->added == NULL) return LS_ERR_NO_MEMORY;
    int32_t n = 0;
    for (int32_t id = 0; id < tokenizer->n_tokens; id++) {
        const ls_token *token = &tokenizer->tokens[id];
        if (!(token->flags & LS_TOKEN_ADDED)) continue;
        tokenizer->added[n++] = id;
        tokenizer->added_first[token->bytes[0]] = 1;
        if ((token->flags & LS_TOKEN_SPECIAL) && tokenizer->eot < 0 && is_eot_text(token))
            tokenizer->eot = id;
    }
    return LS_OK;
}

static ls_status hash_u32(ls_sha256 *sha, uint32_t value) {
    const unsigned char bytes[4] = {(unsigned char)value, (unsigned char)(value >> 8),
                                    (unsigned char)(value >> 16), (unsigned char)(value >> 24)};
    return ls_sha256_update(sha, bytes, sizeof bytes);
}

static ls_status hash_all(const ls_tokenizer *tokenizer, ls_sha256 *sha) {
    LS_TRY(ls_sha256_update(sha, "lockstep tokenizer 1", 20));
    LS_TRY(hash_u32(sha, (uint32_t)tokenizer->n_tokens));
    for (int32_t id = 0; id < tokenizer->n_tokens; id++) {
        const ls_token *token = &tokenizer->tokens[id];
        LS_TRY(hash_u32(sha, token->flags));
        LS_TRY(hash_u32(sha, token->n_bytes));
        LS_TRY(ls_sha256_update(sha, token->bytes, token->n_bytes));
    }
    LS_TRY(hash_u32(sha, (uint32_t)tokenizer->n_merges));
    for (int64_t rank = 0; rank < tokenizer->n_merges; rank++) {
        const ls_merge *merge = &tokenizer->merges[rank];
        LS_TRY(hash_u32(sha, (uint32_t)merge->left));
        LS_TRY(hash_u32(sha, (uint32_t)merge->right));
        LS_TRY(hash_u32(sha, (uint32_t)merge->result));
    }
    LS_TRY(hash_u32(sha, (uint32_t)tokenizer->ignore_merges));
    for (int i = 0; i < tokenizer->n_rules; i++) {
        const char *pattern = ls_split_rule_pattern(tokenizer->rules[i]);
        LS_TRY(hash_u32(sha, (uint32_t)strlen(pattern)));
        LS_TRY(ls_sha256_update(sha, pattern, strlen(pattern)));
    }
    return LS_OK;
}

static ls_status make_fingerprint(ls_tokenizer *tokenizer) {
    ls_sha256 *sha = NULL;
    LS_TRY(ls_sha256_create(&sha));
    ls_status status = hash_all(tokenizer, sha);
    if (status == LS_OK) status = ls_sha256_finish(sha, tokenizer->fingerprint);
    ls_sha256_destroy(sha);
    return status;
}

ls_status ls_tokenizer_seal(ls_tokenizer *tokenizer) {
    LS_TRY(index_texts(tokenizer));
    LS_TRY(index_merges(tokenizer));
    LS_TRY(index_added(tokenizer));
    return make_fingerprint(tokenizer);
}

/* --- look-ups --------------------------------------------------------------------------------------------------- */

int32_t ls_tokenizer_rank(const ls_tokenizer *tokenizer, int32_t left, int32_t right) {
    const uint64_t key = pair_key(left, right);
    uint64_t slot = mix(key) & tokenizer->pair_mask;
    for (; tokenizer->pairs[slot].key != UINT64_MAX; slot = (slot + 1) & tokenizer->pair_mask)
        if (tokenizer->pairs[slot].key == key) return tokenizer->pairs[slot].rank;
    return -1;
}

int32_t ls_tokenizer_find_text(const ls_tokenizer *tokenizer, const void *bytes, size_t n_bytes) {
    return tokenizer->text_ids[text_slot(tokenizer, bytes, n_bytes)];
}

int32_t ls_tokenizer_find(const ls_tokenizer *tokenizer, const void *text, size_t bytes) {
    for (int32_t i = 0; i < tokenizer->n_added; i++) {
        const ls_token *token = &tokenizer->tokens[tokenizer->added[i]];
        if (token->n_bytes == bytes && memcmp(token->bytes, text, bytes) == 0)
            return tokenizer->added[i];
    }
    return ls_tokenizer_find_text(tokenizer, text, bytes);
}

int32_t ls_tokenizer_vocab_size(const ls_tokenizer *tokenizer) {
    return tokenizer->n_tokens;
}
int64_t ls_tokenizer_merge_count(const ls_tokenizer *tokenizer) {
    return tokenizer->n_merges;
}
int32_t ls_tokenizer_eot(const ls_tokenizer *tokenizer) {
    return tokenizer->eot;
}
const char *ls_tokenizer_fingerprint(const ls_tokenizer *tokenizer) {
    return tokenizer->fingerprint;
}

const unsigned char *ls_tokenizer_token(const ls_tokenizer *tokenizer, int32_t id,
                                        size_t *bytes_out) {
    if (id < 0 || id >= tokenizer->n_tokens) return NULL;
    *bytes_out = tokenizer->tokens[id].n_bytes;
    return tokenizer->tokens[id].bytes;
}

int ls_tokenizer_is_special(const ls_tokenizer *tokenizer, int32_t id) {
    return id >= 0 && id < tokenizer->n_tokens &&
           (tokenizer->tokens[id].flags & LS_TOKEN_SPECIAL) != 0;
}

/* --- decoding --------------------------------------------------------------------------------------------------- */

ls_status ls_tokenizer_decode(const ls_tokenizer *tokenizer, const int32_t *ids, int64_t n_ids,
                              int with_special, char **text_out, size_t *bytes_out) {
    ls_text text = {0};
    ls_text_append_bytes(&text, "", 0);
    for (int64_t i = 0; i < n_ids && text.status == LS_OK; i++) {
        size_t bytes = 0;
        const unsigned char *token = ls_tokenizer_token(tokenizer, ids[i], &bytes);
        if (token == NULL) {
            ls_text_deinit(&text);
            return LS_FAIL(LS_ERR_DATA,
                           "token id %d at position %lld is not below the vocabulary size %d",
                           ids[i], (long long)i, tokenizer->n_tokens);
        }
        if (with_special || !ls_tokenizer_is_special(tokenizer, ids[i]))
            ls_text_append_bytes(&text, token, bytes);
    }
    if (text.status != LS_OK) {
        const ls_status status = text.status;
        ls_text_deinit(&text);
        return status;
    }
    *text_out = text.data;
    *bytes_out = text.size;
    return LS_OK;
}
