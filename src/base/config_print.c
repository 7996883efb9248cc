/* A configuration as text, as JSON, and its tables as documentation. */
#include "base/config.h"
#include "base/config_internal.h"
#include <string.h>

enum { ORIGIN_COLUMN = 48 };

static ls_status take_text(ls_text *text, char **out) {
    const ls_status status = text->status;
    if (status == LS_OK)
        *out = text->data;
    else
        ls_text_deinit(text);
    return status;
}

ls_status ls_config_print(const ls_config *config, char **text_out) {
    ls_text text = {0};
    ls_text_append(&text, "%s", "");
    for (int i = 0; i < ls_config_n_fields(config); i++) {
        const ls_config_field *field = ls_config_field_at(config, i);
        const size_t start = text.size;
        ls_text_append(&text, "%s = ", field->key);
        ls_config_value_append(field, ls_config_value_load(field, ls_config_target(config)), &text);
        const size_t used = text.size - start;
        const int pad = used < ORIGIN_COLUMN ? (int)(ORIGIN_COLUMN - used) : 0;
        ls_text_append(&text, "%*s  # %s\n", pad, "", ls_config_origin_at(config, i));
    }
    return take_text(&text, text_out);
}

static json_t *value_to_json(const ls_config_field *field, const void *target) {
    const ls_config_value value = ls_config_value_load(field, target);
    switch (field->type) {
    case LS_CONFIG_INT:
        return json_integer(value.integer);
    case LS_CONFIG_FLOAT:
        return json_real(value.real);
    case LS_CONFIG_BOOL:
        return json_boolean(value.index);
    case LS_CONFIG_STRING:
        return value.text ? json_string(value.text) : json_null();
    default:
        return json_string(field->choices[value.index]);
    }
}

/* Values were checked when they were set; a path that is not UTF-8 can still be in an origin. */
static ls_status fail_json(int64_t refused_before) {
    if (ls_alloc_n_refused() != refused_before)
        return LS_FAIL(LS_ERR_NO_MEMORY, "out of memory while making JSON of the configuration");
    return LS_FAIL(LS_ERR_CONFIG, "the configuration or the path of its file is not UTF-8, so it "
                                  "cannot be written as JSON");
}

/* json_object_set_new frees the value also when it fails, and fails when it is NULL. */
static json_t *field_to_json(const ls_config *config, int i) {
    const ls_config_field *field = ls_config_field_at(config, i);
    json_t *object = json_object();
    json_t *value = value_to_json(field, ls_config_target(config));
    const char *help = field->help ? field->help : "";
    int failed = json_object_set_new(object, "key", json_string(field->key));
    failed |= json_object_set_new(object, "value", value);
    failed |= json_object_set_new(object, "origin", json_string(ls_config_origin_at(config, i)));
    failed |= json_object_set_new(object, "help", json_string(help));
    if (!failed) return object;
    json_decref(object);
    return NULL;
}

ls_status ls_config_to_json(const ls_config *config, json_t **out) {
    const int64_t refused = ls_alloc_n_refused();
    json_t *array = json_array();
    int failed = array == NULL;
    for (int i = 0; !failed && i < ls_config_n_fields(config); i++)
        failed = json_array_append_new(array, field_to_json(config, i));
    if (failed) {
        json_decref(array);
        return fail_json(refused);
    }
    *out = array;
    return LS_OK;
}

ls_status ls_config_values(const ls_config *config, json_t **out) {
    const int64_t refused = ls_alloc_n_refused();
    json_t *object = json_object();
    int failed = object == NULL;
    for (int i = 0; !failed && i < ls_config_n_fields(config); i++) {
        const ls_config_field *field = ls_config_field_at(config, i);
        json_t *value = value_to_json(field, ls_config_target(config));
        failed = json_object_set_new(object, field->key, value);
    }
    if (failed) {
        json_decref(object);
        return fail_json(refused);
    }
    *out = object;
    return LS_OK;
}

/* A bar would end the table's cell. */
static void append_cell(ls_text *text, const char *cell) {
    ls_text_append(text, " ");
    for (; *cell; cell++) ls_text_append(text, *cell == '|' ? "\\|" : "%c", *cell);
    ls_text_append(text, " |");
}

static void append_row(ls_text *text, const ls_config_field *field) {
    ls_text range = {0};
    ls_config_range_append(field, &range);
    ls_text_append(text, "| `%s` | %s |", field->key, ls_config_type_name(field->type));
    append_cell(text, field->default_text ? field->default_text : "unset");
    append_cell(text, range.size ? range.data : "any");
    append_cell(text, field->help ? field->help : "");
    ls_text_append(text, "\n");
    if (range.status != LS_OK && text->status == LS_OK) text->status = range.status;
    ls_text_deinit(&range);
}

ls_status ls_config_document(const ls_config_table *tables, int n_tables, char **text_out) {
    ls_text text = {0};
    ls_text_append(&text, "| key | type | default | allowed | meaning |\n");
    ls_text_append(&text, "|---|---|---|---|---|\n");
    for (int t = 0; t < n_tables; t++)
        for (int f = 0; f < tables[t].n_fields; f++) append_row(&text, &tables[t].fields[f]);
    return take_text(&text, text_out);
}
