/* Times of what happens again in every step: the middle one, which a step that was disturbed does not move. */
#include "observe/profile.h"

#include <stdlib.h>

static int compare_groups(const ls_profile_sample *x, const ls_profile_sample *y) {
    if (x->row != y->row) return x->row < y->row ? -1 : 1;
    if (x->rank != y->rank) return x->rank < y->rank ? -1 : 1;
    if (x->what != y->what) return x->what < y->what ? -1 : 1;
    return (x->lane > y->lane) - (x->lane < y->lane);
}

static int by_group(const void *a, const void *b) {
    const ls_profile_sample *x = a, *y = b;
    const int order = compare_groups(x, y);
    return order ? order : (x->ns > y->ns) - (x->ns < y->ns);
}

static double middle_of(const ls_profile_sample *sorted, int64_t n) {
    return n % 2 ? sorted[n / 2].ns : (sorted[n / 2 - 1].ns + sorted[n / 2].ns) / 2;
}

void ls_profile_add_medians(ls_profile_sample *samples, int64_t n, double *sums) {
    if (n > 0) qsort(samples, (size_t)n, sizeof *samples, by_group);
    for (int64_t i = 0, count; i < n; i += count) {
        count = 1;
        while (i + count < n && compare_groups(&samples[i], &samples[i + count]) == 0) count++;
        sums[samples[i].row] += middle_of(&samples[i], count) * (double)count;
    }
}
