/* Sorted ranges. */
#include "keep/keep_ranges.h"
#include "base/alloc.h"
#include <string.h>

ls_status ls_keep_ranges_add(ls_keep_ranges *r, int64_t first, int64_t end) {
    if (first >= end) return LS_OK;
    int64_t at = 0, past = 0;
    while (at < r->n && r->items[at].end < first) at++;
    past = at;
    /* Items at .. past - 1 touch the new one, which swallows them. */
    while (past < r->n && r->items[past].first <= end) {
        if (r->items[past].first < first) first = r->items[past].first;
        if (r->items[past].end > end) end = r->items[past].end;
        past++;
    }
    LS_TRY(ls_array_reserve((void **)&r->items, &r->capacity, r->n + 1, sizeof *r->items));
    memmove(&r->items[at + 1], &r->items[past], (size_t)(r->n - past) * sizeof *r->items);
    r->n += 1 - (past - at);
    r->items[at] = (ls_keep_range){first, end};
    return LS_OK;
}

int ls_keep_ranges_gap(const ls_keep_ranges *r, int64_t first, int64_t end, ls_keep_range *out) {
    for (int64_t i = 0; i < r->n && first < end; i++) {
        if (r->items[i].end <= first) continue;
        if (r->items[i].first > first) {
            *out = (ls_keep_range){first, r->items[i].first < end ? r->items[i].first : end};
            return 1;
        }
        first = r->items[i].end;
    }
    if (first >= end) return 0;
    *out = (ls_keep_range){first, end};
    return 1;
}

void ls_keep_ranges_deinit(ls_keep_ranges *r) {
    ls_free(r->items);
    *r = (ls_keep_ranges){0};
}
