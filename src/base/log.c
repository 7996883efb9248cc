#include "base/log.h"
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINE_BYTES = 4096 };

static atomic_int log_threshold = LS_LOG_INFO;

void ls_log_set_level(ls_log_level level) {
    atomic_store_explicit(&log_threshold, (int)level, memory_order_relaxed);
}

static const char *level_prefix(ls_log_level level) {
    switch (level) {
    case LS_LOG_DEBUG:
        return "lockstep: debug: ";
    case LS_LOG_WARN:
        return "lockstep: warning: ";
    case LS_LOG_ERROR:
        return "lockstep: error: ";
    default:
        return "lockstep: ";
    }
}

/* A line is one write(2), which is what keeps lines of several threads apart. */
void ls_log(ls_log_level level, const char *fmt, ...) {
    if ((int)level < atomic_load_explicit(&log_threshold, memory_order_relaxed)) return;
    char line[LINE_BYTES];
    size_t used = (size_t)snprintf(line, sizeof line, "%s", level_prefix(level));
    const size_t room = sizeof line - used - 1; /* one byte stays for the newline */
    va_list args;
    va_start(args, fmt);
    const int wanted = vsnprintf(line + used, room, fmt, args);
    va_end(args);
    if (wanted < 0) return;
    used += (size_t)wanted < room ? (size_t)wanted : room - 1;
    line[used++] = '\n';
    size_t done = 0;
    while (done < used) {
        const ssize_t n = write(STDERR_FILENO, line + done, used - done);
        if (n <= 0) return;
        done += (size_t)n;
    }
}
