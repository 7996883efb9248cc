/* "Did you mean": edit distance with transpositions (optimal string alignment). */
#include "base/config.h"
#include <string.h>

enum { LONGEST_NAME = 96 };

static int min3(int a, int b, int c) {
    const int ab = a < b ? a : b;
    return ab < c ? ab : c;
}

static int edit_distance(const char *a, int n_a, const char *b, int n_b) {
    int rows[3][LONGEST_NAME + 1]; /* rows i-2, i-1 and i of the table */
    for (int j = 0; j <= n_b; j++) rows[1][j] = j;
    for (int i = 1; i <= n_a; i++) {
        const int *before = rows[(i + 2) % 3], *previous = rows[i % 3];
        int *now = rows[(i + 1) % 3];
        now[0] = i;
        for (int j = 1; j <= n_b; j++) {
            const int change = a[i - 1] != b[j - 1];
            now[j] = min3(previous[j] + 1, now[j - 1] + 1, previous[j - 1] + change);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 1 < now[j])
                now[j] = before[j - 2] + 1;
        }
    }
    return rows[(n_a + 1) % 3][n_b];
}

static const char *last_part(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

const char *ls_nearest_name(const char *name, const char *const *names, int n_names) {
    const size_t n = strlen(name);
    if (n == 0 || n > LONGEST_NAME) return NULL;
    const char *best = NULL;
    int best_distance = 2 + (int)n / 4; /* one past the furthest that still counts as close */
    if (n <= 2) best_distance = 2;
    for (int i = 0; i < n_names; i++) {
        const size_t m = strlen(names[i]);
        if (m > LONGEST_NAME) continue;
        const int distance = edit_distance(name, (int)n, names[i], (int)m);
        if (distance < best_distance && distance < (int)m) {
            best = names[i];
            best_distance = distance;
        }
    }
    /* A key in the wrong section, or without one: layers, train.layers for model.layers. */
    for (int i = 0; !best && i < n_names; i++)
        if (strcmp(last_part(name), last_part(names[i])) == 0) best = names[i];
    return best;
}
