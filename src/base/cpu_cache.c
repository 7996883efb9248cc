/* Cache sizes, as the kernel tells them of the first CPU. */
#include "base/cpu.h"
#include "base/fs.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_INDEXES = 8 };

static int read_word(int index, const char *name, char *text, size_t room) {
    char path[96];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/%s", index, name);
    return ls_file_read_start(path, text, room);
}

/* "32768K" */
static int64_t parse_size(const char *text) {
    char *end;
    const long long n = strtoll(text, &end, 10);
    if (n <= 0 || n > 1 << 30) return 0;
    return *end == 'M' ? n << 20 : *end == 'K' ? n << 10 : n;
}

int64_t ls_cpu_cache_bytes(int level) {
    char text[64];
    for (int i = 0; i < MOST_INDEXES; i++) {
        if (!read_word(i, "level", text, sizeof text)) return 0;
        if (strtol(text, NULL, 10) != level) continue;
        if (!read_word(i, "type", text, sizeof text) || strncmp(text, "Instruction", 11) == 0)
            continue;
        return read_word(i, "size", text, sizeof text) ? parse_size(text) : 0;
    }
    return 0;
}
