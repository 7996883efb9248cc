/* YAML files for configurations: one document of nested mappings and scalars. What would make a file mean something else
 * than it seems to (anchors, tags, duplicate keys, several documents) is refused. */
#include "base/config.h"
#include "base/config_internal.h"
#include "base/fs.h"
#include <stdio.h>
#include <string.h>
#include <yaml.h>

enum { DEEPEST_SECTION = 16 };
static const size_t largest_file_bytes = (size_t)1 << 20;

/* Keys met in one mapping. */
typedef struct seen_key {
    struct seen_key *next;
    const char *text;
    int line;
} seen_key;

/* An event, copied out of libyaml's memory. */
typedef struct yaml_item {
    yaml_event_type_t type;
    ls_config_scalar scalar;
    int line;
} yaml_item;

typedef struct yaml_source {
    ls_config *config;
    const char *name; /* "file configs/tiny.yaml" */
    yaml_parser_t parser;
    ls_arena *arena; /* holds everything that lives as long as the reading */
    int *set_at;     /* [n_fields] line that set the field in this file, 0 = none */
    char path[LS_CONFIG_KEY_BYTES];
} yaml_source;

static ls_status fail_at(const yaml_source *source, int line, const char *problem) {
    return LS_FAIL(LS_ERR_CONFIG, "%s:%d: %s", source->name, line, problem);
}

static ls_status fail_parse(const yaml_source *source) {
    const yaml_parser_t *parser = &source->parser;
    if (parser->error == YAML_MEMORY_ERROR)
        return LS_FAIL(LS_ERR_NO_MEMORY, "%s: out of memory while reading YAML", source->name);
    return LS_FAIL(LS_ERR_CONFIG, "%s:%zu: not valid YAML: %s (column %zu)", source->name,
                   parser->problem_mark.line + 1, parser->problem ? parser->problem : "unreadable",
                   parser->problem_mark.column + 1);
}

static int is_null_text(const char *text) {
    return text[0] == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0 ||
           strcmp(text, "Null") == 0 || strcmp(text, "NULL") == 0;
}

static ls_status copy_scalar(yaml_source *source, const yaml_event_t *event, yaml_item *item) {
    const char *text = (const char *)event->data.scalar.value;
    if (strlen(text) != event->data.scalar.length)
        return fail_at(source, item->line, "a value holds a NUL character");
    item->scalar.is_quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    if (!item->scalar.is_quoted && is_null_text(text)) return LS_OK;
    item->scalar.text = ls_arena_strdup(source->arena, text);
    return item->scalar.text ? LS_OK : LS_ERR_NO_MEMORY;
}

static ls_status copy_event(yaml_source *source, const yaml_event_t *event, yaml_item *item) {
    const yaml_char_t *anchor = NULL, *tag = NULL;
    if (event->type == YAML_SCALAR_EVENT) {
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
        LS_TRY(copy_scalar(source, event, item));
    } else if (event->type == YAML_MAPPING_START_EVENT) {
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        return fail_at(source, item->line, "a list was found; every key holds one value");
    }
    if (anchor || event->type == YAML_ALIAS_EVENT)
        return fail_at(source, item->line,
                       "anchors and aliases (& and *) are not supported; write "
                       "the value out, or quote it if it begins with & or *");
    if (tag)
        return fail_at(source, item->line, "tags (!) are not supported; write the value alone");
    return LS_OK;
}

static ls_status next_item(yaml_source *source, yaml_item *out) {
    yaml_event_t event;
    if (!yaml_parser_parse(&source->parser, &event)) return fail_parse(source);
    yaml_item item = {.type = event.type, .line = (int)event.start_mark.line + 1};
    const ls_status status = copy_event(source, &event, &item);
    yaml_event_delete(&event);
    if (status == LS_OK) *out = item;
    return status;
}

static ls_status note_key(yaml_source *source, seen_key **seen, const yaml_item *key) {
    for (const seen_key *at = *seen; at; at = at->next)
        if (strcmp(at->text, key->scalar.text) == 0)
            return LS_FAIL(LS_ERR_CONFIG, "%s:%d: '%s' was given before, on line %d; keep one",
                           source->name, key->line, source->path, at->line);
    seen_key *entry = ls_arena_alloc(source->arena, sizeof *entry);
    if (!entry) return LS_ERR_NO_MEMORY;
    *entry = (seen_key){*seen, key->scalar.text, key->line};
    *seen = entry;
    return LS_OK;
}

/* source->path holds the dotted key. */
static ls_status assign_item(yaml_source *source, const yaml_item *value, int line) {
    char *origin = ls_arena_format(source->arena, "%s:%d", source->name, line);
    if (!origin) return LS_ERR_NO_MEMORY;
    const int i = ls_config_find(source->config, source->path);
    /* "model:" with nothing below it is an empty section. */
    if (i < 0 && !value->scalar.text && ls_config_is_section(source->config, source->path))
        return LS_OK;
    if (i < 0) return ls_config_fail_unknown(source->config, source->path, origin);
    if (source->set_at[i])
        return LS_FAIL(LS_ERR_CONFIG, "%s: '%s' was given before, on line %d; keep one", origin,
                       source->path, source->set_at[i]);
    source->set_at[i] = line;
    return ls_config_assign(source->config, i, value->scalar, origin);
}

/* Names of all sections, for "did you mean". */
static ls_status list_sections(const yaml_source *source, const char ***names_out, int *n_out) {
    const int n_fields = ls_config_n_fields(source->config);
    int n = 0, n_dots = 0;
    for (int i = 0; i < n_fields; i++)
        for (const char *at = ls_config_field_at(source->config, i)->key; *at; at++)
            n_dots += *at == '.';
    const char **names = ls_arena_alloc(source->arena, (size_t)n_dots * sizeof *names);
    if (!names) return LS_ERR_NO_MEMORY;
    for (int i = 0; i < n_fields; i++) {
        const char *key = ls_config_field_at(source->config, i)->key;
        for (const char *at = key; *at; at++) {
            if (*at != '.') continue;
            char *name = ls_arena_strdup(source->arena, key);
            if (!name) return LS_ERR_NO_MEMORY;
            name[at - key] = '\0';
            names[n++] = name;
        }
    }
    *names_out = names;
    *n_out = n;
    return LS_OK;
}

static ls_status check_section(yaml_source *source, int line) {
    if (ls_config_is_section(source->config, source->path)) return LS_OK;
    if (ls_config_find(source->config, source->path) >= 0)
        return LS_FAIL(LS_ERR_CONFIG, "%s:%d: '%s' holds one value, not a section", source->name,
                       line, source->path);
    const char **names;
    int n;
    LS_TRY(list_sections(source, &names, &n));
    const char *near = ls_nearest_name(source->path, names, n);
    return LS_FAIL(LS_ERR_CONFIG, "%s:%d: unknown section '%s'%s%s%s", source->name, line,
                   source->path,
                   near ? "; did you mean '" : "; `lockstep config show` lists every key",
                   near ? near : "", near ? "'?" : "");
}

/* Appends ".key" to the path. */
static ls_status push_key(yaml_source *source, const yaml_item *key, size_t path_bytes) {
    if (key->type != YAML_SCALAR_EVENT || !key->scalar.text)
        return fail_at(source, key->line, "a key must be a name");
    const size_t room = sizeof source->path - path_bytes;
    const int wanted =
        snprintf(source->path + path_bytes, room, "%s%s", path_bytes ? "." : "", key->scalar.text);
    if (wanted < 0 || (size_t)wanted >= room)
        return fail_at(source, key->line, "a key is too long");
    return LS_OK;
}

/* After a MAPPING_START; `path_bytes` of source->path name this mapping. */
static ls_status read_mapping(yaml_source *source, size_t path_bytes, int depth) {
    seen_key *seen = NULL;
    for (;;) {
        yaml_item key, value;
        LS_TRY(next_item(source, &key));
        if (key.type == YAML_MAPPING_END_EVENT) return LS_OK;
        LS_TRY(push_key(source, &key, path_bytes));
        LS_TRY(note_key(source, &seen, &key));
        LS_TRY(next_item(source, &value));
        if (value.type == YAML_MAPPING_START_EVENT) {
            if (depth >= DEEPEST_SECTION)
                return fail_at(source, key.line, "sections nest too deep");
            LS_TRY(check_section(source, key.line));
            LS_TRY(read_mapping(source, strlen(source->path), depth + 1));
        } else {
            LS_TRY(assign_item(source, &value, key.line));
        }
        source->path[path_bytes] = '\0';
    }
}

static ls_status read_document(yaml_source *source) {
    yaml_item item;
    LS_TRY(next_item(source, &item)); /* the stream's start */
    LS_TRY(next_item(source, &item));
    if (item.type == YAML_STREAM_END_EVENT) return LS_OK;
    LS_TRY(next_item(source, &item));
    if (item.type == YAML_MAPPING_START_EVENT)
        LS_TRY(read_mapping(source, 0, 0));
    else if (item.scalar.text || item.type != YAML_SCALAR_EVENT)
        return fail_at(source, item.line, "expected 'key: value' lines");
    LS_TRY(next_item(source, &item)); /* the document's end */
    LS_TRY(next_item(source, &item));
    if (item.type != YAML_STREAM_END_EVENT)
        return fail_at(source, item.line, "a second document begins here; keep one to a file");
    return LS_OK;
}

static ls_status read_named(ls_config *config, const char *text, size_t bytes, const char *name) {
    if (bytes > largest_file_bytes)
        return LS_FAIL(LS_ERR_CONFIG,
                       "%s: %zu bytes is too large for a configuration (at most %zu)", name, bytes,
                       largest_file_bytes);
    yaml_source source = {.config = config, .name = name};
    LS_TRY(ls_arena_create(&source.arena));
    ls_status status = LS_ERR_NO_MEMORY;
    const size_t n = (size_t)ls_config_n_fields(config);
    source.set_at = ls_arena_alloc(source.arena, n * sizeof *source.set_at);
    if (!source.set_at) goto out;
    if (!yaml_parser_initialize(&source.parser)) {
        status = LS_FAIL(LS_ERR_NO_MEMORY, "%s: out of memory while reading YAML", name);
        goto out;
    }
    yaml_parser_set_input_string(&source.parser, (const unsigned char *)text, bytes);
    status = read_document(&source);
    yaml_parser_delete(&source.parser);
out:
    ls_arena_destroy(source.arena);
    return status;
}

ls_status ls_config_read_text(ls_config *config, const char *text, size_t bytes, const char *what) {
    return read_named(config, text, bytes, what);
}

ls_status ls_config_read_file(ls_config *config, const char *path) {
    char *text, *name = ls_format("file %s", path);
    if (!name) return LS_ERR_NO_MEMORY;
    size_t bytes;
    ls_status status;
    LS_TRY_GOTO(ls_file_read(path, &text, &bytes), out);
    status = read_named(config, text, bytes, name);
    ls_free(text);
out:
    ls_free(name);
    return status;
}
