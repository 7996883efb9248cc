/* Writing Hugging Face tokenizer.json. Everything is in a fixed order, so equal tokenizers give equal files. */
#include "base/fs.h"
#include "base/json.h"
#include "data/byte_level.h"
#include "data/tokenizer_impl.h"
#include "data/utf8.h"
#include <string.h>

/* A token's name in the file: added tokens as they are, others in the byte alphabet. */
static ls_status append_name(const ls_tokenizer *tokenizer, int32_t id, ls_text *out) {
    const ls_token *token = &tokenizer->tokens[id];
    if (token->flags & LS_TOKEN_ADDED) {
        ls_text_append_bytes(out, token->bytes, token->n_bytes);
        return out->status;
    }
    for (uint32_t i = 0; i < token->n_bytes; i++) {
        unsigned char utf8[4];
        const size_t n = ls_utf8_encode(ls_byte_to_char(token->bytes[i]), utf8);
        ls_text_append_bytes(out, utf8, n);
    }
    return out->status;
}

/* jansson's *_new functions take over their value, and fail on NULL: one check at the end finds any failure. */
static ls_status check_made(int failed) {
    return failed ? LS_FAIL(LS_ERR_NO_MEMORY, "no memory to write the tokenizer") : LS_OK;
}

static ls_status make_vocab(const ls_tokenizer *tokenizer, json_t *vocab) {
    ls_text name = {0};
    ls_status status = LS_OK;
    for (int32_t id = 0; id < tokenizer->n_tokens && status == LS_OK; id++) {
        name.size = 0;
        status = append_name(tokenizer, id, &name);
        if (status == LS_OK)
            status = check_made(
                json_object_setn_new_nocheck(vocab, name.data, name.size, json_integer(id)));
    }
    ls_text_deinit(&name);
    return status;
}

static ls_status make_merges(const ls_tokenizer *tokenizer, json_t *merges) {
    ls_text text = {0};
    ls_status status = LS_OK;
    for (int64_t rank = 0; rank < tokenizer->n_merges && status == LS_OK; rank++) {
        const ls_merge *merge = &tokenizer->merges[rank];
        text.size = 0;
        (void)append_name(tokenizer, merge->left, &text);
        ls_text_append_bytes(&text, " ", 1);
        status = append_name(tokenizer, merge->right, &text);
        if (status == LS_OK)
            status = check_made(json_array_append_new(merges, json_stringn(text.data, text.size)));
    }
    ls_text_deinit(&text);
    return status;
}

static json_t *pack_byte_level(int use_regex) {
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0,
                     "trim_offsets", 1, "use_regex", use_regex);
}

static json_t *pack_split(const char *pattern) {
    return json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex", pattern,
                     "behavior", "Isolated", "invert", 0);
}

static json_t *make_rules(const ls_tokenizer *tokenizer) {
    const int n_splits = tokenizer->n_rules - tokenizer->gpt2_rule;
    if (n_splits == 0) return pack_byte_level(tokenizer->gpt2_rule);
    json_t *steps = json_array();
    int failed = steps == NULL;
    for (int i = 0; i < n_splits && !failed; i++)
        failed =
            json_array_append_new(steps, pack_split(ls_split_rule_pattern(tokenizer->rules[i])));
    if (!failed) failed = json_array_append_new(steps, pack_byte_level(tokenizer->gpt2_rule));
    if (failed) {
        json_decref(steps);
        return NULL;
    }
    return json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", steps);
}

static json_t *make_added(const ls_tokenizer *tokenizer) {
    json_t *added = json_array();
    for (int32_t i = 0; i < tokenizer->n_added; i++) {
        const int32_t id = tokenizer->added[i];
        const ls_token *token = &tokenizer->tokens[id];
        json_t *entry = json_pack("{s:i, s:s%, s:b, s:b, s:b, s:b, s:b}", "id", id, "content",
                                  (const char *)token->bytes, (size_t)token->n_bytes, "single_word",
                                  0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special",
                                  (token->flags & LS_TOKEN_SPECIAL) != 0);
        if (json_array_append_new(added, entry) != 0) {
            json_decref(added);
            return NULL;
        }
    }
    return added;
}

static ls_status make_model(const ls_tokenizer *tokenizer, json_t *root) {
    json_t *model =
        json_pack("{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b}", "type", "BPE", "dropout", "unk_token",
                  "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0, "byte_fallback",
                  0, "ignore_merges", tokenizer->ignore_merges);
    json_t *vocab = json_object(), *merges = json_array();
    /* each is given away at once, so the root frees them whatever happens next */
    const int failed = json_object_set_new(root, "model", model) |
                       json_object_set_new(model, "vocab", vocab) |
                       json_object_set_new(model, "merges", merges);
    LS_TRY(check_made(failed));
    LS_TRY(make_vocab(tokenizer, vocab));
    return make_merges(tokenizer, merges);
}

static ls_status make_root(const ls_tokenizer *tokenizer, json_t *root) {
    const int failed = json_object_set_new(root, "added_tokens", make_added(tokenizer)) |
                       json_object_set_new(root, "normalizer", json_null()) |
                       json_object_set_new(root, "pre_tokenizer", make_rules(tokenizer)) |
                       json_object_set_new(root, "post_processor", json_null()) |
                       json_object_set_new(root, "decoder", pack_byte_level(1));
    LS_TRY(check_made(failed));
    return make_model(tokenizer, root);
}

ls_status ls_tokenizer_to_text(const ls_tokenizer *tokenizer, char **text_out, size_t *bytes_out) {
    json_t *root = json_pack("{s:s, s:n, s:n}", "version", "1.0", "truncation", "padding");
    ls_status status = check_made(root == NULL);
    if (status == LS_OK) status = make_root(tokenizer, root);
    if (status == LS_OK) status = ls_json_dump(root, JSON_INDENT(1), text_out, bytes_out);
    json_decref(root);
    return status;
}

ls_status ls_tokenizer_save(const ls_tokenizer *tokenizer, const char *path) {
    char *text = NULL;
    size_t bytes = 0;
    LS_TRY(ls_tokenizer_to_text(tokenizer, &text, &bytes));
    const ls_status status = ls_file_write_atomic(path, text, bytes);
    ls_free(text);
    return status;
}
