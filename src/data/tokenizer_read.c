/* Reading Hugging Face tokenizer.json: byte-level BPE models. What would change the ids and is not implemented here is
 * refused by name; post_processor, truncation and padding do not matter for the ids of a text and are not looked at. */
#include "base/json.h"
#include "data/byte_level.h"
#include "data/tokenizer_impl.h"
#include "data/utf8.h"
#include <string.h>

typedef struct reading {
    ls_tokenizer *tokenizer;
    const json_t *vocab;
    const json_t *added; /* NULL when there are none */
    int32_t n_tokens;
    unsigned char *bytes; /* scratch for one token */
    int64_t capacity;
} reading;

/* --- what is supported ------------------------------------------------------------------------------------------ */

static const char *type_of(const json_t *object) {
    const char *type = json_string_value(json_object_get(object, "type"));
    return type != NULL ? type : "something without a type";
}

static int is_set(const json_t *value) {
    if (value == NULL || json_is_null(value) || json_is_false(value)) return 0;
    if (json_is_string(value)) return json_string_length(value) > 0;
    return !(json_is_number(value) && json_number_value(value) == 0);
}

static ls_status refuse_set(const json_t *object, const char *where, const char *const *keys) {
    for (; *keys != NULL; keys++)
        if (is_set(json_object_get(object, *keys)))
            return LS_FAIL(LS_ERR_UNSUPPORTED, "%s has \"%s\" set, which is not implemented here",
                           where, *keys);
    return LS_OK;
}

static ls_status check_model(const json_t *model) {
    static const char *const unsupported[] = {"dropout", "continuing_subword_prefix",
                                              "end_of_word_suffix", "byte_fallback", NULL};
    const json_t *type = json_object_get(model, "type");
    if (type != NULL && (!json_is_string(type) || strcmp(json_string_value(type), "BPE") != 0))
        return LS_FAIL(LS_ERR_UNSUPPORTED, "model is of type %s; byte-level \"BPE\" works",
                       type_of(model));
    return refuse_set(model, "model", unsupported);
}

static ls_status check_decoder(const json_t *decoder) {
    if (!is_set(decoder)) return LS_OK;
    if (strcmp(type_of(decoder), "ByteLevel") == 0) return LS_OK;
    return LS_FAIL(LS_ERR_UNSUPPORTED, "decoder is of type %s; \"ByteLevel\" works",
                   type_of(decoder));
}

/* --- pre-tokenizer rules ---------------------------------------------------------------------------------------- */

static ls_status add_byte_level(ls_tokenizer *tokenizer, const json_t *step) {
    if (is_set(json_object_get(step, "add_prefix_space")))
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "pre_tokenizer ByteLevel has add_prefix_space, which changes the text; "
                       "false works");
    const json_t *regex = json_object_get(step, "use_regex");
    if (regex != NULL && !json_is_true(regex)) return LS_OK;
    return ls_tokenizer_add_gpt2_rule(tokenizer);
}

static ls_status add_split(ls_tokenizer *tokenizer, const json_t *step) {
    const json_t *pattern = json_object_get(json_object_get(step, "pattern"), "Regex");
    const char *behavior = json_string_value(json_object_get(step, "behavior"));
    if (!json_is_string(pattern) || strlen(json_string_value(pattern)) == 0)
        return LS_FAIL(LS_ERR_UNSUPPORTED, "pre_tokenizer Split without a Regex pattern");
    if (behavior == NULL || strcmp(behavior, "Isolated") != 0)
        return LS_FAIL(LS_ERR_UNSUPPORTED, "pre_tokenizer Split with behavior %s; Isolated works",
                       behavior != NULL ? behavior : "unknown");
    if (is_set(json_object_get(step, "invert")))
        return LS_FAIL(LS_ERR_UNSUPPORTED, "pre_tokenizer Split with invert; false works");
    return ls_tokenizer_add_rule(tokenizer, json_string_value(pattern));
}

static ls_status add_step(ls_tokenizer *tokenizer, const json_t *step, int is_last) {
    const char *type = type_of(step);
    if (is_last) {
        if (strcmp(type, "ByteLevel") == 0) return add_byte_level(tokenizer, step);
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "pre_tokenizer ends with %s; it must end with \"ByteLevel\"", type);
    }
    if (strcmp(type, "Split") == 0) return add_split(tokenizer, step);
    if (strcmp(type, "Digits") == 0)
        return ls_tokenizer_add_rule(
            tokenizer,
            json_is_true(json_object_get(step, "individual_digits")) ? "\\p{N}" : "\\p{N}+");
    return LS_FAIL(LS_ERR_UNSUPPORTED,
                   "pre_tokenizer has a step of type %s; Split, Digits and a last ByteLevel work",
                   type);
}

static ls_status read_rules(ls_tokenizer *tokenizer, const json_t *pre) {
    if (strcmp(type_of(pre), "Sequence") != 0) return add_step(tokenizer, pre, 1);
    const json_t *steps = json_object_get(pre, "pretokenizers");
    const size_t n = json_array_size(steps);
    if (n == 0)
        return LS_FAIL(LS_ERR_FORMAT, "pre_tokenizer Sequence has no \"pretokenizers\" list");
    for (size_t i = 0; i < n; i++)
        LS_TRY(add_step(tokenizer, json_array_get(steps, i), i + 1 == n));
    return LS_OK;
}

/* --- tokens ----------------------------------------------------------------------------------------------------- */

static ls_status check_id(const reading *r, const json_t *id, const char *token, int32_t *out) {
    if (!json_is_integer(id))
        return LS_FAIL(LS_ERR_FORMAT, "token \"%.64s\": its id is no integer", token);
    const json_int_t value = json_integer_value(id);
    if (value < 0 || value >= r->n_tokens)
        return LS_FAIL(
            LS_ERR_FORMAT,
            "token \"%.64s\" has id %lld, which is out of range: %d tokens have ids 0 to %d", token,
            (long long)value, r->n_tokens, r->n_tokens - 1);
    *out = (int32_t)value;
    return LS_OK;
}

static ls_status set_new_token(reading *r, int32_t id, const char *name, const void *bytes,
                               size_t n_bytes, uint32_t flags) {
    if (r->tokenizer->tokens[id].flags & LS_TOKEN_PRESENT)
        return LS_FAIL(LS_ERR_FORMAT, "id %d is given to two tokens, one of them \"%.64s\"", id,
                       name);
    return ls_tokenizer_set_token(r->tokenizer, id, bytes, n_bytes, flags);
}

/* n_out counts the added tokens that are not in the vocabulary too. */
static ls_status count_added(const reading *r, size_t *n_out) {
    static const char *const unsupported[] = {"single_word", "lstrip", "rstrip", NULL};
    *n_out = 0;
    for (size_t i = 0; i < json_array_size(r->added); i++) {
        const json_t *token = json_array_get(r->added, i);
        const json_t *content = json_object_get(token, "content");
        if (!json_is_string(content) || json_string_length(content) == 0)
            return LS_FAIL(LS_ERR_FORMAT, "added_tokens[%zu] has no \"content\" text", i);
        LS_TRY(refuse_set(token, json_string_value(content), unsupported));
        const json_t *known =
            json_object_getn(r->vocab, json_string_value(content), json_string_length(content));
        if (known == NULL)
            ++*n_out;
        else if (!json_equal(known, json_object_get(token, "id")))
            return LS_FAIL(LS_ERR_FORMAT,
                           "added token \"%.64s\" has another id than the vocabulary gives it",
                           json_string_value(content));
    }
    return LS_OK;
}

static ls_status read_added(reading *r) {
    for (size_t i = 0; i < json_array_size(r->added); i++) {
        const json_t *token = json_array_get(r->added, i);
        const json_t *content = json_object_get(token, "content");
        const char *name = json_string_value(content);
        int32_t id = -1;
        LS_TRY(check_id(r, json_object_get(token, "id"), name, &id));
        const uint32_t special = json_is_true(json_object_get(token, "special"));
        LS_TRY(set_new_token(r, id, name, name, json_string_length(content),
                             LS_TOKEN_ADDED | (special ? LS_TOKEN_SPECIAL : 0)));
    }
    return LS_OK;
}

/* Byte alphabet -> bytes. */
static ls_status decode_name(reading *r, const char *name, size_t length, size_t *n_out) {
    const unsigned char *p = (const unsigned char *)name;
    LS_TRY(ls_array_reserve((void **)&r->bytes, &r->capacity, (int64_t)length + 1, 1));
    size_t n = 0;
    for (size_t i = 0; i < length;) {
        const size_t step = ls_utf8_char(p + i, length - i);
        const int byte = step == 0 ? -1 : ls_byte_from_char(ls_utf8_decode(p + i, step));
        if (byte < 0)
            return LS_FAIL(LS_ERR_FORMAT,
                           "token \"%.64s\" is not written in the byte-level alphabet, and is no "
                           "added token",
                           name);
        r->bytes[n++] = (unsigned char)byte;
        i += step;
    }
    *n_out = n;
    return LS_OK;
}

static ls_status read_entry(reading *r, const char *name, size_t length, const json_t *value) {
    int32_t id = -1;
    size_t n_bytes = 0;
    LS_TRY(check_id(r, value, name, &id));
    const ls_token *known = &r->tokenizer->tokens[id];
    if ((known->flags & LS_TOKEN_ADDED) && known->n_bytes == length &&
        memcmp(known->bytes, name, length) == 0)
        return LS_OK;
    if (length == 0) return LS_FAIL(LS_ERR_FORMAT, "id %d is an empty token", id);
    LS_TRY(decode_name(r, name, length, &n_bytes));
    return set_new_token(r, id, name, r->bytes, n_bytes, 0);
}

static ls_status read_tokens(reading *r) {
    size_t n_new = 0;
    LS_TRY(count_added(r, &n_new));
    const size_t n = json_object_size(r->vocab) + n_new;
    if (n == 0 || n > LS_MAX_TOKENS)
        return LS_FAIL(LS_ERR_FORMAT, "the vocabulary has %zu tokens; 1 to %d work", n,
                       (int)LS_MAX_TOKENS);
    r->n_tokens = (int32_t)n;
    LS_TRY(ls_tokenizer_begin(r->n_tokens, &r->tokenizer));
    LS_TRY(read_added(r));
    json_t *vocab = (json_t *)(uintptr_t)r->vocab; /* jansson iterates over non-const only */
    for (void *i = json_object_iter(vocab); i != NULL; i = json_object_iter_next(vocab, i))
        LS_TRY(read_entry(r, json_object_iter_key(i), json_object_iter_key_len(i),
                          json_object_iter_value(i)));
    return LS_OK;
}

/* --- merges ----------------------------------------------------------------------------------------------------- */

typedef struct half {
    const char *text;
    size_t length;
} half;

static ls_status cut_merge(const json_t *merge, size_t rank, half out[2]) {
    if (json_is_array(merge) && json_array_size(merge) == 2) {
        for (int i = 0; i < 2; i++) {
            const json_t *part = json_array_get(merge, (size_t)i);
            if (!json_is_string(part))
                return LS_FAIL(LS_ERR_FORMAT, "merge %zu is no pair of texts", rank);
            out[i] = (half){json_string_value(part), json_string_length(part)};
        }
        return LS_OK;
    }
    const char *text = json_string_value(merge);
    const size_t length = json_string_length(merge);
    const char *space = text != NULL ? memchr(text, ' ', length) : NULL;
    const size_t at = space != NULL ? (size_t)(space - text) : 0;
    if (space == NULL || memchr(space + 1, ' ', length - at - 1) != NULL)
        return LS_FAIL(LS_ERR_FORMAT,
                       "merge %zu is neither \"left right\" with one space nor a pair of texts",
                       rank);
    out[0] = (half){text, at};
    out[1] = (half){space + 1, length - at - 1};
    return LS_OK;
}

static ls_status find_part(const reading *r, half part, size_t rank, int32_t *out) {
    const json_t *id = json_object_getn(r->vocab, part.text, part.length);
    if (id == NULL)
        return LS_FAIL(LS_ERR_FORMAT, "merge %zu names \"%.*s\", which is not in the vocabulary",
                       rank, (int)(part.length < 64 ? part.length : 64), part.text);
    *out = (int32_t)json_integer_value(id); /* checked with the tokens */
    return LS_OK;
}

static ls_status read_merge(reading *r, const json_t *merge, size_t rank) {
    half parts[2];
    ls_merge ids = {0};
    LS_TRY(cut_merge(merge, rank, parts));
    LS_TRY(find_part(r, parts[0], rank, &ids.left));
    LS_TRY(find_part(r, parts[1], rank, &ids.right));
    const size_t length = parts[0].length + parts[1].length;
    LS_TRY(ls_array_reserve((void **)&r->bytes, &r->capacity, (int64_t)length + 1, 1));
    memcpy(r->bytes, parts[0].text, parts[0].length);
    memcpy(r->bytes + parts[0].length, parts[1].text, parts[1].length);
    LS_TRY(find_part(r, (half){(const char *)r->bytes, length}, rank, &ids.result));
    return ls_tokenizer_add_merge(r->tokenizer, ids);
}

static ls_status read_merges(reading *r, const json_t *merges) {
    for (size_t rank = 0; rank < json_array_size(merges); rank++)
        LS_TRY(read_merge(r, json_array_get(merges, rank), rank));
    return LS_OK;
}

/* --- the document ----------------------------------------------------------------------------------------------- */

static ls_status read_document(reading *r, const json_t *root) {
    json_t *model = NULL, *vocab = NULL, *merges = NULL;
    LS_TRY(ls_json_get_object(root, "tokenizer", "model", &model));
    LS_TRY(check_model(model));
    LS_TRY(ls_json_get_object(model, "model", "vocab", &vocab));
    LS_TRY(ls_json_get_array(model, "model", "merges", &merges));
    r->vocab = vocab;
    r->added = json_object_get(root, "added_tokens");
    const json_t *normalizer = json_object_get(root, "normalizer");
    if (is_set(normalizer))
        return LS_FAIL(LS_ERR_UNSUPPORTED, "normalizer of type %s; none (null) works",
                       type_of(normalizer));
    LS_TRY(check_decoder(json_object_get(root, "decoder")));
    LS_TRY(read_tokens(r));
    r->tokenizer->ignore_merges = json_is_true(json_object_get(model, "ignore_merges"));
    LS_TRY(read_rules(r->tokenizer, json_object_get(root, "pre_tokenizer")));
    LS_TRY(read_merges(r, merges));
    return ls_tokenizer_seal(r->tokenizer);
}

static ls_status read_root(const json_t *root, const char *what, ls_tokenizer **out) {
    reading r = {0};
    const ls_status status = read_document(&r, root);
    ls_free(r.bytes);
    if (status != LS_OK) {
        ls_tokenizer_destroy(r.tokenizer);
        return ls_error_prefix(status, "%s", what);
    }
    *out = r.tokenizer;
    return LS_OK;
}

ls_status ls_tokenizer_parse(const char *text, size_t bytes, const char *what, ls_tokenizer **out) {
    json_t *root = NULL;
    LS_TRY(ls_json_parse(text, bytes, what, &root));
    const ls_status status = read_root(root, what, out);
    json_decref(root);
    return status;
}

ls_status ls_tokenizer_open(const char *path, ls_tokenizer **out) {
    json_t *root = NULL;
    LS_TRY(ls_json_read(path, &root));
    const ls_status status = read_root(root, path, out);
    json_decref(root);
    return status;
}
