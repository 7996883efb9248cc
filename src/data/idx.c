#include "data/idx.h"
#include "base/alloc.h"
#include "base/fs.h"
#include <string.h>
#include <zlib.h>

enum { UNSIGNED_BYTE = 8, GZIP_WINDOW = 15 + 16 };
/* More than any data set of this kind; keeps a hostile header or stream from asking for everything. */
#define MAX_BYTES ((int64_t)1 << 32)

/* Bytes one after the other from a mapped file, decompressed when it is gzip. */
typedef struct reader {
    const char *path;
    ls_map map;
    int is_gzip;
    z_stream stream;
    size_t n_read; /* when not gzip */
} reader;

static void *zlib_alloc(void *user, uInt items, uInt bytes) {
    (void)user;
    return ls_alloc((size_t)items * bytes);
}

static void zlib_free(void *user, void *ptr) {
    (void)user;
    ls_free(ptr);
}

static ls_status open_reader(const char *path, reader *r) {
    *r = (reader){.path = path};
    LS_TRY(ls_map_open(path, &r->map));
    r->is_gzip = r->map.bytes >= 2 && r->map.data[0] == 0x1F && r->map.data[1] == 0x8B;
    if (!r->is_gzip) return LS_OK;
    r->stream.zalloc = zlib_alloc;
    r->stream.zfree = zlib_free;
    r->stream.next_in = (Bytef *)(uintptr_t)r->map.data;
    if (inflateInit2(&r->stream, GZIP_WINDOW) == Z_OK) return LS_OK;
    ls_map_close(&r->map);
    return LS_FAIL(LS_ERR_NO_MEMORY, "%s: no memory for decompression", path);
}

static void close_reader(reader *r) {
    if (r->is_gzip) (void)inflateEnd(&r->stream);
    ls_map_close(&r->map);
}

static ls_status read_plain(reader *r, unsigned char *out, size_t bytes) {
    if (bytes > r->map.bytes - r->n_read)
        return LS_FAIL(LS_ERR_FORMAT, "%s: cut off: %zu bytes wanted at byte %zu of %zu", r->path,
                       bytes, r->n_read, r->map.bytes);
    if (bytes > 0) memcpy(out, r->map.data + r->n_read, bytes);
    r->n_read += bytes;
    return LS_OK;
}

/* zlib counts in 32 bits: both sides go in pieces. */
static const size_t piece = 1 << 30;

static ls_status read_gzip(reader *r, unsigned char *out, size_t bytes) {
    size_t done = 0;
    while (done < bytes) {
        const size_t in_left = r->map.bytes - (size_t)(r->stream.next_in - r->map.data);
        const uInt out_now = (uInt)(bytes - done < piece ? bytes - done : piece);
        r->stream.avail_in = (uInt)(in_left < piece ? in_left : piece);
        r->stream.next_out = out + done;
        r->stream.avail_out = out_now;
        const int rc = inflate(&r->stream, Z_NO_FLUSH);
        done += out_now - r->stream.avail_out;
        if (rc == Z_MEM_ERROR) return LS_FAIL(LS_ERR_NO_MEMORY, "%s: no memory", r->path);
        if ((rc != Z_OK && rc != Z_STREAM_END) || (rc == Z_STREAM_END && done < bytes))
            return LS_FAIL(LS_ERR_FORMAT, "%s: damaged or cut off gzip data after %zu bytes: %s",
                           r->path, done, r->stream.msg != NULL ? r->stream.msg : "too short");
    }
    return LS_OK;
}

/* Up to the checksum behind the data, which says whether they are what was packed. */
static ls_status finish_gzip(reader *r) {
    unsigned char rest[4096];
    int rc = Z_OK;
    while (rc == Z_OK) {
        const size_t in_left = r->map.bytes - (size_t)(r->stream.next_in - r->map.data);
        r->stream.avail_in = (uInt)(in_left < piece ? in_left : piece);
        r->stream.next_out = rest;
        r->stream.avail_out = sizeof rest;
        rc = inflate(&r->stream, Z_NO_FLUSH);
    }
    if (rc == Z_STREAM_END) return LS_OK;
    if (rc == Z_MEM_ERROR) return LS_FAIL(LS_ERR_NO_MEMORY, "%s: no memory", r->path);
    return LS_FAIL(LS_ERR_FORMAT, "%s: damaged or cut off gzip data at its end: %s", r->path,
                   r->stream.msg != NULL ? r->stream.msg : "too short");
}

static ls_status read_bytes(reader *r, unsigned char *out, size_t bytes) {
    return r->is_gzip ? read_gzip(r, out, bytes) : read_plain(r, out, bytes);
}

static int64_t read_be32(const unsigned char *p) {
    return (int64_t)p[0] << 24 | (int64_t)p[1] << 16 | (int64_t)p[2] << 8 | p[3];
}

static ls_status read_header(reader *r, int n_dims, ls_idx *idx, int64_t *bytes_out) {
    unsigned char head[16];
    LS_TRY(read_bytes(r, head, 4));
    if (head[0] != 0 || head[1] != 0 || head[2] != UNSIGNED_BYTE || head[3] != n_dims)
        return LS_FAIL(
            LS_ERR_FORMAT,
            "%s: not the IDX file that was wanted: it begins with %02x%02x%02x%02x, wanted "
            "is 000008%02x (unsigned bytes, %d dimension%s)",
            r->path, head[0], head[1], head[2], head[3], n_dims, n_dims, n_dims == 1 ? "" : "s");
    LS_TRY(read_bytes(r, head, 4 * (size_t)n_dims));
    int64_t bytes = 1;
    for (int i = 0; i < n_dims; i++) {
        idx->dims[i] = read_be32(head + 4 * i);
        if (idx->dims[i] == 0 || idx->dims[i] > MAX_BYTES / bytes)
            return LS_FAIL(LS_ERR_FORMAT,
                           "%s: dimension %d is %lld: empty, or over %lld bytes of data", r->path,
                           i, (long long)idx->dims[i], (long long)MAX_BYTES);
        bytes *= idx->dims[i];
    }
    idx->n_dims = n_dims;
    *bytes_out = bytes;
    return LS_OK;
}

/* A plain file shows at once that it is too short; nothing is allocated then. */
static ls_status read_all(reader *r, int n_dims, ls_idx *idx) {
    int64_t bytes = 0;
    LS_TRY(read_header(r, n_dims, idx, &bytes));
    /* deflate cannot shrink data to less than about 1/1032 */
    if (bytes / 1100 > (int64_t)r->map.bytes ||
        (!r->is_gzip && bytes > (int64_t)(r->map.bytes - r->n_read)))
        return LS_FAIL(LS_ERR_FORMAT,
                       "%s: cut off: its header promises %lld bytes, the file has %zu", r->path,
                       (long long)bytes, r->map.bytes);
    if (!r->is_gzip) {
        idx->data = r->map.data + r->n_read;
        return LS_OK;
    }
    idx->unpacked = ls_alloc((size_t)bytes);
    if (idx->unpacked == NULL) return LS_ERR_NO_MEMORY;
    idx->data = idx->unpacked;
    LS_TRY(read_bytes(r, idx->unpacked, (size_t)bytes));
    return finish_gzip(r);
}

ls_status ls_idx_read(const char *path, int n_dims, ls_idx *out) {
    ls_idx idx = {0};
    reader r;
    LS_TRY(open_reader(path, &r));
    const ls_status status = read_all(&r, n_dims, &idx);
    if (status == LS_OK && !r.is_gzip) {
        idx.map = r.map;
        r.map = (ls_map){0};
    }
    close_reader(&r);
    if (status != LS_OK) {
        ls_idx_deinit(&idx);
        return status;
    }
    *out = idx;
    return LS_OK;
}

void ls_idx_deinit(ls_idx *idx) {
    ls_free(idx->unpacked);
    ls_map_close(&idx->map);
    *idx = (ls_idx){0};
}

int ls_idx_is_unpacked(const ls_idx *idx) {
    return idx->unpacked != NULL;
}

static void put_be32(unsigned char *out, int64_t value) {
    for (int i = 0; i < 4; i++) out[i] = (unsigned char)(value >> (24 - 8 * i));
}

ls_status ls_idx_write(const ls_idx *idx, const char *path) {
    unsigned char head[16] = {0, 0, UNSIGNED_BYTE, (unsigned char)idx->n_dims};
    size_t bytes = 1;
    for (int i = 0; i < idx->n_dims; i++) {
        put_be32(head + 4 + 4 * i, idx->dims[i]);
        bytes *= (size_t)idx->dims[i];
    }
    ls_file_writer *file = NULL;
    LS_TRY(ls_file_writer_begin(path, &file));
    ls_status status = ls_file_writer_write(file, head, 4 + 4 * (size_t)idx->n_dims);
    if (status == LS_OK) status = ls_file_writer_write(file, idx->data, bytes);
    if (status == LS_OK) return ls_file_writer_commit(file);
    ls_file_writer_abort(file);
    return status;
}
