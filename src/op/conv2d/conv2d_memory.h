/* Small helpers of the room's kernels: pieces of a workspace, rounding. */
#ifndef LS_OP_CONV2D_MEMORY_H
#define LS_OP_CONV2D_MEMORY_H
#include <stddef.h>
#include <stdint.h>

enum { CONV_ALIGN_BYTES = 64, CONV_WORD_BYTES = 4 };

static inline int64_t divide_up(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

static inline int64_t min_of(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static inline int64_t max_of(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* Hands out consecutive pieces of memory; with base NULL only counts. */
typedef struct cursor {
    char *base;
    size_t used;
} cursor;

static inline void *take(cursor *at, size_t bytes) {
    char *piece = at->base ? at->base + at->used : NULL;
    at->used += (bytes + CONV_ALIGN_BYTES - 1) / CONV_ALIGN_BYTES * CONV_ALIGN_BYTES;
    return piece;
}

#endif
