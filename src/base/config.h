/* Configuration by tables. One table per room gives file keys, key=value overrides, LOCKSTEP_* names, checks and docs.
 *
 * A table lists fields of one struct. Keys may hold dots (model.layers); a YAML file nests them. Values come, later
 * wins, from: default, file, environment (LOCKSTEP_MODEL_LAYERS), command line (model.layers=4). Unknown keys, wrong
 * types and values out of range are errors that name the nearest known key or the allowed range. getenv is called
 * nowhere else. Local; a config belongs to one thread. */
#ifndef LS_BASE_CONFIG_H
#define LS_BASE_CONFIG_H
#include "base/json.h"
#include "lockstep/status.h"
#include <stddef.h>
#include <stdint.h>

typedef enum ls_config_type {
    LS_CONFIG_INT,    /* int64_t; YAML ints, and 1e6 / 4k / 2M / 1G forms are refused */
    LS_CONFIG_FLOAT,  /* double */
    LS_CONFIG_BOOL,   /* int: true/false */
    LS_CONFIG_STRING, /* const char *, owned by the ls_config */
    LS_CONFIG_ENUM    /* int index into .choices */
} ls_config_type;

typedef struct ls_config_field {
    const char *key;
    ls_config_type type;
    size_t offset; /* of the member in the struct */
    const char
        *default_text; /* parsed like a file value; NULL: a string that may be unset (NULL) */
    double min, max;   /* INT and FLOAT: inclusive; both 0 = unbounded */
    const char *const *choices; /* ENUM: NULL-terminated */
    const char *help;           /* one line, units included */
} ls_config_field;

typedef struct ls_config_table {
    const ls_config_field *fields;
    int n_fields;
} ls_config_table;

typedef struct ls_config ls_config;

/* Tables are concatenated; their offsets are all into `target` (one struct of structs: use offsetof on it).
 * target must outlive the config and gets the defaults at once. */
LS_API ls_status ls_config_create(const ls_config_table *tables, int n_tables, void *target,
                                  ls_config **out);
LS_API void ls_config_destroy(ls_config *config);
LS_API ls_status ls_config_read_file(ls_config *config, const char *path);
LS_API ls_status ls_config_read_text(ls_config *config, const char *text, size_t bytes,
                                     const char *what);
LS_API ls_status ls_config_read_env(ls_config *config);
LS_API ls_status ls_config_set(ls_config *config, const char *assignment); /* "key=value" */
/* Origin of a key's value: "default", "file configs/tiny.yaml:3", "environment LOCKSTEP_SEED", "command line". */
LS_API const char *ls_config_origin(const ls_config *config, const char *key);
/* "key = value   # origin" lines in table order, or a JSON array of {key, value, origin, help}. */
LS_API ls_status ls_config_print(const ls_config *config, char **text_out);
LS_API ls_status ls_config_to_json(const ls_config *config, json_t **out);
/* {key: value} of every field, for checkpoints. */
LS_API ls_status ls_config_values(const ls_config *config, json_t **out);
/* Markdown table of the fields (docs/configuration.md is made of it). */
LS_API ls_status ls_config_document(const ls_config_table *tables, int n_tables, char **text_out);
/* The environment, the only reader of it. NULL when unset. */
LS_API const char *ls_config_env(const char *name);
/* Sets a variable of this process (NULL: removes it), for a program it is about to become: not while other threads run. */
LS_API ls_status ls_config_env_set(const char *name, const char *value);
/* Nearest of `names` by edit distance when close enough, else NULL ("did you mean"). */
LS_API const char *ls_nearest_name(const char *name, const char *const *names, int n_names);

#endif
