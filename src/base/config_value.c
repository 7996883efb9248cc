/* One value: from text to a checked value, into and out of the struct, and back to text. */
#include "base/config_internal.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

const char *ls_config_type_name(ls_config_type type) {
    switch (type) {
    case LS_CONFIG_INT:
        return "int";
    case LS_CONFIG_FLOAT:
        return "float";
    case LS_CONFIG_BOOL:
        return "bool";
    case LS_CONFIG_STRING:
        return "string";
    default:
        return "choice";
    }
}

static int is_bounded(const ls_config_field *field) {
    return field->min != 0 || field->max != 0;
}

void ls_config_range_append(const ls_config_field *field, ls_text *text) {
    if (field->type == LS_CONFIG_ENUM) {
        for (int i = 0; field->choices[i]; i++)
            ls_text_append(text, "%s%s", i ? ", " : "", field->choices[i]);
    } else if (field->type == LS_CONFIG_BOOL) {
        ls_text_append(text, "true, false");
    } else if (field->type != LS_CONFIG_STRING && is_bounded(field)) {
        if (isinf(field->max))
            ls_text_append(text, "at least %.15g", field->min);
        else if (isinf(field->min))
            ls_text_append(text, "at most %.15g", field->max);
        else
            ls_text_append(text, "%.15g to %.15g", field->min, field->max);
    }
}

/* "<key> = '<text>': <problem>; allowed: <range>" */
static ls_status refuse(const ls_config_field *field, ls_config_scalar scalar,
                        const char *problem) {
    ls_text range = {0};
    ls_config_range_append(field, &range);
    ls_status status = range.status;
    if (status == LS_OK)
        status = LS_FAIL(LS_ERR_CONFIG, "%s = %s%s%s: %s%s%s", field->key, scalar.text ? "'" : "",
                         scalar.text ? scalar.text : "null", scalar.text ? "'" : "", problem,
                         range.size ? "; allowed: " : "", range.size ? range.data : "");
    ls_text_deinit(&range);
    return status;
}

static size_t count_digits(const char *text) {
    return strspn(text, "0123456789");
}

/* [+-]digits and nothing else: no 1e6, 4k, 0x10, 1_000; 010 would be octal in YAML 1.1, so it is refused. */
static int is_int_text(const char *text) {
    if (*text == '+' || *text == '-') text++;
    const size_t n = count_digits(text);
    return n > 0 && text[n] == '\0' && (n == 1 || text[0] != '0');
}

/* [+-]digits[.digits][e[+-]digits] with at least one digit before the exponent: no nan, inf, hexadecimal. */
static int is_float_text(const char *text) {
    if (*text == '+' || *text == '-') text++;
    size_t n = count_digits(text);
    text += n;
    if (*text == '.') {
        const size_t fraction = count_digits(text + 1);
        text += 1 + fraction;
        n += fraction;
    }
    if (n == 0) return 0;
    if (*text == 'e' || *text == 'E') {
        text++;
        if (*text == '+' || *text == '-') text++;
        n = count_digits(text);
        if (n == 0) return 0;
        text += n;
    }
    return *text == '\0';
}

static int is_in_range(const ls_config_field *field, double value) {
    return !is_bounded(field) || (value >= field->min && value <= field->max);
}

static ls_status parse_int(const ls_config_field *field, ls_config_scalar scalar,
                           ls_config_value *out) {
    if (!is_int_text(scalar.text))
        return refuse(field, scalar, "an integer is needed, written out in digits (1000, not 1k)");
    errno = 0;
    out->integer = strtoll(scalar.text, NULL, 10);
    if (errno == ERANGE) return refuse(field, scalar, "does not fit 64 bits");
    if (!is_in_range(field, (double)out->integer)) return refuse(field, scalar, "out of range");
    return LS_OK;
}

static ls_status parse_float(const ls_config_field *field, ls_config_scalar scalar,
                             ls_config_value *out) {
    if (!is_float_text(scalar.text))
        return refuse(field, scalar, "a number is needed, such as 0.5 or 3e-4");
    char *end;
    out->real = strtod(scalar.text, &end);
    if (*end != '\0') return refuse(field, scalar, "a number is needed, such as 0.5 or 3e-4");
    if (!isfinite(out->real)) return refuse(field, scalar, "too large for a double");
    if (!is_in_range(field, out->real)) return refuse(field, scalar, "out of range");
    return LS_OK;
}

static ls_status parse_choice(const ls_config_field *field, ls_config_scalar scalar,
                              const char *const *choices, ls_config_value *out) {
    int n = 0;
    for (; choices[n]; n++)
        if (strcmp(choices[n], scalar.text) == 0) {
            out->index = n;
            return LS_OK;
        }
    if (field->type == LS_CONFIG_BOOL) return refuse(field, scalar, "true or false is needed");
    const char *near = ls_nearest_name(scalar.text, choices, n);
    char problem[128];
    snprintf(problem, sizeof problem, "not one of the choices%s%s%s",
             near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    return refuse(field, scalar, problem);
}

static int is_utf8(const char *text) {
    const utf8proc_uint8_t *at = (const utf8proc_uint8_t *)text;
    while (*at) {
        utf8proc_int32_t code_point;
        const utf8proc_ssize_t n = utf8proc_iterate(at, -1, &code_point);
        if (n <= 0) return 0;
        at += n;
    }
    return 1;
}

ls_status ls_config_value_parse(const ls_config_field *field, ls_config_scalar scalar,
                                ls_config_value *out) {
    static const char *const booleans[] = {"false", "true", NULL};
    const ls_config_type type = field->type;
    if (type == LS_CONFIG_STRING) {
        /* Who reads a field that has a default need not expect that there is none. */
        if (field->default_text && (!scalar.text || !*scalar.text))
            return refuse(field, scalar, "a value is needed");
        if (scalar.text && !is_utf8(scalar.text)) return refuse(field, scalar, "not UTF-8");
        out->text = scalar.text;
        return LS_OK;
    }
    if (!scalar.text) return refuse(field, scalar, "a value is needed");
    if (scalar.is_quoted && type != LS_CONFIG_ENUM)
        return refuse(field, scalar, "it is quoted, which makes it a string; write it bare");
    switch (type) {
    case LS_CONFIG_INT:
        return parse_int(field, scalar, out);
    case LS_CONFIG_FLOAT:
        return parse_float(field, scalar, out);
    case LS_CONFIG_BOOL:
        return parse_choice(field, scalar, booleans, out);
    default:
        return parse_choice(field, scalar, field->choices, out);
    }
}

void ls_config_value_store(const ls_config_field *field, void *target, ls_config_value value) {
    char *at = (char *)target + field->offset;
    switch (field->type) {
    case LS_CONFIG_INT:
        memcpy(at, &value.integer, sizeof value.integer);
        break;
    case LS_CONFIG_FLOAT:
        memcpy(at, &value.real, sizeof value.real);
        break;
    case LS_CONFIG_STRING:
        memcpy(at, &value.text, sizeof value.text);
        break;
    default:
        memcpy(at, &value.index, sizeof value.index);
        break;
    }
}

ls_config_value ls_config_value_load(const ls_config_field *field, const void *target) {
    const char *at = (const char *)target + field->offset;
    ls_config_value value = {0};
    switch (field->type) {
    case LS_CONFIG_INT:
        memcpy(&value.integer, at, sizeof value.integer);
        break;
    case LS_CONFIG_FLOAT:
        memcpy(&value.real, at, sizeof value.real);
        break;
    case LS_CONFIG_STRING:
        memcpy(&value.text, at, sizeof value.text);
        break;
    default:
        memcpy(&value.index, at, sizeof value.index);
        break;
    }
    return value;
}

/* The shortest of 15 to 17 digits that reads back as the same double. */
static void append_real(double value, ls_text *text) {
    char digits[40];
    for (int precision = 15; precision <= 17; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, value);
        if (strtod(digits, NULL) == value) break;
    }
    ls_text_append(text, "%s", digits);
}

void ls_config_value_append(const ls_config_field *field, ls_config_value value, ls_text *text) {
    switch (field->type) {
    case LS_CONFIG_INT:
        ls_text_append(text, "%" PRId64, value.integer);
        break;
    case LS_CONFIG_FLOAT:
        append_real(value.real, text);
        break;
    case LS_CONFIG_BOOL:
        ls_text_append(text, "%s", value.index ? "true" : "false");
        break;
    case LS_CONFIG_STRING:
        ls_text_append(text, "%s", value.text ? value.text : "null");
        break;
    default:
        ls_text_append(text, "%s", field->choices[value.index]);
        break;
    }
}
