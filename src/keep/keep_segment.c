/* What a segment looks like, and whether one is sound. */
#include "keep/keep_segment.h"
#include "base/alloc.h"
#include "base/hash.h"
#include <string.h>

enum { PAGE = 4096, MOST_PARTS = 1 << 20 };

static uint64_t round_up(uint64_t bytes, uint64_t to) {
    return (bytes + to - 1) / to * to;
}

/* The table and the names, and what stands before them. */
static uint64_t fingerprint_of(const ls_keep_header *h) {
    const uint64_t numbers[] = {
        h->version,     h->n_parts, (uint64_t)h->rank, (uint64_t)h->size, (uint64_t)h->n_tensors,
        h->buffer_bytes};
    const uint64_t seed = ls_xxh3(numbers, sizeof numbers, 0);
    return ls_xxh3((const char *)h + h->parts, h->n_parts * sizeof(ls_keep_part) + h->names_bytes,
                   seed);
}

static void fill_part(ls_keep_part *to, const ls_plan_part *from, uint64_t name) {
    *to = (ls_keep_part){.name = name,
                         .dtype = (int32_t)from->whole.dtype,
                         .role = (int32_t)from->role,
                         .is_shared = from->is_shared,
                         .n_dims = from->whole.shape.n_dims,
                         .first = from->first,
                         .count = from->count,
                         .offset = from->offset};
    for (int i = 0; i < to->n_dims; i++) to->dims[i] = from->whole.shape.dims[i];
    /* An empty piece's place may lie behind the tensor's end. */
    if (to->count == 0) {
        to->first = 0;
        to->offset = 0;
    }
}

ls_status ls_keep_segment_make(const ls_keep_layout *layout, ls_keep_header **out) {
    uint64_t names_bytes = 0;
    for (int i = 0; i < layout->n_parts; i++) names_bytes += strlen(layout->parts[i].name) + 1;
    const uint64_t parts = round_up(sizeof **out, 64);
    const uint64_t names = parts + (uint64_t)layout->n_parts * sizeof(ls_keep_part);
    const uint64_t buffers = round_up(names + names_bytes, PAGE);
    ls_keep_header *h = ls_alloc(buffers);
    if (!h) return LS_ERR_NO_MEMORY;
    h->magic = LS_KEEP_MAGIC;
    h->version = LS_KEEP_VERSION;
    h->n_parts = (uint32_t)layout->n_parts;
    h->parts = parts;
    h->names = names;
    h->names_bytes = names_bytes;
    h->buffers = buffers;
    h->buffer_bytes = layout->buffer_bytes;
    h->buffer_stride = round_up(layout->buffer_bytes, PAGE);
    h->bytes = buffers + 2 * h->buffer_stride;
    h->rank = layout->rank;
    h->size = layout->size;
    h->n_tensors = layout->n_tensors;
    atomic_init(&h->job, layout->job);
    for (int b = 0; b < 2; b++) atomic_init(&h->steps[b], LS_KEEP_TORN);
    atomic_init(&h->copied, LS_KEEP_NO_COPIES);
    ls_keep_part *table = (ls_keep_part *)((char *)h + parts);
    uint64_t at = names;
    for (int i = 0; i < layout->n_parts; i++) {
        fill_part(&table[i], &layout->parts[i], at);
        const size_t bytes = strlen(layout->parts[i].name) + 1;
        memcpy((char *)h + at, layout->parts[i].name, bytes);
        at += bytes;
    }
    h->fingerprint = fingerprint_of(h);
    *out = h;
    return LS_OK;
}

/* Elements of the whole tensor, or -1. */
static int64_t count_elements(const ls_keep_part *part) {
    int64_t count = 1;
    if (part->n_dims < 0 || part->n_dims > LS_MAX_DIMS) return -1;
    for (int i = 0; i < part->n_dims; i++)
        if (part->dims[i] < 0 || __builtin_mul_overflow(count, part->dims[i], &count)) return -1;
    return count;
}

/* Printable, and it ends within the names. */
static int is_name(const ls_keep_header *h, uint64_t at) {
    const uint64_t end = h->names + h->names_bytes, first = at;
    if (at < h->names) return 0;
    for (const char *text = (const char *)h; at < end && text[at]; at++)
        if (text[at] < ' ' || text[at] > '~') return 0;
    return at < end && at > first;
}

static ls_status check_part(const ls_keep_header *h, const ls_keep_part *part, int i) {
    const int64_t whole = count_elements(part);
    if (part->dtype < 0 || part->dtype >= LS_DTYPE_COUNT || whole < 0 || part->first < 0 ||
        part->count < 0 || part->first > whole || part->count > whole - part->first)
        return LS_FAIL(
            LS_ERR_FORMAT,
            "part %d of rank %d's segment holds %lld elements from %lld on of a tensor of %lld", i,
            h->rank, (long long)part->count, (long long)part->first, (long long)whole);
    const uint64_t size = ls_dtype_bytes((ls_dtype)part->dtype);
    if (part->offset > h->buffer_bytes ||
        (uint64_t)part->count > (h->buffer_bytes - part->offset) / size)
        return LS_FAIL(LS_ERR_FORMAT,
                       "part %d of rank %d's segment ends beyond the buffer of %llu bytes", i,
                       h->rank, (unsigned long long)h->buffer_bytes);
    if (!is_name(h, part->name))
        return LS_FAIL(LS_ERR_FORMAT, "part %d of rank %d's segment has no name", i, h->rank);
    return LS_OK;
}

static int is_within(uint64_t offset, uint64_t bytes, uint64_t limit) {
    return offset <= limit && bytes <= limit - offset;
}

ls_status ls_keep_segment_verify(const ls_keep_header *h, size_t bytes, uint64_t whole_bytes) {
    if (bytes < sizeof *h || h->magic != LS_KEEP_MAGIC)
        return LS_FAIL(LS_ERR_FORMAT, "%zu bytes that do not begin like a kept segment", bytes);
    if (h->version != LS_KEEP_VERSION)
        return LS_FAIL(LS_ERR_FORMAT,
                       "a kept segment of version %u; this program knows version %d: use one "
                       "version of it on all hosts",
                       h->version, LS_KEEP_VERSION);
    if (h->buffers > bytes || h->bytes != whole_bytes || h->n_parts > MOST_PARTS ||
        h->parts < sizeof *h || h->parts % 8 != 0 || h->rank < 0 || h->size <= h->rank ||
        h->buffer_bytes > h->buffer_stride || h->buffer_stride % PAGE != 0 ||
        !is_within(h->parts, h->n_parts * sizeof(ls_keep_part), h->buffers) ||
        h->names != h->parts + h->n_parts * sizeof(ls_keep_part) ||
        !is_within(h->names, h->names_bytes, h->buffers) || h->buffer_stride > whole_bytes / 2 ||
        !is_within(h->buffers, 2 * h->buffer_stride, whole_bytes))
        return LS_FAIL(LS_ERR_FORMAT,
                       "the header of a kept segment of %llu bytes contradicts itself",
                       (unsigned long long)whole_bytes);
    for (uint32_t i = 0; i < h->n_parts; i++) LS_TRY(check_part(h, &ls_keep_parts(h)[i], (int)i));
    if (h->fingerprint != fingerprint_of(h))
        return LS_FAIL(LS_ERR_FORMAT, "the table of rank %d's kept segment is damaged", h->rank);
    return LS_OK;
}

int ls_keep_segment_find(const ls_keep_header *mapped, int64_t step) {
    for (int b = 0; b < 2; b++)
        if (step >= 0 && atomic_load_explicit(&mapped->steps[b], memory_order_acquire) == step)
            return b;
    return -1;
}

int ls_keep_segment_newest(const ls_keep_header *mapped) {
    const int64_t a = atomic_load(&mapped->steps[0]), b = atomic_load(&mapped->steps[1]);
    if (a < 0 && b < 0) return -1;
    return b > a;
}

/* The fence: nothing that is written later is seen before the mark. */
void ls_keep_segment_tear(ls_keep_header *mapped, int buffer) {
    atomic_store(&mapped->steps[buffer], LS_KEEP_TORN);
    atomic_thread_fence(memory_order_seq_cst);
}

void ls_keep_segment_commit(ls_keep_header *mapped, int buffer, int64_t step, const void *blob,
                            size_t blob_bytes) {
    if (blob_bytes) memcpy(mapped->blobs[buffer], blob, blob_bytes);
    atomic_store_explicit(&mapped->blob_bytes[buffer], blob_bytes, memory_order_relaxed);
    atomic_store_explicit(&mapped->blob_hashes[buffer],
                          ls_xxh3(mapped->blobs[buffer], blob_bytes, 0), memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    atomic_store_explicit(&mapped->steps[buffer], step, memory_order_release);
}

int ls_keep_segment_blob(const ls_keep_header *mapped, int buffer, char out[LS_KEEP_BLOB],
                         size_t *bytes_out) {
    const uint64_t bytes = atomic_load(&mapped->blob_bytes[buffer]);
    const uint64_t hash = atomic_load(&mapped->blob_hashes[buffer]);
    if (bytes > LS_KEEP_BLOB) return 0;
    memset(out, 0, LS_KEEP_BLOB);
    memcpy(out, mapped->blobs[buffer], bytes);
    *bytes_out = bytes;
    return ls_xxh3(out, bytes, 0) == hash;
}
