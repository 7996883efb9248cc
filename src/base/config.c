/* The table of fields, where each value came from, and the sources that are not files: defaults, environment, command
 * line. */
#include "base/config.h"
#include "base/config_internal.h"
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct field_slot {
    const ls_config_field *field;
    char *env_name; /* LOCKSTEP_MODEL_LAYERS */
    char *text;     /* owns the value of a STRING */
    char *origin;   /* NULL = default */
} field_slot;

struct ls_config {
    field_slot *slots;
    const char **keys, **env_names; /* the slots' names, as ls_nearest_name wants them */
    int n_fields;
    void *target;
};

static const char env_prefix[] = "LOCKSTEP_";
/* Names that are no keys. */
typedef struct other_name {
    const char *name;
    int is_prefix;
} other_name;
static const other_name other_names[] = {
    {"LOCKSTEP_ISA", 0},      /* the most an instruction set may have */
    {"LOCKSTEP_FAULT", 0},    /* an injected fault */
    {"LOCKSTEP_FS_FAULT", 0}, /* the same in a file operation */
    {"LOCKSTEP_PLUGINS", 0},  /* folder of the plugins for MPI */
    {"LOCKSTEP_MPI_P2P", 0},  /* every MPI rank is taken for a host of its own */
    {"LOCKSTEP_RUN", 1},      /* what a supervisor hands to its ranks, */
    {"LOCKSTEP_KEEPER", 1},   /* and where the keepers of the run are, */
    {"LOCKSTEP_RESTORE", 0},  /* which step they hold, */
    {"LOCKSTEP_ATTEMPT", 0},  /* how often the run was started before */
};

const char *ls_config_env(const char *name) {
    return getenv(name);
}

ls_status ls_config_env_set(const char *name, const char *value) {
    if ((value ? setenv(name, value, 1) : unsetenv(name)) == 0) return LS_OK;
    return LS_FAIL(LS_ERR_NO_MEMORY, "cannot set %s in the environment: %s", name, strerror(errno));
}

int ls_config_n_fields(const ls_config *config) {
    return config->n_fields;
}

const ls_config_field *ls_config_field_at(const ls_config *config, int i) {
    return config->slots[i].field;
}

const void *ls_config_target(const ls_config *config) {
    return config->target;
}

const char *ls_config_origin_at(const ls_config *config, int i) {
    return config->slots[i].origin ? config->slots[i].origin : "default";
}

int ls_config_find(const ls_config *config, const char *key) {
    for (int i = 0; i < config->n_fields; i++)
        if (strcmp(config->keys[i], key) == 0) return i;
    return -1;
}

const char *ls_config_origin(const ls_config *config, const char *key) {
    const int i = ls_config_find(config, key);
    return i < 0 ? "unknown key" : ls_config_origin_at(config, i);
}

int ls_config_is_section(const ls_config *config, const char *section) {
    const size_t n = strlen(section);
    for (int i = 0; i < config->n_fields; i++)
        if (strncmp(config->keys[i], section, n) == 0 && config->keys[i][n] == '.') return 1;
    return 0;
}

static ls_status make_env_name(const char *key, char **out) {
    char *name = ls_format("%s%s", env_prefix, key);
    if (!name) return LS_ERR_NO_MEMORY;
    for (char *at = name; *at; at++)
        *at = *at == '.' || *at == '-' ? '_' : (char)toupper((unsigned char)*at);
    *out = name;
    return LS_OK;
}

/* Mistakes in a table are ours, not the user's. */
static ls_status check_slot(const ls_config *config, int i) {
    const ls_config_field *field = config->slots[i].field;
    if (strlen(field->key) >= LS_CONFIG_KEY_BYTES)
        return LS_FAIL(LS_ERR_INTERNAL, "config key %s is too long", field->key);
    if (field->type == LS_CONFIG_ENUM && !field->choices)
        return LS_FAIL(LS_ERR_INTERNAL, "config key %s has no choices", field->key);
    for (int j = 0; j < i; j++)
        if (strcmp(config->slots[j].env_name, config->slots[i].env_name) == 0)
            return LS_FAIL(LS_ERR_INTERNAL, "config keys %s and %s share the name %s",
                           config->keys[j], field->key, config->slots[i].env_name);
    return LS_OK;
}

static ls_status store_text(ls_config *config, int i, ls_config_value value, char *origin) {
    field_slot *slot = &config->slots[i];
    char *text = NULL;
    if (slot->field->type == LS_CONFIG_STRING && value.text) {
        text = ls_strdup(value.text);
        if (!text) return LS_ERR_NO_MEMORY;
        value.text = text;
    }
    ls_config_value_store(slot->field, config->target, value);
    ls_free(slot->text);
    ls_free(slot->origin);
    slot->text = text;
    slot->origin = origin;
    return LS_OK;
}

static ls_status add_field(ls_config *config, const ls_config_field *field) {
    const int i = config->n_fields;
    field_slot *slot = &config->slots[i];
    slot->field = field;
    LS_TRY(make_env_name(field->key, &slot->env_name));
    config->keys[i] = field->key;
    config->env_names[i] = slot->env_name;
    config->n_fields++;
    LS_TRY(check_slot(config, i));
    ls_config_value value;
    const ls_status status =
        ls_config_value_parse(field, (ls_config_scalar){field->default_text, 0}, &value);
    if (status == LS_ERR_NO_MEMORY) return status;
    if (status != LS_OK) return LS_FAIL(LS_ERR_INTERNAL, "bad default: %s", ls_error_message());
    return store_text(config, i, value, NULL);
}

ls_status ls_config_create(const ls_config_table *tables, int n_tables, void *target,
                           ls_config **out) {
    size_t n = 0;
    for (int t = 0; t < n_tables; t++) n += (size_t)tables[t].n_fields;
    ls_config *config = ls_alloc(sizeof *config);
    if (!config) return LS_ERR_NO_MEMORY;
    config->target = target;
    ls_status status = LS_ERR_NO_MEMORY;
    config->slots = ls_alloc(n * sizeof *config->slots);
    config->keys = ls_alloc(n * sizeof *config->keys);
    config->env_names = ls_alloc(n * sizeof *config->env_names);
    if (config->slots && config->keys && config->env_names) status = LS_OK;
    for (int t = 0; t < n_tables; t++)
        for (int f = 0; status == LS_OK && f < tables[t].n_fields; f++)
            status = add_field(config, &tables[t].fields[f]);
    if (status != LS_OK) {
        ls_config_destroy(config);
        return status;
    }
    *out = config;
    return LS_OK;
}

void ls_config_destroy(ls_config *config) {
    if (!config) return;
    /* n_fields counts a slot once its name is there; a name that failed left nothing behind. */
    for (int i = 0; i < config->n_fields; i++) {
        ls_free(config->slots[i].env_name);
        ls_free(config->slots[i].text);
        ls_free(config->slots[i].origin);
    }
    ls_free(config->slots);
    ls_free(config->keys);
    ls_free(config->env_names);
    ls_free(config);
}

ls_status ls_config_assign(ls_config *config, int i, ls_config_scalar scalar, const char *origin) {
    ls_config_value value;
    ls_status status = ls_config_value_parse(config->slots[i].field, scalar, &value);
    if (status != LS_OK) return ls_error_prefix(status, "%s", origin);
    char *kept = ls_strdup(origin);
    if (!kept) return LS_ERR_NO_MEMORY;
    status = store_text(config, i, value, kept);
    if (status != LS_OK) ls_free(kept);
    return status;
}

/* The longest beginning of a dotted key that is itself a key ("steps" of "steps.warmup"), or -1. */
static int find_leaf_above(const ls_config *config, const char *key) {
    for (int i = 0; i < config->n_fields; i++) {
        const size_t n = strlen(config->keys[i]);
        if (strncmp(config->keys[i], key, n) == 0 && key[n] == '.') return i;
    }
    return -1;
}

ls_status ls_config_fail_unknown(const ls_config *config, const char *key, const char *origin) {
    const int leaf = find_leaf_above(config, key);
    if (leaf >= 0)
        return LS_FAIL(LS_ERR_CONFIG, "%s: unknown key '%s'; '%s' holds one value, not a section",
                       origin, key, config->keys[leaf]);
    if (ls_config_is_section(config, key))
        return LS_FAIL(LS_ERR_CONFIG, "%s: '%s' is a section, not a value; set one of its keys",
                       origin, key);
    const char *near = ls_nearest_name(key, config->keys, config->n_fields);
    if (near)
        return LS_FAIL(LS_ERR_CONFIG, "%s: unknown key '%s'; did you mean '%s'?", origin, key,
                       near);
    return LS_FAIL(LS_ERR_CONFIG, "%s: unknown key '%s'; `lockstep config show` lists every key",
                   origin, key);
}

ls_status ls_config_set(ls_config *config, const char *assignment) {
    static const char origin[] = "command line";
    const char *equals = strchr(assignment, '=');
    const size_t n = equals ? (size_t)(equals - assignment) : 0;
    if (n == 0 || n >= LS_CONFIG_KEY_BYTES)
        return LS_FAIL(LS_ERR_CONFIG,
                       "%s: '%s' is no assignment; write key=value, such as steps=100", origin,
                       assignment);
    char key[LS_CONFIG_KEY_BYTES];
    memcpy(key, assignment, n);
    key[n] = '\0';
    const int i = ls_config_find(config, key);
    if (i < 0) return ls_config_fail_unknown(config, key, origin);
    /* "out=" unsets: there is no other way to write that on a command line. */
    const char *text = equals[1] == '\0' ? NULL : equals + 1;
    return ls_config_assign(config, i, (ls_config_scalar){text, 0}, origin);
}

static ls_status read_env_field(ls_config *config, int i) {
    const char *name = config->env_names[i], *text = ls_config_env(name);
    if (!text) return LS_OK;
    char *origin = ls_format("environment %s", name);
    if (!origin) return LS_ERR_NO_MEMORY;
    const ls_config_scalar scalar = {text[0] == '\0' ? NULL : text, 0};
    const ls_status status = ls_config_assign(config, i, scalar, origin);
    ls_free(origin);
    return status;
}

/* `entry` is "NAME=value" of the environment. */
static ls_status check_env_entry(const ls_config *config, const char *entry) {
    char name[LS_CONFIG_KEY_BYTES];
    const size_t n = strcspn(entry, "=");
    if (strncmp(entry, env_prefix, sizeof env_prefix - 1) != 0 || n >= sizeof name) return LS_OK;
    memcpy(name, entry, n);
    name[n] = '\0';
    for (size_t i = 0; i < sizeof other_names / sizeof other_names[0]; i++) {
        const other_name *other = &other_names[i];
        if (other->is_prefix ? strncmp(name, other->name, strlen(other->name)) == 0
                             : strcmp(name, other->name) == 0)
            return LS_OK;
    }
    for (int i = 0; i < config->n_fields; i++)
        if (strcmp(config->env_names[i], name) == 0) return LS_OK;
    const char *near = ls_nearest_name(name, config->env_names, config->n_fields);
    return LS_FAIL(LS_ERR_CONFIG, "environment: %s is no configuration key%s%s%s", name,
                   near ? "; did you mean " : "; unset it", near ? near : "", near ? "?" : "");
}

ls_status ls_config_read_env(ls_config *config) {
    for (int i = 0; i < config->n_fields; i++) LS_TRY(read_env_field(config, i));
    for (char **entry = environ; entry && *entry; entry++) LS_TRY(check_env_entry(config, *entry));
    return LS_OK;
}
