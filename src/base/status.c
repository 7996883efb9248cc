#include "lockstep/status.h"
#include "base/log.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MESSAGE_BYTES = 2048 };

/* One record per thread, in fixed storage so that running out of memory can be reported too. */
static _Thread_local char error_record[MESSAGE_BYTES];

const char *ls_status_words(ls_status status) {
    switch (status) {
#define WORDS_CASE(name, exit_code, words) \
    case LS_ERR_##name:                    \
        return words;
        LS_STATUS_MAP(WORDS_CASE)
#undef WORDS_CASE
    default:
        return "unknown status";
    }
}

int ls_status_exit_code(ls_status status) {
    switch (status) {
#define EXIT_CASE(name, exit_code, words) \
    case LS_ERR_##name:                   \
        return exit_code;
        LS_STATUS_MAP(EXIT_CASE)
#undef EXIT_CASE
    default:
        return 70;
    }
}

const char *ls_error_message(void) {
    return error_record;
}

void ls_error_clear(void) {
    error_record[0] = '\0';
}

/* The arguments may point into the record itself, so the text is made elsewhere and copied. */
static void store_record(const char *text, int wanted_bytes) {
    memcpy(error_record, text, strlen(text) + 1);
    if (wanted_bytes >= MESSAGE_BYTES) memcpy(error_record + MESSAGE_BYTES - 4, "...", 4);
}

ls_status ls_error_set(ls_status status, const char *file, int line, const char *fmt, ...) {
    char text[MESSAGE_BYTES];
    va_list args;
    va_start(args, fmt);
    int wanted = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (wanted < 0) wanted = snprintf(text, sizeof text, "%s", ls_status_words(status));
    if (status == LS_ERR_INTERNAL && wanted < MESSAGE_BYTES)
        wanted += snprintf(text + wanted, sizeof text - (size_t)wanted, " (%s:%d)", file, line);
    store_record(text, wanted);
    ls_log(LS_LOG_DEBUG, "%s:%d: %s: %s", file, line, ls_status_words(status), error_record);
    return status;
}

ls_status ls_error_prefix(ls_status status, const char *fmt, ...) {
    char text[MESSAGE_BYTES];
    va_list args;
    va_start(args, fmt);
    int wanted = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (wanted >= 0 && wanted < MESSAGE_BYTES && error_record[0] != '\0')
        wanted += snprintf(text + wanted, sizeof text - (size_t)wanted, ": %s", error_record);
    if (wanted >= 0) store_record(text, wanted);
    return status;
}
