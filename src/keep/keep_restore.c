/* Reading the state of a step from whoever has it: the rank's own memory, the keeper of this host, the keepers of others. */
#include "base/alloc.h"
#include "base/config.h"
#include "base/hash.h"
#include "base/log.h"
#include "keep/keep_internal.h"
#include "keep/keep_ranges.h"
#include <string.h>
#include <unistd.h>

static const double dial_seconds = 5;

/* Where parts are read from. */
typedef struct source {
    int fd, is_remote;
} source;

typedef struct fetch {
    ls_keep *keep;
    int64_t step;
    int buffer;
    const source *from;
    ls_keep_ranges *have; /* [n_parts] of the whole tensor */
} fetch;

static int is_complete(const fetch *f, uint32_t i, ls_keep_range *gap) {
    const ls_keep_part *part = &ls_keep_parts(f->keep->image)[i];
    return !ls_keep_ranges_gap(&f->have[i], part->first, part->first + part->count, gap);
}

/* One chunk of the part, straight to its place. */
static ls_status hear_chunk(fetch *f, uint32_t i, const ls_keep_range *asked, size_t bytes) {
    const ls_keep_part *part = &ls_keep_parts(f->keep->image)[i];
    const int64_t size = (int64_t)ls_dtype_bytes((ls_dtype)part->dtype);
    ls_keep_chunk head;
    if (bytes < sizeof head)
        return LS_FAIL(LS_ERR_COMM, "a keeper sent a chunk of %zu bytes", bytes);
    LS_TRY(ls_keep_hear_bytes(f->from->fd, &head, sizeof head));
    bytes -= sizeof head;
    const int64_t n = (int64_t)bytes / size;
    if ((int64_t)bytes % size || head.at < asked->first || head.at > asked->end ||
        n > asked->end - head.at)
        return LS_FAIL(LS_ERR_COMM, "a keeper sent elements that it was not asked for");
    char *to = ls_keep_buffer(f->keep->mapped, f->keep->image, f->buffer) + part->offset +
               (head.at - part->first) * size;
    LS_TRY(ls_keep_hear_bytes(f->from->fd, to, bytes));
    if (ls_xxh3(to, bytes, 0) != head.hash)
        return LS_FAIL(LS_ERR_DATA, "'%s' was damaged on the way from a keeper",
                       ls_keep_part_name(f->keep->image, part));
    f->keep->stats.read_bytes += (int64_t)bytes;
    if (f->from->is_remote) f->keep->stats.read_remote += (int64_t)bytes;
    return ls_keep_ranges_add(&f->have[i], head.at, head.at + n);
}

static ls_status read_range(fetch *f, uint32_t i, const ls_keep_range *range) {
    const ls_keep_part *part = &ls_keep_parts(f->keep->image)[i];
    const char *name = ls_keep_part_name(f->keep->image, part);
    ls_keep_read read = {.step = f->step,
                         .first = range->first,
                         .count = range->end - range->first,
                         .dtype = part->dtype};
    if (strlen(name) >= sizeof read.name)
        return LS_FAIL(LS_ERR_UNSUPPORTED, "the name '%s' is too long for a keeper", name);
    memcpy(read.name, name, strlen(name));
    LS_TRY(ls_keep_say(f->from->fd, LS_SAY_READ, &read, sizeof read, -1));
    for (;;) {
        ls_keep_frame frame;
        LS_TRY(ls_keep_hear(f->from->fd, &frame, NULL));
        if (frame.kind == LS_SAY_END) return LS_OK;
        if (frame.kind != LS_SAY_DATA)
            return LS_FAIL(LS_ERR_COMM, "a keeper answered message %d when read", frame.kind);
        LS_TRY(hear_chunk(f, i, range, frame.bytes));
    }
}

/* What is missing, as far as this source has it. */
static ls_status read_source(fetch *f) {
    for (uint32_t i = 0; i < f->keep->image->n_parts; i++) {
        const ls_keep_part *part = &ls_keep_parts(f->keep->image)[i];
        int64_t at = part->first;
        const int64_t end = part->first + part->count;
        ls_keep_range gap;
        while (ls_keep_ranges_gap(&f->have[i], at, end, &gap)) {
            LS_TRY(read_range(f, i, &gap));
            at = gap.end;
        }
    }
    return LS_OK;
}

static ls_status read_blob(const source *from, int rank, int64_t step, char out[LS_KEEP_BLOB],
                           size_t *bytes_out, int *found_out) {
    const ls_keep_blob_ask ask = {.step = step, .rank = rank};
    ls_keep_frame frame;
    LS_TRY(ls_keep_say(from->fd, LS_SAY_BLOB, &ask, sizeof ask, -1));
    LS_TRY(ls_keep_hear(from->fd, &frame, NULL));
    if (frame.kind != LS_SAY_BLOB) return LS_OK;
    if (frame.bytes > LS_KEEP_BLOB)
        return LS_FAIL(LS_ERR_COMM, "a keeper sent %llu bytes of a trainer's state",
                       (unsigned long long)frame.bytes);
    memset(out, 0, LS_KEEP_BLOB);
    LS_TRY(ls_keep_hear_bytes(from->fd, out, frame.bytes));
    *bytes_out = frame.bytes;
    *found_out = 1;
    return LS_OK;
}

/* 0 when every part is here; otherwise the first that is not. */
static int find_missing(const fetch *f, uint32_t *part_out, ls_keep_range *gap_out) {
    for (uint32_t i = 0; i < f->keep->image->n_parts; i++) {
        if (is_complete(f, i, gap_out)) continue;
        *part_out = i;
        return 1;
    }
    return 0;
}

static ls_status dial(const ls_keep *keep, const char *address, source *out) {
    ls_keep_hello hello = {.who = LS_KEEP_IS_READER, .rank = keep->image->rank, .job = keep->job};
    memcpy(hello.cookie, keep->cookie, sizeof hello.cookie);
    *out = (source){.fd = -1, .is_remote = 1};
    LS_TRY(ls_keep_dial_tcp(address, dial_seconds, &out->fd));
    const ls_status status = ls_keep_greet(out->fd, &hello);
    if (status != LS_OK) (void)close(out->fd);
    return status;
}

typedef struct found_blob {
    char *out;
    size_t bytes;
    int is_there;
} found_blob;

static ls_status use_source(fetch *f, const source *from, found_blob *blob) {
    f->from = from;
    LS_TRY(read_source(f));
    if (blob->is_there) return LS_OK;
    return read_blob(from, f->keep->image->rank, f->step, blob->out, &blob->bytes, &blob->is_there);
}

/* Keepers of other hosts, one after another, until nothing is missing. One that does not answer may not be needed. */
static ls_status use_others(fetch *f, found_blob *blob) {
    const char *all = ls_config_env("LOCKSTEP_KEEPERS");
    char address[320];
    uint32_t part;
    ls_keep_range gap;
    for (const char *at = all ? all : ""; *(at += strspn(at, " "));) {
        const size_t n = strcspn(at, " ");
        source from;
        if (n >= sizeof address)
            return LS_FAIL(LS_ERR_INVALID, "LOCKSTEP_KEEPERS has a word of %zu letters", n);
        memcpy(address, at, n);
        address[n] = '\0';
        at += n;
        if (blob->is_there && !find_missing(f, &part, &gap)) return LS_OK;
        ls_status status = dial(f->keep, address, &from);
        if (status == LS_OK) {
            status = use_source(f, &from, blob);
            (void)close(from.fd);
        }
        if (status == LS_ERR_NO_MEMORY) return status;
        if (status != LS_OK)
            ls_log(LS_LOG_WARN, "rank %d reads its state elsewhere: %s", f->keep->image->rank,
                   ls_error_message());
    }
    return LS_OK;
}

static ls_status check_found(const fetch *f, const found_blob *blob) {
    uint32_t i;
    ls_keep_range gap;
    if (find_missing(f, &i, &gap)) {
        const ls_keep_part *part = &ls_keep_parts(f->keep->image)[i];
        return LS_FAIL(
            LS_ERR_NOT_FOUND,
            "step %lld is not complete: no keeper that answers has elements %lld to %lld "
            "of '%s'; go on from the newest checkpoint",
            (long long)f->step, (long long)gap.first, (long long)gap.end,
            ls_keep_part_name(f->keep->image, part));
    }
    if (!blob->is_there)
        return LS_FAIL(LS_ERR_NOT_FOUND,
                       "step %lld: no keeper that answers has what the trainer kept with it",
                       (long long)f->step);
    return LS_OK;
}

static ls_status read_all(fetch *f, found_blob *blob) {
    const source here = {.fd = f->keep->fd};
    ls_keep_segment_tear(f->keep->mapped, 0);
    ls_keep_segment_tear(f->keep->mapped, 1);
    LS_TRY(use_source(f, &here, blob));
    LS_TRY(use_others(f, blob));
    return check_found(f, blob);
}

ls_status ls_keep_fetch(ls_keep *keep, int64_t step, int *buffer_out, char blob_out[LS_KEEP_BLOB],
                        size_t *blob_bytes_out) {
    const int here = ls_keep_segment_find(keep->mapped, step);
    if (here >= 0 && ls_keep_segment_blob(keep->mapped, here, blob_out, blob_bytes_out)) {
        *buffer_out = here;
        return LS_OK;
    }
    found_blob blob = {.out = blob_out};
    fetch f = {.keep = keep, .step = step};
    f.have = ls_alloc((keep->image->n_parts + 1) * sizeof *f.have);
    if (!f.have) return LS_ERR_NO_MEMORY;
    const ls_status status = read_all(&f, &blob);
    for (uint32_t i = 0; i < keep->image->n_parts; i++) ls_keep_ranges_deinit(&f.have[i]);
    ls_free(f.have);
    *buffer_out = f.buffer;
    *blob_bytes_out = blob.bytes;
    return status;
}
