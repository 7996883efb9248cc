/* What the files of config share: one value of one field, and the way every source assigns it. */
#ifndef LS_BASE_CONFIG_INTERNAL_H
#define LS_BASE_CONFIG_INTERNAL_H
#include "base/alloc.h"
#include "base/config.h"

enum { LS_CONFIG_KEY_BYTES = 256 };

typedef union ls_config_value {
    int64_t integer;
    double real;
    int index;        /* BOOL: 0 or 1; ENUM: index into choices */
    const char *text; /* STRING: NULL = unset */
} ls_config_value;

/* A value as it was written. text NULL = null: it unsets a string and is an error for everything else. */
typedef struct ls_config_scalar {
    const char *text;
    int is_quoted; /* a quoted scalar is a string, so it is no number and no boolean */
} ls_config_scalar;

/* Checks type, choices and range. The message says what was found and what would work, not where. */
ls_status ls_config_value_parse(const ls_config_field *field, ls_config_scalar scalar,
                                ls_config_value *out);
ls_config_value ls_config_value_load(const ls_config_field *field, const void *target);
void ls_config_value_store(const ls_config_field *field, void *target, ls_config_value value);
void ls_config_value_append(const ls_config_field *field, ls_config_value value, ls_text *text);
/* "int", "float", ...; and the allowed values in words, e.g. "1 to 8" or "sgd, adamw". */
const char *ls_config_type_name(ls_config_type type);
void ls_config_range_append(const ls_config_field *field, ls_text *text);

int ls_config_n_fields(const ls_config *config);
const ls_config_field *ls_config_field_at(const ls_config *config, int i);
const void *ls_config_target(const ls_config *config);
const char *ls_config_origin_at(const ls_config *config, int i);
/* Index of a key, or -1. */
int ls_config_find(const ls_config *config, const char *key);
/* Whether some key starts with "section.". */
int ls_config_is_section(const ls_config *config, const char *section);
/* Sets field i; `origin` also begins the message when the value is refused. */
ls_status ls_config_assign(ls_config *config, int i, ls_config_scalar scalar, const char *origin);
/* Records what is wrong with a key that is not in the tables. */
ls_status ls_config_fail_unknown(const ls_config *config, const char *key, const char *origin);

#endif
