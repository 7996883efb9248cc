/* What /proc says about a process. */
#include "base/fs.h"
#include "comm/board.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIELD_BORN = 22 };

/* State and start time from /proc/PID/stat; the name in field 2 may hold anything, its end is the last ')'. */
static int read_stat(pid_t pid, char *state_out, uint64_t *born_out) {
    char path[64], text[1024];
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (!ls_file_read_start(path, text, sizeof text)) return 0;
    const char *at = strrchr(text, ')');
    if (!at || at[1] != ' ') return 0;
    *state_out = at[2];
    for (int field = 2; field < FIELD_BORN; field++) {
        at = strchr(at + 1, ' ');
        if (!at) return 0;
    }
    *born_out = strtoull(at + 1, NULL, 10);
    return 1;
}

char ls_process_state(pid_t pid, uint64_t born) {
    char state;
    uint64_t found;
    if (pid <= 0) return 0;
    /* Without a descriptor to read it with, a process that lives must not be taken for one that is gone. */
    if (!read_stat(pid, &state, &found)) return kill(pid, 0) == 0 || errno == EPERM ? '?' : 0;
    return born && found != born ? 0 : state;
}

uint64_t ls_process_born(pid_t pid) {
    char state;
    uint64_t born;
    return read_stat(pid, &state, &born) ? born : 0;
}
