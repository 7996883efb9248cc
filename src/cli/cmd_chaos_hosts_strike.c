/* Blows against hosts: what the seed draws, and what it needs to know of the run. */
#include "cli/cmd_chaos_hosts_strike.h"
#include "base/rng.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const ls_host_strike_names[] = {"ranks", "keeper", "both", "link", "slow", NULL};
const char *const ls_host_instant_names[] = {"start", "restart", "step", "save", "fewer", NULL};

static const double steps_of_aim = 20, shortest = 0.2;

/* Kinds in turn, so that a short campaign meets each. Links most of all. */
static const ls_host_strike_kind turns[] = {
    LS_HOST_STRIKE_LINK, LS_HOST_STRIKE_RANKS,  LS_HOST_STRIKE_LINK, LS_HOST_STRIKE_KEEPER,
    LS_HOST_STRIKE_SLOW, LS_HOST_STRIKE_BOTH,   LS_HOST_STRIKE_LINK, LS_HOST_STRIKE_RANKS,
    LS_HOST_STRIKE_LINK, LS_HOST_STRIKE_KEEPER, LS_HOST_STRIKE_BOTH, LS_HOST_STRIKE_LINK};
enum { N_TURNS = sizeof turns / sizeof *turns };

int ls_host_strike_loses(ls_host_strike_kind kind) {
    return kind == LS_HOST_STRIKE_KEEPER || kind == LS_HOST_STRIKE_BOTH ||
           kind == LS_HOST_STRIKE_LINK;
}

int ls_host_strike_is_of_link(ls_host_strike_kind kind) {
    return kind == LS_HOST_STRIKE_LINK || kind == LS_HOST_STRIKE_SLOW;
}

/* The n-th turn of those kinds that are asked for. */
static ls_host_strike_kind find_turn(int64_t index, uint32_t kinds) {
    ls_host_strike_kind some[N_TURNS];
    int n = 0;
    for (int i = 0; i < N_TURNS; i++)
        if (kinds >> turns[i] & 1) some[n++] = turns[i];
    return n ? some[index % n] : turns[index % N_TURNS];
}

void ls_host_strike_draw(uint64_t seed, int64_t index, const ls_host_field *field,
                         ls_host_strike *out) {
    const ls_rng_key key = {seed, (uint64_t)index, ls_rng_stream("host strike")};
    const double u = ls_rng_uniform(key, 0), v = ls_rng_uniform(key, 1);
    *out =
        (ls_host_strike){.index = index, .kind = find_turn(index, field->kinds), .committed = -1};
    out->aim = (ls_host_aim)ls_rng_below(key, 2, LS_HOST_AIM_COUNT);
    out->pick = ls_rng_below(key, 3, 1u << 30);
    out->delay = u * (out->aim == LS_HOST_AIM_START  ? field->first_step
                      : out->aim == LS_HOST_AIM_SAVE ? 2 * field->step
                                                     : steps_of_aim * field->step);
    /* Short ones are the many: those that a run may outlast without a restart. */
    if (ls_host_strike_is_of_link(out->kind))
        out->seconds =
            field->longest > shortest ? shortest + v * v * (field->longest - shortest) : shortest;
}

int ls_host_strike_is_covered(ls_host_strike_kind kind, int64_t copies, int64_t zero, int n_up,
                              int others_are_missed) {
    if (!ls_host_strike_loses(kind)) return 1;
    return n_up >= 2 && !others_are_missed && (copies >= 2 || (copies == 1 && zero == 0));
}

/* --- how far the run is --- */

/* In the last line that is whole, the number behind "step":. */
static int64_t last_step(char *text, ssize_t n) {
    static const char key[] = "\"step\":";
    char *end = memrchr(text, '\n', (size_t)n);
    if (!end) return -1;
    *end = '\0';
    const char *line = memrchr(text, '\n', (size_t)(end - text));
    const char *at = strstr(line ? line + 1 : text, key);
    return at ? strtoll(at + sizeof key - 1, NULL, 10) : -1;
}

void ls_host_progress_read(const char *path, ls_host_progress *out) {
    char text[4096];
    struct stat info;
    *out = (ls_host_progress){.step = -1};
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    if (fstat(fd, &info) == 0) {
        const off_t from =
            info.st_size > (off_t)sizeof text ? info.st_size - (off_t)sizeof text : 0;
        const ssize_t n = pread(fd, text, sizeof text, from);
        out->inode = info.st_ino;
        out->bytes = info.st_size;
        if (n > 0) out->step = last_step(text, n);
    }
    (void)close(fd);
}
