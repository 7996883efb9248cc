#include "base/clock.h"
#include "base/fs.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double read_clock(clockid_t id) {
    struct timespec now;
    if (clock_gettime(id, &now) != 0) return 0;
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double ls_clock_seconds(void) {
    return read_clock(CLOCK_MONOTONIC);
}

int64_t ls_clock_unix_ms(void) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0) return 0;
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Field 22 of /proc/self/stat, clock ticks since boot; the name before it may hold blanks, so count from its ')'. */
static double start_seconds(void) {
    char text[1024];
    if (!ls_file_read_start("/proc/self/stat", text, sizeof text)) return -1;
    const char *at = strrchr(text, ')');
    for (int field = 2; at && field < 22; field++) at = strchr(at + 1, ' ');
    if (!at) return -1;
    return strtod(at, NULL) / (double)sysconf(_SC_CLK_TCK);
}

/* The kernel rounds the start down to a tick (10 ms). Within the tick it was no earlier than the processor time used since: exact for a
 * process that has not waited yet. */
double ls_clock_process_seconds(void) {
    const double tick = 1.0 / (double)sysconf(_SC_CLK_TCK);
    const double start = start_seconds(), now = read_clock(CLOCK_BOOTTIME);
    if (start < 0 || now <= start) return 0;
    const double longest = now - start, shortest = longest > tick ? longest - tick : 0;
    const double used = read_clock(CLOCK_PROCESS_CPUTIME_ID);
    return used > longest ? longest : used > shortest ? used : shortest;
}
