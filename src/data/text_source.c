/* What is held is text[begin..end): the mapped file, or what was decompressed and not yet handed out. */
#include "data/text_source.h"
#include "base/alloc.h"
#include "base/fs.h"
#include <string.h>
#include <zstd.h>

/* A frame that asks for a larger window than 128 MiB is refused by libzstd (its own default). */
struct ls_text_source {
    const char *path; /* borrowed */
    size_t max_bytes; /* of one piece: the whole text, or a line */
    ls_map map;       /* the file */
    ZSTD_DStream *stream;
    size_t n_read; /* of the compressed bytes */
    int in_frame;  /* the compressed data may not end here */
    char *buffer;
    int64_t capacity;
    const char *text;
    size_t begin, end;
    int at_end; /* nothing more to decompress */
};

static ls_status start_stream(ls_text_source *source) {
    source->stream = ZSTD_createDStream();
    if (source->stream == NULL)
        return LS_FAIL(LS_ERR_NO_MEMORY, "%s: no memory for decompression", source->path);
    return LS_OK;
}

ls_status ls_text_source_open(const char *path, int compressed, size_t max_bytes,
                              ls_text_source **out) {
    ls_text_source *source = ls_alloc(sizeof *source);
    if (source == NULL) return LS_ERR_NO_MEMORY;
    source->path = path;
    source->max_bytes = max_bytes;
    ls_status status = ls_map_open(path, &source->map);
    if (status == LS_OK && compressed) status = start_stream(source);
    if (status != LS_OK) {
        ls_text_source_close(source);
        return status;
    }
    if (!compressed) {
        source->text = (const char *)source->map.data;
        source->end = source->map.bytes;
        source->at_end = 1;
    }
    *out = source;
    return LS_OK;
}

void ls_text_source_close(ls_text_source *source) {
    if (source == NULL) return;
    ZSTD_freeDStream(source->stream);
    ls_map_close(&source->map);
    ls_free(source->buffer);
    ls_free(source);
}

/* Makes room behind the held text: moves it to the front, or grows the buffer. */
static ls_status make_room(ls_text_source *source) {
    if (source->begin > 0) {
        memmove(source->buffer, source->buffer + source->begin, source->end - source->begin);
        source->end -= source->begin;
        source->begin = 0;
    }
    const int64_t need = (int64_t)(source->end + ZSTD_DStreamOutSize());
    LS_TRY(ls_array_reserve((void **)&source->buffer, &source->capacity, need, 1));
    source->text = source->buffer;
    return LS_OK;
}

/* Decompresses some more; only called when !at_end. */
static ls_status fill(ls_text_source *source) {
    LS_TRY(make_room(source));
    ZSTD_inBuffer in = {source->map.data, source->map.bytes, source->n_read};
    ZSTD_outBuffer room = {source->buffer, (size_t)source->capacity, source->end};
    const size_t rc = ZSTD_decompressStream(source->stream, &room, &in);
    if (ZSTD_isError(rc))
        return LS_FAIL(LS_ERR_FORMAT, "%s: damaged zstd data near byte %zu of %zu: %s",
                       source->path, in.pos, in.size, ZSTD_getErrorName(rc));
    source->end = room.pos;
    source->n_read = in.pos;
    source->in_frame = rc != 0;
    if (in.pos < in.size || room.pos == room.size) return LS_OK;
    if (source->in_frame)
        return LS_FAIL(LS_ERR_FORMAT,
                       "%s: zstd data is cut off: it ends inside a frame at byte %zu", source->path,
                       in.size);
    source->at_end = 1;
    return LS_OK;
}

static ls_status refuse_size(const ls_text_source *source, const char *piece) {
    return LS_FAIL(LS_ERR_DATA,
                   "%s: one %s has more than %zu bytes%s; split it, or allow more with "
                   "max_document_bytes",
                   source->path, piece, source->max_bytes,
                   source->stream != NULL ? " after decompression" : "");
}

ls_status ls_text_source_whole(ls_text_source *source, const char **text_out, size_t *bytes_out) {
    while (!source->at_end && source->end - source->begin <= source->max_bytes)
        LS_TRY(fill(source));
    if (source->end - source->begin > source->max_bytes) return refuse_size(source, "document");
    *bytes_out = source->end - source->begin;
    *text_out = *bytes_out > 0 ? source->text + source->begin : "";
    return LS_OK;
}

ls_status ls_text_source_line(ls_text_source *source, const char **line_out, size_t *bytes_out) {
    size_t n_seen = 0;
    for (;;) {
        const size_t held = source->end - source->begin;
        const char *start = held > 0 ? source->text + source->begin : NULL;
        const char *newline = held > n_seen ? memchr(start + n_seen, '\n', held - n_seen) : NULL;
        if (newline != NULL || source->at_end || held > source->max_bytes) {
            const size_t bytes = newline != NULL ? (size_t)(newline - start) : held;
            if (bytes > source->max_bytes) return refuse_size(source, "line");
            *line_out = held > 0 ? start : NULL;
            *bytes_out = bytes;
            source->begin += bytes + (newline != NULL);
            return LS_OK;
        }
        n_seen = held;
        LS_TRY(fill(source));
    }
}
