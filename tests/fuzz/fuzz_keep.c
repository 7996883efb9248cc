/* What a keeper gets from strangers: the beginning of a segment, and the frames of a connection. Whatever the bytes, they are refused with
 * a message, or what they say lies within their bounds. */
#include "base/alloc.h"
#include "keep/keeper_internal.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void need(int holds) {
    if (!holds) abort();
}

static void use_segment(const ls_keep_header *image, size_t bytes) {
    const uint64_t whole = bytes < sizeof *image ? bytes : image->bytes;
    if (ls_keep_segment_verify(image, bytes, whole) != LS_OK) {
        need(ls_error_message()[0] != '\0');
        return;
    }
    for (uint32_t i = 0; i < image->n_parts; i++) {
        const ls_keep_part *part = &ls_keep_parts(image)[i];
        const uint64_t part_bytes = (uint64_t)part->count * ls_dtype_bytes((ls_dtype)part->dtype);
        need(strlen(ls_keep_part_name(image, part)) > 0);
        need(part->offset + part_bytes <= image->buffer_bytes);
        need(image->buffers + image->buffer_stride + image->buffer_bytes <= whole);
    }
}

/* The input is what came on a connection that has greeted, or has not. */
static void use_frames(char *data, size_t bytes, int is_greeted) {
    ls_keeper_link link = {
        .fd = -1, .passed = -1, .is_greeted = is_greeted, .in = data, .n_in = (int64_t)bytes};
    ls_keep_frame frame;
    const char *payload;
    while (ls_keeper_link_next(&link, &frame, &payload)) {
        need(payload + frame.bytes <= data + link.n_in);
        ls_keeper_link_drop(&link, &frame);
    }
    need(link.n_in >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    char *copy = ls_alloc(bytes); /* aligned, and exactly as long */
    if (!copy) return 0;
    for (int is_greeted = 0; is_greeted < 2; is_greeted++) {
        if (bytes) memcpy(copy, data, bytes);
        use_frames(copy, bytes, is_greeted);
    }
    if (bytes) memcpy(copy, data, bytes);
    use_segment((const ls_keep_header *)copy, bytes);
    ls_free(copy);
    return 0;
}
