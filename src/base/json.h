/* Strict JSON on jansson: UTF-8 checked, duplicate keys refused, nothing after the value, depth bounded, 64-bit
 * integers kept. Getters name the key, the type asked and the type found. json_t is jansson's; free with
 * json_decref. Local, reentrant. */
#ifndef LS_BASE_JSON_H
#define LS_BASE_JSON_H
#include "lockstep/status.h"
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

LS_API ls_status ls_json_parse(const char *text, size_t bytes, const char *what, json_t **out);
LS_API ls_status ls_json_read(const char *path, json_t **out);
/* Required members; `what` names the document in messages. */
LS_API ls_status ls_json_get_int(const json_t *object, const char *what, const char *key,
                                 int64_t *out);
LS_API ls_status ls_json_get_number(const json_t *object, const char *what, const char *key,
                                    double *out);
LS_API ls_status ls_json_get_string(const json_t *object, const char *what, const char *key,
                                    const char **out);
LS_API ls_status ls_json_get_bool(const json_t *object, const char *what, const char *key,
                                  int *out);
LS_API ls_status ls_json_get_object(const json_t *object, const char *what, const char *key,
                                    json_t **out);
LS_API ls_status ls_json_get_array(const json_t *object, const char *what, const char *key,
                                   json_t **out);
/* Text of a value, sorted or insertion order by jansson flags; ls_alloc'ed, *bytes_out may be NULL. */
LS_API ls_status ls_json_dump(const json_t *value, size_t flags, char **text_out,
                              size_t *bytes_out);

#endif
