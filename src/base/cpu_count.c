/* How many CPUs this process may use: the affinity mask, then the cgroup's quota (version 2, then 1). */
#include "base/fs.h"
#include "base/thread.h"
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 1024 };

static int quota_cpus(long long quota, long long period) {
    if (quota <= 0 || period <= 0) return 0;
    const long long cpus = (quota + period - 1) / period;
    return cpus < 1 << 20 ? (int)cpus : 0;
}

/* cpu.max is "max 100000" or "quota period"; every folder up to the root may hold a limit. */
static int quota_v2(char *folder) {
    int least = 0;
    for (;;) {
        char path[PATH_BYTES + 64], text[64];
        long long quota, period;
        snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", folder);
        if (ls_file_read_start(path, text, sizeof text) &&
            sscanf(text, "%lld %lld", &quota, &period) == 2) {
            const int cpus = quota_cpus(quota, period);
            if (cpus > 0 && (least == 0 || cpus < least)) least = cpus;
        }
        char *slash = strrchr(folder, '/');
        if (!slash) return least;
        *slash = '\0';
    }
}

static int quota_v1(void) {
    char quota[64], period[64];
    if (!ls_file_read_start("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", quota, sizeof quota) ||
        !ls_file_read_start("/sys/fs/cgroup/cpu/cpu.cfs_period_us", period, sizeof period))
        return 0;
    return quota_cpus(strtoll(quota, NULL, 10), strtoll(period, NULL, 10));
}

static int cgroup_cpus(void) {
    char text[4096], folder[PATH_BYTES] = "";
    if (ls_file_read_start("/proc/self/cgroup", text, sizeof text)) {
        const char *line = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
        const char *start = line ? strstr(line, "0::") + 3 : "";
        const size_t n = strcspn(start, "\n");
        if (n < sizeof folder) memcpy(folder, start, n);
        if (strcmp(folder, "/") == 0) folder[0] = '\0';
    }
    const int cpus = quota_v2(folder);
    return cpus ? cpus : quota_v1();
}

int ls_cpu_count(void) {
    cpu_set_t set;
    int cpus = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set)
                                                           : (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (cpus < 1) cpus = 1;
    const int quota = cgroup_cpus();
    return quota > 0 && quota < cpus ? quota : cpus;
}
