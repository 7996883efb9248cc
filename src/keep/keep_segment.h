/* A segment: the persistent values of one rank in shared memory that outlives it. A header with all that anybody needs to read it, then
 * two buffers. The rank writes it; the keeper and its readers trust nothing in it that ls_keep_segment_verify has not checked on a copy.
 * Thread-safety: the atomics are for the rank and the keeper; the rest is written before it is shown. Local. */
#ifndef LS_KEEP_KEEP_SEGMENT_H
#define LS_KEEP_KEEP_SEGMENT_H
#include "keep/keep.h"
#include <stdatomic.h>

#define LS_KEEP_MAGIC UINT64_C(0x4c534b4545503031)
enum { LS_KEEP_VERSION = 1, LS_KEEP_TORN = -1 };
/* `copied` when nobody makes copies, or their keeper was lost. */
#define LS_KEEP_NO_COPIES INT64_MAX

typedef struct ls_keep_part {
    uint64_t name; /* where its NUL-terminated name begins in the segment */
    int32_t dtype, role, is_shared, n_dims;
    int64_t dims[LS_MAX_DIMS]; /* of the whole tensor */
    int64_t first, count;      /* elements of it that are here */
    uint64_t offset;           /* of element `first` in a buffer, in bytes */
} ls_keep_part;

typedef struct ls_keep_header {
    uint64_t magic;
    uint32_t version, n_parts;
    uint64_t fingerprint; /* of the layout: equal = may be taken over in place */
    uint64_t bytes;       /* of the whole segment */
    uint64_t parts, names, names_bytes;
    uint64_t buffers, buffer_bytes, buffer_stride;
    int32_t rank, size;
    int32_t n_tensors; /* persistent values of the model on all ranks together */
    int32_t unused;
    _Atomic int64_t job;
    _Atomic int32_t pid;
    _Atomic int64_t steps[2]; /* what the buffers hold; LS_KEEP_TORN: nothing */
    _Atomic uint64_t blob_bytes[2], blob_hashes[2];
    _Atomic int64_t copied; /* the newest step that the neighbour has */
    _Atomic uint32_t bell;  /* a futex: rung when `copied` changes */
    char blobs[2][LS_KEEP_BLOB];
} ls_keep_header;

typedef struct ls_keep_layout {
    int rank, size, n_tensors;
    int64_t job;
    const ls_plan_part *parts; /* .offset in a buffer; .region does not matter */
    int n_parts;
    size_t buffer_bytes;
} ls_keep_layout;

/* All before the buffers, as a segment begins that holds no step yet. Free with ls_free. */
LS_API ls_status ls_keep_segment_make(const ls_keep_layout *layout, ls_keep_header **out);
/* Does the image of a segment's beginning (`bytes` of it) hold what it says, within a segment of whole_bytes? LS_ERR_FORMAT says what does not. */
LS_API ls_status ls_keep_segment_verify(const ls_keep_header *image, size_t bytes,
                                        uint64_t whole_bytes);

static inline const ls_keep_part *ls_keep_parts(const ls_keep_header *segment) {
    return (const ls_keep_part *)((const char *)segment + segment->parts);
}
static inline const char *ls_keep_part_name(const ls_keep_header *image, const ls_keep_part *part) {
    return (const char *)image + part->name;
}
/* Of a mapped segment whose verified image is `image`. */
static inline char *ls_keep_buffer(ls_keep_header *mapped, const ls_keep_header *image,
                                   int buffer) {
    return (char *)mapped + image->buffers + (uint64_t)buffer * image->buffer_stride;
}
/* The buffer that holds `step`, or -1. */
LS_API int ls_keep_segment_find(const ls_keep_header *mapped, int64_t step);
/* The buffer that holds the newest step, or -1. */
LS_API int ls_keep_segment_newest(const ls_keep_header *mapped);
/* The buffer holds nothing from here on: before it is written. */
LS_API void ls_keep_segment_tear(ls_keep_header *mapped, int buffer);
/* The buffer, which is complete, holds `step`. */
LS_API void ls_keep_segment_commit(ls_keep_header *mapped, int buffer, int64_t step,
                                   const void *blob, size_t blob_bytes);
/* 0 when there is none, or it is damaged. */
LS_API int ls_keep_segment_blob(const ls_keep_header *mapped, int buffer, char out[LS_KEEP_BLOB],
                                size_t *bytes_out);

#endif
