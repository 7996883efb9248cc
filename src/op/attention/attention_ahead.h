/* Rows of heads that are read or written next. They lie too far apart for the processor to guess, and all at once they would hold up the
 * work: some lines are asked for with each block of a product. For kernel files only. */
#ifndef LS_OP_ATTENTION_AHEAD_H
#define LS_OP_ATTENTION_AHEAD_H
#include "op/attention/attention_view.h"

enum { AHEAD_MOST = 8, AHEAD_LINES = 12 /* with a block */, AHEAD_LINE_BYTES = 64 };

typedef struct ahead_rows {
    const char *row;
    int64_t ld, row_bytes, at, n_rows; /* at: bytes of the row that were asked for */
    int is_written;
} ahead_rows;

typedef struct ahead {
    ahead_rows rows[AHEAD_MOST];
    int first, n;
} ahead;

/* n_rows rows of `size` elements from element `at` on. */
static inline void add_ahead(ahead *a, const ls_head_rows *rows, int64_t at, int64_t n_rows,
                             int64_t size, int is_written) {
    const int64_t bytes = (int64_t)ls_dtype_bytes(rows->dtype);
    if (n_rows <= 0 || size <= 0 || a->n == AHEAD_MOST) return;
    a->rows[a->n++] = (ahead_rows){(const char *)rows->data + at * bytes,
                                   rows->row_stride * bytes,
                                   size * bytes,
                                   0,
                                   n_rows,
                                   is_written};
}

static inline void ask_lines(ahead *a, int n_lines) {
    for (; n_lines > 0 && a->first < a->n; n_lines--) {
        ahead_rows *r = &a->rows[a->first];
        if (r->is_written)
            __builtin_prefetch(r->row + r->at, 1, 2);
        else
            __builtin_prefetch(r->row + r->at, 0, 2);
        r->at += AHEAD_LINE_BYTES;
        if (r->at < r->row_bytes) continue;
        r->at = 0;
        r->row += r->ld;
        if (--r->n_rows == 0) a->first++;
    }
}

#endif
