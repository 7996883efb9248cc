#include "base/json.h"
#include "base/alloc.h"
#include "base/fs.h"
#include <string.h>

static const char *type_words(const json_t *value) {
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a real number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    default:
        return "null";
    }
}

ls_status ls_json_parse(const char *text, size_t bytes, const char *what, json_t **out) {
    json_error_t error;
    const size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY;
    const int64_t refused = ls_alloc_n_refused();
    ls_alloc_jansson_reads(1);
    json_t *value = json_loadb(text, bytes, flags, &error);
    ls_alloc_jansson_reads(0);
    /* jansson reports some failed allocations as bad syntax, and takes others for the end of a list. */
    if (ls_alloc_n_refused() != refused) {
        json_decref(value);
        return LS_FAIL(LS_ERR_NO_MEMORY, "%s: out of memory while reading JSON", what);
    }
    if (!value)
        return LS_FAIL(LS_ERR_FORMAT, "%s: line %d, column %d: not valid JSON: %s", what,
                       error.line, error.column, error.text);
    *out = value;
    return LS_OK;
}

ls_status ls_json_read(const char *path, json_t **out) {
    char *text;
    size_t bytes;
    LS_TRY(ls_file_read(path, &text, &bytes));
    const ls_status status = ls_json_parse(text, bytes, path, out);
    ls_free(text);
    return status;
}

static ls_status find_member(const json_t *object, const char *what, const char *key,
                             json_t **out) {
    if (!json_is_object(object))
        return LS_FAIL(LS_ERR_FORMAT, "%s: expected an object with the key \"%s\", found %s", what,
                       key, object ? type_words(object) : "nothing");
    json_t *value = json_object_get(object, key);
    if (!value) return LS_FAIL(LS_ERR_FORMAT, "%s: the key \"%s\" is missing", what, key);
    *out = value;
    return LS_OK;
}

static ls_status fail_type(const char *what, const char *key, const char *wanted,
                           const json_t *value) {
    return LS_FAIL(LS_ERR_FORMAT, "%s: \"%s\" must be %s, found %s", what, key, wanted,
                   type_words(value));
}

ls_status ls_json_get_int(const json_t *object, const char *what, const char *key, int64_t *out) {
    json_t *value;
    LS_TRY(find_member(object, what, key, &value));
    if (!json_is_integer(value)) return fail_type(what, key, "an integer", value);
    *out = json_integer_value(value);
    return LS_OK;
}

ls_status ls_json_get_number(const json_t *object, const char *what, const char *key, double *out) {
    json_t *value;
    LS_TRY(find_member(object, what, key, &value));
    if (!json_is_number(value)) return fail_type(what, key, "a number", value);
    *out = json_number_value(value);
    return LS_OK;
}

ls_status ls_json_get_string(const json_t *object, const char *what, const char *key,
                             const char **out) {
    json_t *value;
    LS_TRY(find_member(object, what, key, &value));
    if (!json_is_string(value)) return fail_type(what, key, "a string", value);
    *out = json_string_value(value);
    return LS_OK;
}

ls_status ls_json_get_bool(const json_t *object, const char *what, const char *key, int *out) {
    json_t *value;
    LS_TRY(find_member(object, what, key, &value));
    if (!json_is_boolean(value)) return fail_type(what, key, "true or false", value);
    *out = json_is_true(value);
    return LS_OK;
}

ls_status ls_json_get_object(const json_t *object, const char *what, const char *key,
                             json_t **out) {
    json_t *value;
    LS_TRY(find_member(object, what, key, &value));
    if (!json_is_object(value)) return fail_type(what, key, "an object", value);
    *out = value;
    return LS_OK;
}

ls_status ls_json_get_array(const json_t *object, const char *what, const char *key, json_t **out) {
    json_t *value;
    LS_TRY(find_member(object, what, key, &value));
    if (!json_is_array(value)) return fail_type(what, key, "an array", value);
    *out = value;
    return LS_OK;
}

/* jansson allocates by the hook (alloc.c), so its text is already what ls_free expects. */
ls_status ls_json_dump(const json_t *value, size_t flags, char **text_out, size_t *bytes_out) {
    if (!value) return LS_FAIL(LS_ERR_INVALID, "there is no JSON value to print");
    const int64_t refused = ls_alloc_n_refused();
    char *text = json_dumps(value, flags | JSON_ENCODE_ANY);
    if (!text || ls_alloc_n_refused() != refused) {
        ls_free(text);
        return LS_FAIL(LS_ERR_NO_MEMORY, "out of memory while printing JSON");
    }
    *text_out = text;
    if (bytes_out) *bytes_out = strlen(text);
    return LS_OK;
}
