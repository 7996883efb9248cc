#include "base/alloc.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { ARENA_ALIGNMENT = 16, FIRST_BLOCK_BYTES = 4096, LARGEST_BLOCK_BYTES = 1 << 20 };

/* A block is a header of one alignment unit or more, then `capacity` bytes. */
typedef struct arena_block {
    struct arena_block *next;
    size_t used, capacity;
} arena_block;

enum {
    HEADER_BYTES = (sizeof(arena_block) + ARENA_ALIGNMENT - 1) / ARENA_ALIGNMENT * ARENA_ALIGNMENT
};

struct ls_arena {
    arena_block *blocks; /* newest first; only the newest is filled */
    size_t held_bytes, next_bytes;
};

ls_status ls_arena_create(ls_arena **out) {
    ls_arena *arena = ls_alloc(sizeof *arena);
    if (!arena) return LS_ERR_NO_MEMORY;
    arena->held_bytes = sizeof *arena;
    arena->next_bytes = FIRST_BLOCK_BYTES;
    *out = arena;
    return LS_OK;
}

void ls_arena_destroy(ls_arena *arena) {
    if (!arena) return;
    for (arena_block *block = arena->blocks, *next; block; block = next) {
        next = block->next;
        ls_free(block);
    }
    ls_free(arena);
}

static arena_block *add_block(ls_arena *arena, size_t need) {
    size_t capacity = arena->next_bytes - HEADER_BYTES;
    if (capacity < need) capacity = need;
    arena_block *block = ls_alloc(HEADER_BYTES + capacity);
    if (!block) return NULL;
    block->capacity = capacity;
    /* A block made for one large request is full at once: keep filling the one before it. */
    if (arena->blocks && capacity == need && need > arena->next_bytes / 4) {
        block->next = arena->blocks->next;
        arena->blocks->next = block;
    } else {
        block->next = arena->blocks;
        arena->blocks = block;
    }
    arena->held_bytes += HEADER_BYTES + capacity;
    if (arena->next_bytes < LARGEST_BLOCK_BYTES) arena->next_bytes *= 2;
    return block;
}

void *ls_arena_alloc(ls_arena *arena, size_t bytes) {
    if (bytes > PTRDIFF_MAX - 2 * FIRST_BLOCK_BYTES) {
        (void)LS_FAIL(LS_ERR_NO_MEMORY, "out of memory: asked an arena for %zu bytes", bytes);
        return NULL;
    }
    size_t need = (bytes + ARENA_ALIGNMENT - 1) / ARENA_ALIGNMENT * ARENA_ALIGNMENT;
    if (need == 0) need = ARENA_ALIGNMENT;
    arena_block *block = arena->blocks;
    if (!block || block->capacity - block->used < need) block = add_block(arena, need);
    if (!block) return NULL;
    void *ptr = (char *)block + HEADER_BYTES + block->used;
    block->used += need;
    return ptr;
}

char *ls_arena_strdup(ls_arena *arena, const char *text) {
    const size_t bytes = strlen(text) + 1;
    char *copy = ls_arena_alloc(arena, bytes);
    if (copy) memcpy(copy, text, bytes);
    return copy;
}

char *ls_arena_format(ls_arena *arena, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    const int wanted = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    char *text = ls_arena_alloc(arena, wanted < 0 ? 1 : (size_t)wanted + 1);
    if (!text || wanted < 0) return text;
    va_start(args, fmt);
    (void)vsnprintf(text, (size_t)wanted + 1, fmt, args);
    va_end(args);
    return text;
}

size_t ls_arena_bytes(const ls_arena *arena) {
    return arena->held_bytes;
}
