/* How many ranks the living hosts allow. */
#include "cli/cmd_run_hosts.h"

static int64_t power_below(int64_t n) {
    int64_t power = 1;
    if (n < 1) return 0;
    while (power <= n / 2) power *= 2;
    return power;
}

static int count_with(const int *slots, int n, int64_t each) {
    int count = 0;
    for (int i = 0; i < n; i++) count += slots[i] >= each;
    return count;
}

ls_world ls_world_choose(const int *slots, int n, int64_t lanes, int64_t most) {
    ls_world best = {0};
    for (int64_t each = 1; each <= LS_HOST_SLOTS; each *= 2) {
        const int64_t hosts = power_below(count_with(slots, n, each));
        int64_t ranks = hosts * each;
        if (lanes > 0 && ranks > lanes) ranks = power_below(lanes);
        if (most > 0 && ranks > most) ranks = power_below(most);
        /* Ascending blocks: of equal worlds the one on the most hosts comes first. */
        if (hosts && ranks >= each && ranks > best.ranks)
            best = (ls_world){(int)ranks, (int)(ranks / each), (int)each};
    }
    return best;
}
