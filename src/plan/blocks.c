/* Memory for blocks whose lives are known: greedy by size, as in TensorFlow Lite's planner (arXiv 2001.03288). */
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

static void insert_by_offset(ls_block **placed, int n_placed, ls_block *b) {
    int at = n_placed;
    for (; at > 0 && placed[at - 1]->offset > b->offset; at--) placed[at] = placed[at - 1];
    placed[at] = b;
}

static void sort_by_bytes(ls_block **blocks, int n) {
    for (int i = 1; i < n; i++) {
        ls_block *b = blocks[i];
        int at = i;
        for (; at > 0 && blocks[at - 1]->bytes < b->bytes; at--) blocks[at] = blocks[at - 1];
        blocks[at] = b;
    }
}

size_t ls_blocks_place(ls_block **blocks, int n, ls_block **placed, int n_placed) {
    size_t end = 0;
    for (int i = 0; i < n_placed; i++)
        if (placed[i]->offset + placed[i]->bytes > end) end = placed[i]->offset + placed[i]->bytes;
    sort_by_bytes(blocks, n);
    for (int i = 0; i < n; i++) {
        ls_block *b = blocks[i];
        b->offset = find_gap(b, placed, n_placed + i);
        if (b->offset + b->bytes > end) end = b->offset + b->bytes;
        insert_by_offset(placed, n_placed + i, b);
    }
    return end;
}
