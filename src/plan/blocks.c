/* Memory for blocks whose lives are known: greedy by size, as in TensorFlow Lite's planner (arXiv 2001.03288). */
#include <stdlib.h>
#include <string.h>

#include "plan/plan.h"

/* Lowest offset at which block b overlaps no placed block that lives at the same time. `placed` is sorted by offset. */
static size_t find_gap(const ls_block *b, ls_block *const *placed, int n_placed) {
    size_t offset = 0;
    for (int i = 0; i < n_placed; i++) {
        const ls_block *o = placed[i];
        if (o->last < b->first || b->last < o->first) continue;
        if (offset + b->bytes <= o->offset) break;
        if (o->offset + o->bytes > offset) offset = o->offset + o->bytes;
    }
    return offset;
}

/* Behind those of the same offset. */
static void insert_by_offset(ls_block **placed, int n_placed, ls_block *b) {
    int low = 0, high = n_placed;
    while (low < high) {
        const int middle = low + (high - low) / 2;
        if (placed[middle]->offset > b->offset)
            high = middle;
        else
            low = middle + 1;
    }
    memmove(&placed[low + 1], &placed[low], sizeof(ls_block *) * (size_t)(n_placed - low));
    placed[low] = b;
}

/* The largest first; those of one size as they lie in memory, all of one array. */
static int compare_bytes(const void *a, const void *b) {
    const ls_block *x = *(ls_block *const *)a, *y = *(ls_block *const *)b;
    if (x->bytes != y->bytes) return x->bytes > y->bytes ? -1 : 1;
    return (x > y) - (x < y);
}

size_t ls_blocks_place(ls_block **blocks, int n, ls_block **placed, int n_placed) {
    size_t end = 0;
    for (int i = 0; i < n_placed; i++)
        if (placed[i]->offset + placed[i]->bytes > end) end = placed[i]->offset + placed[i]->bytes;
    if (n > 0) qsort(blocks, (size_t)n, sizeof *blocks, compare_bytes);
    for (int i = 0; i < n; i++) {
        ls_block *b = blocks[i];
        b->offset = find_gap(b, placed, n_placed + i);
        if (b->offset + b->bytes > end) end = b->offset + b->bytes;
        insert_by_offset(placed, n_placed + i, b);
    }
    return end;
}
