/* The one allocation hook, and arenas over it.
 *
 * Every heap allocation of the library goes through ls_alloc/ls_realloc/ls_free, so a test can count them or
 * make the n-th one fail. jansson and libyaml are pointed at the same hook where they allow it.
 * Thread-safety: functions are thread-safe; an arena belongs to one thread at a time. Local. */
#ifndef LS_BASE_ALLOC_H
#define LS_BASE_ALLOC_H
#include "lockstep/status.h"
#include <stddef.h>
#include <stdint.h>

/* Returns zeroed memory aligned to 64 bytes, or NULL after recording LS_ERR_NO_MEMORY. bytes 0 gives a valid
 * pointer. */
LS_API void *ls_alloc(size_t bytes) LS_MUST_CHECK;
/* Grows or shrinks; NULL (old block intact) after recording LS_ERR_NO_MEMORY. New bytes are not zeroed. */
LS_API void *ls_realloc(void *ptr, size_t old_bytes, size_t new_bytes) LS_MUST_CHECK;
LS_API void ls_free(void *ptr); /* NULL is fine */
/* Zeroed memory straight from the system for large blocks, aligned to a huge page (2 MiB) and with huge pages asked
 * for; counted, and failed by the test hook, like ls_alloc. Give it back with ls_free_pages and the same size. */
LS_API void *ls_alloc_pages(size_t bytes) LS_MUST_CHECK;
LS_API void ls_free_pages(void *ptr, size_t bytes);
LS_API char *ls_strdup(const char *text) LS_MUST_CHECK;
/* printf into fresh memory; NULL after recording LS_ERR_NO_MEMORY. */
LS_API char *ls_format(const char *fmt, ...) LS_PRINTF(1, 2) LS_MUST_CHECK;

typedef struct ls_alloc_stats {
    int64_t n_calls; /* allocations asked for since start */
    int64_t n_live;  /* blocks not yet freed */
} ls_alloc_stats;
LS_API ls_alloc_stats ls_alloc_get_stats(void);
/* Allocations refused to the calling thread so far. A change tells a library's NULL for want of memory from its NULL
 * for bad input. */
LS_API int64_t ls_alloc_n_refused(void);
/* Around json_loadb only (base/json.c): the calling thread's jansson does not see refusals; count them instead. */
void ls_alloc_jansson_reads(int reads);
/* Test hook: the n-th allocation from now (1 = next) fails, once; `sticky` makes all later ones fail too.
 * n = 0 switches off. */
LS_API void ls_alloc_fail_at(int64_t n, int sticky);

typedef struct ls_arena ls_arena; /* memory freed all at once */
LS_API ls_status ls_arena_create(ls_arena **out);
LS_API void ls_arena_destroy(ls_arena *arena);
LS_API void *ls_arena_alloc(ls_arena *arena, size_t bytes)
    LS_MUST_CHECK; /* zeroed, 16-aligned; NULL = no memory, recorded */
LS_API char *ls_arena_strdup(ls_arena *arena, const char *text) LS_MUST_CHECK;
LS_API char *ls_arena_format(ls_arena *arena, const char *fmt, ...) LS_PRINTF(2, 3) LS_MUST_CHECK;
LS_API size_t ls_arena_bytes(const ls_arena *arena); /* bytes held from the hook */

/* Growable text buffer (heap); deinit with ls_text_deinit. A failed append records the error and is sticky:
 * check ls_text_status once at the end. */
typedef struct ls_text {
    char *data; /* NUL-terminated once anything was appended */
    size_t size, capacity;
    ls_status status;
} ls_text;
LS_API void ls_text_append(ls_text *text, const char *fmt, ...) LS_PRINTF(2, 3);
LS_API void ls_text_append_bytes(ls_text *text, const void *data, size_t bytes);
LS_API void ls_text_deinit(ls_text *text);

/* Growable array helper: makes room for `need` items of `item_bytes`, doubling; *items may be NULL at first. */
LS_API ls_status ls_array_reserve(void **items, int64_t *capacity, int64_t need, size_t item_bytes);

#endif
