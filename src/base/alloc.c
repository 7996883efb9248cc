#include "base/alloc.h"
#include <jansson.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ALIGNMENT = 64 };
static const size_t huge_page_bytes = (size_t)2 << 20;
/* No address space holds more; asking would only make sanitizers stop the program. */
static const size_t largest_bytes = (size_t)1 << 46;

static _Atomic int64_t n_calls, n_live;
/* Test hook: calls left until one fails (0 = off), and whether all later ones fail too. */
static _Atomic int64_t fail_countdown;
static atomic_int fail_is_sticky, fail_always;
static _Thread_local int64_t n_refused;

ls_alloc_stats ls_alloc_get_stats(void) {
    const ls_alloc_stats stats = {atomic_load(&n_calls), atomic_load(&n_live)};
    return stats;
}

void ls_alloc_fail_at(int64_t n, int sticky) {
    atomic_store(&fail_always, 0);
    atomic_store(&fail_is_sticky, sticky != 0);
    atomic_store(&fail_countdown, n > 0 ? n : 0);
}

static int must_fail(void) {
    atomic_fetch_add_explicit(&n_calls, 1, memory_order_relaxed);
    if (atomic_load_explicit(&fail_always, memory_order_relaxed)) return 1;
    if (atomic_load_explicit(&fail_countdown, memory_order_relaxed) <= 0) return 0;
    if (atomic_fetch_sub(&fail_countdown, 1) != 1) return 0;
    if (atomic_load(&fail_is_sticky)) atomic_store(&fail_always, 1);
    return 1;
}

int64_t ls_alloc_n_refused(void) {
    return n_refused;
}

static void *refuse(size_t bytes) {
    n_refused++;
    (void)LS_FAIL(LS_ERR_NO_MEMORY, "out of memory: asked the system for %zu bytes", bytes);
    return NULL;
}

static void *alloc_raw(size_t bytes) {
    void *ptr = NULL;
    if (must_fail() || bytes > largest_bytes ||
        posix_memalign(&ptr, ALIGNMENT, bytes ? bytes : 1) != 0)
        return refuse(bytes);
    atomic_fetch_add_explicit(&n_live, 1, memory_order_relaxed);
    return ptr;
}

void *ls_alloc(size_t bytes) {
    void *ptr = alloc_raw(bytes);
    if (ptr) memset(ptr, 0, bytes ? bytes : 1);
    return ptr;
}

void *ls_realloc(void *ptr, size_t old_bytes, size_t new_bytes) {
    void *grown = alloc_raw(new_bytes);
    if (!grown) return NULL;
    if (ptr) memcpy(grown, ptr, old_bytes < new_bytes ? old_bytes : new_bytes);
    ls_free(ptr);
    return grown;
}

void ls_free(void *ptr) {
    if (!ptr) return;
    atomic_fetch_sub_explicit(&n_live, 1, memory_order_relaxed);
    free(ptr);
}

static size_t round_to_pages(size_t bytes) {
    return (bytes + huge_page_bytes - 1) / huge_page_bytes * huge_page_bytes;
}

/* Maps one huge page more than needed and gives back what lies before and after the aligned part. */
void *ls_alloc_pages(size_t bytes) {
    if (must_fail() || bytes > largest_bytes) return refuse(bytes);
    const size_t need = round_to_pages(bytes ? bytes : 1), mapped = need + huge_page_bytes;
    char *base = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) return refuse(bytes);
    const size_t before = (huge_page_bytes - (uintptr_t)base % huge_page_bytes) % huge_page_bytes;
    char *aligned = base + before;
    if (before) (void)munmap(base, before);
    (void)munmap(aligned + need, mapped - before - need);
    (void)madvise(aligned, need, MADV_HUGEPAGE); /* a wish: kernels without it still work */
    atomic_fetch_add_explicit(&n_live, 1, memory_order_relaxed);
    return aligned;
}

void ls_free_pages(void *ptr, size_t bytes) {
    if (!ptr) return;
    (void)munmap(ptr, round_to_pages(bytes ? bytes : 1));
    atomic_fetch_sub_explicit(&n_live, 1, memory_order_relaxed);
}

char *ls_strdup(const char *text) {
    const size_t bytes = strlen(text) + 1;
    char *copy = alloc_raw(bytes);
    if (copy) memcpy(copy, text, bytes);
    return copy;
}

char *ls_format(const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    const int wanted = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    char *text = wanted < 0 ? refuse(0) : alloc_raw((size_t)wanted + 1);
    if (!text) return NULL;
    va_start(args, fmt);
    (void)vsnprintf(text, (size_t)wanted + 1, fmt, args);
    va_end(args);
    return text;
}

ls_status ls_array_reserve(void **items, int64_t *capacity, int64_t need, size_t item_bytes) {
    if (need <= *capacity) return LS_OK;
    const int64_t limit = (int64_t)(PTRDIFF_MAX / (item_bytes ? item_bytes : 1));
    if (need > limit)
        return LS_FAIL(LS_ERR_NO_MEMORY, "out of memory: asked for %lld items of %zu bytes",
                       (long long)need, item_bytes);
    int64_t grown = *capacity > limit / 2 ? limit : *capacity * 2;
    if (grown < 8) grown = 8 < limit ? 8 : limit;
    if (grown < need) grown = need;
    void *moved = ls_realloc(*items, (size_t)*capacity * item_bytes, (size_t)grown * item_bytes);
    if (!moved) return LS_ERR_NO_MEMORY;
    *items = moved;
    *capacity = grown;
    return LS_OK;
}

static _Thread_local int jansson_reads;

void ls_alloc_jansson_reads(int reads) {
    jansson_reads = reads;
}

/* jansson 2.14's reader passes over a failed append to its text buffer and then runs off its end. While it reads, what
 * the hook refuses is counted as refused, and given all the same if the system has it. */
static void *alloc_for_jansson(size_t bytes) {
    void *ptr = ls_alloc(bytes);
    if (ptr || !jansson_reads || bytes > largest_bytes ||
        posix_memalign(&ptr, ALIGNMENT, bytes ? bytes : 1) != 0)
        return ptr;
    atomic_fetch_add_explicit(&n_live, 1, memory_order_relaxed);
    return ptr;
}

/* jansson must be pointed at the hook before its first allocation and never again: before main is the one moment
 * that needs no lock. This file is in every program that links the library. */
__attribute__((constructor)) static void point_jansson_at_hook(void) {
    json_set_alloc_funcs(alloc_for_jansson, ls_free);
}
