#include "base/alloc.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Room for `more` bytes and the NUL after them. */
static int reserve(ls_text *text, size_t more) {
    if (text->status != LS_OK) return 0;
    if (more > PTRDIFF_MAX - text->size - 1) {
        text->status = LS_FAIL(LS_ERR_NO_MEMORY, "out of memory: a text of %zu more bytes", more);
        return 0;
    }
    int64_t capacity = (int64_t)text->capacity;
    void *data = text->data;
    text->status = ls_array_reserve(&data, &capacity, (int64_t)(text->size + more + 1), 1);
    text->data = data;
    text->capacity = (size_t)capacity;
    return text->status == LS_OK;
}

void ls_text_append_bytes(ls_text *text, const void *data, size_t bytes) {
    if (!reserve(text, bytes)) return;
    if (bytes) memcpy(text->data + text->size, data, bytes);
    text->size += bytes;
    text->data[text->size] = '\0';
}

void ls_text_append(ls_text *text, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    const int wanted = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (wanted < 0) text->status = LS_FAIL(LS_ERR_INTERNAL, "a text format was refused: %s", fmt);
    if (wanted < 0 || !reserve(text, (size_t)wanted)) return;
    va_start(args, fmt);
    (void)vsnprintf(text->data + text->size, (size_t)wanted + 1, fmt, args);
    va_end(args);
    text->size += (size_t)wanted;
}

void ls_text_deinit(ls_text *text) {
    ls_free(text->data);
    *text = (ls_text){0};
}
