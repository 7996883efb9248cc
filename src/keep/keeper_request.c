/* What a keeper does about each message. */
#include "base/hash.h"
#include "keep/keeper_internal.h"
#include <string.h>
#include <unistd.h>

void ls_keeper_enter_job(ls_keeper *keeper, int64_t job) {
    if (job <= keeper->job) return;
    keeper->job = job;
    keeper->n_ranks = 0;
}

/* Takes as long whatever the cookie is. */
static int is_cookie(const ls_keeper *keeper, const char *said) {
    unsigned difference = 0;
    for (int i = 0; i < LS_KEEPER_COOKIE; i++)
        difference |= (unsigned)(keeper->cookie[i] ^ said[i]);
    return difference == 0;
}

static ls_status check_hello(const ls_keeper *keeper, const ls_keeper_link *link,
                             const ls_keep_hello *hello) {
    /* Another keeper may not have heard of this job yet, or of the next. */
    if (hello->who != LS_KEEP_IS_RANK) return LS_OK;
    if (hello->job < keeper->job)
        return LS_FAIL(LS_ERR_COMM, "job %lld has ended: the keeper serves job %lld",
                       (long long)hello->job, (long long)keeper->job);
    if (!link->is_local || hello->rank < 0)
        return LS_FAIL(LS_ERR_INVALID, "rank %d is not on the keeper's host", hello->rank);
    for (int64_t i = 0; i < keeper->n_links; i++) {
        const ls_keeper_link *other = keeper->links[i];
        if (other != link && !other->is_over && other->is_greeted &&
            other->who == LS_KEEP_IS_RANK && other->rank == hello->rank && other->job == hello->job)
            return LS_FAIL(LS_ERR_INVALID,
                           "rank %d of job %lld is here already: each attempt needs a higher "
                           "LOCKSTEP_ATTEMPT",
                           hello->rank, (long long)hello->job);
    }
    return LS_OK;
}

/* A stranger gets no answer. */
static ls_status hear_hello(ls_keeper *keeper, ls_keeper_link *link, const char *data) {
    ls_keep_hello hello;
    memcpy(&hello, data, sizeof hello);
    if (!is_cookie(keeper, hello.cookie)) {
        link->is_over = 1;
        return LS_OK;
    }
    LS_TRY(check_hello(keeper, link, &hello));
    link->is_greeted = 1;
    link->who = hello.who;
    link->rank = hello.rank;
    link->turn = hello.turn;
    link->job = hello.job;
    if (hello.who == LS_KEEP_IS_RANK) ls_keeper_enter_job(keeper, hello.job);
    ls_keeper_link_say(link, LS_SAY_WELCOME, NULL, 0, NULL, 0);
    return LS_OK;
}

static ls_status check_rank(const ls_keeper *keeper, const ls_keeper_link *link) {
    if (link->who != LS_KEEP_IS_RANK)
        return LS_FAIL(LS_ERR_INVALID, "only a rank of the keeper's host may do this");
    if (link->job < keeper->job)
        return LS_FAIL(LS_ERR_COMM, "job %lld has ended: the keeper serves job %lld",
                       (long long)link->job, (long long)keeper->job);
    return LS_OK;
}

/* A frame and the descriptor at once, before anything that is queued: nothing is, when a rank waits for its answer. */
static ls_status pass_segment(ls_keeper_link *link, const ls_keeper_segment *segment) {
    if (ls_keeper_link_queued(link))
        return LS_FAIL(LS_ERR_INVALID, "rank %d asks before it has heard the answer", link->rank);
    return ls_keep_say(link->fd, LS_SAY_TAKEN, NULL, 0, segment->fd);
}

/* The newest of the rank's segments with this layout. */
static ls_keeper_segment *find_predecessor(ls_keeper *keeper, const ls_keeper_link *link,
                                           const ls_keep_take *take) {
    ls_keeper_segment *best = NULL;
    for (ls_keeper_segment *s = keeper->segments; s; s = s->next)
        if (!s->is_copy && s->image->rank == link->rank &&
            s->image->fingerprint == take->fingerprint && s->image->bytes == take->bytes &&
            (!best || s->job > best->job))
            best = s;
    return best;
}

static ls_status hear_take(ls_keeper *keeper, ls_keeper_link *link, const char *data) {
    ls_keep_take take;
    LS_TRY(check_rank(keeper, link));
    memcpy(&take, data, sizeof take);
    ls_keeper_segment *segment = find_predecessor(keeper, link, &take);
    if (segment && segment->owner) {
        ls_keeper_link_say(link, LS_SAY_BUSY, NULL, 0, NULL, 0);
        return LS_OK;
    }
    if (!segment) {
        ls_keeper_link_say(link, LS_SAY_NONE, NULL, 0, NULL, 0);
        return LS_OK;
    }
    LS_TRY(pass_segment(link, segment));
    segment->owner = link;
    segment->job = link->job;
    segment->has_committed = 0;
    segment->wanted = -1;
    ls_keeper_ring_show(keeper, segment);
    return LS_OK;
}

static ls_status hear_give(ls_keeper *keeper, ls_keeper_link *link) {
    LS_TRY(check_rank(keeper, link));
    if (link->passed < 0)
        return LS_FAIL(LS_ERR_INVALID, "rank %d gave a segment without its descriptor", link->rank);
    const ls_status status = ls_keeper_hold(keeper, link, link->passed);
    (void)close(link->passed);
    link->passed = -1;
    LS_TRY(status);
    ls_keeper_link_say(link, LS_SAY_DONE, NULL, 0, NULL, 0);
    return LS_OK;
}

static ls_status hear_commit(ls_keeper *keeper, ls_keeper_link *link, const char *data) {
    ls_keep_commit_note note;
    memcpy(&note, data, sizeof note);
    LS_TRY(check_rank(keeper, link));
    ls_keeper_segment *segment = ls_keeper_of_link(keeper, link);
    if (!segment) return LS_FAIL(LS_ERR_INVALID, "rank %d has no segment", link->rank);
    if (!note.was_restored && !segment->has_committed) {
        segment->has_committed = 1;
        ls_keeper_drop_old(keeper);
    }
    ls_keeper_ring_want(keeper, segment, note.step, note.was_restored);
    return LS_OK;
}

/* --- reading --- */

typedef struct element_source {
    ls_keeper_segment *segment;
    const ls_keep_part *part;
    int buffer;
} element_source;

static int is_wanted(const ls_keeper_segment *segment, const ls_keep_part *part,
                     const ls_keep_read *read) {
    return part->dtype == read->dtype && part->count > 0 &&
           strcmp(ls_keep_part_name(segment->image, part), read->name) == 0;
}

/* Who has element read->first; when nobody does, *next_out is the next one that somebody has, or the end. */
static int find_source(ls_keeper *keeper, const ls_keep_read *read, element_source *out,
                       int64_t *next_out) {
    *next_out = read->first + read->count;
    for (ls_keeper_segment *s = keeper->segments; s; s = s->next) {
        const int buffer = ls_keep_segment_find(s->mapped, read->step);
        if (buffer < 0) continue;
        for (uint32_t i = 0; i < s->image->n_parts; i++) {
            const ls_keep_part *part = &ls_keep_parts(s->image)[i];
            if (!is_wanted(s, part, read)) continue;
            if (part->first <= read->first && read->first < part->first + part->count) {
                *out = (element_source){s, part, buffer};
                return 1;
            }
            if (part->first > read->first && part->first < *next_out) *next_out = part->first;
        }
    }
    return 0;
}

/* Queues one chunk. The bytes count only when the buffer still holds the step after they were copied. */
static void queue_chunk(ls_keeper_link *link, const element_source *from) {
    ls_keep_read *read = &link->read;
    const int64_t size = (int64_t)ls_dtype_bytes((ls_dtype)from->part->dtype);
    const int64_t here = from->part->first + from->part->count - read->first;
    int64_t n = LS_KEEP_CHUNK_BYTES / size;
    if (n > read->count) n = read->count;
    if (n > here) n = here;
    const char *data = ls_keep_buffer(from->segment->mapped, from->segment->image, from->buffer) +
                       from->part->offset + (read->first - from->part->first) * size;
    const size_t before = link->out.size;
    ls_keep_chunk head = {.at = read->first};
    ls_keeper_link_say(link, LS_SAY_DATA, &head, sizeof head, data, (size_t)(n * size));
    if (link->is_over) return;
    if (ls_keep_segment_find(from->segment->mapped, read->step) != from->buffer) {
        link->out.size = before;
        return;
    }
    char *at = link->out.data + before + sizeof(ls_keep_frame);
    head.hash = ls_xxh3(at + sizeof head, (size_t)(n * size), 0);
    memcpy(at, &head, sizeof head);
    read->first += n;
    read->count -= n;
}

void ls_keeper_read_on(ls_keeper *keeper, ls_keeper_link *link) {
    ls_keep_read *read = &link->read;
    while (link->is_reading && !link->is_over && ls_keeper_link_queued(link) == 0) {
        element_source source;
        int64_t next;
        if (read->count > 0 && find_source(keeper, read, &source, &next)) {
            queue_chunk(link, &source);
            continue;
        }
        if (read->count > 0) {
            read->count -= next - read->first;
            read->first = next;
        }
        if (read->count > 0) continue;
        link->is_reading = 0;
        ls_keeper_link_say(link, LS_SAY_END, NULL, 0, NULL, 0);
    }
}

static ls_status hear_read(ls_keeper_link *link, const char *data) {
    ls_keep_read read;
    memcpy(&read, data, sizeof read);
    read.name[sizeof read.name - 1] = '\0';
    if (link->is_reading) return LS_FAIL(LS_ERR_INVALID, "one tensor is read at a time");
    if (read.first < 0 || read.count < 0 || read.first > INT64_MAX - read.count || read.step < 0)
        return LS_FAIL(LS_ERR_INVALID, "'%s': elements %lld and %lld more of step %lld", read.name,
                       (long long)read.first, (long long)read.count, (long long)read.step);
    link->read = read;
    link->is_reading = 1;
    return LS_OK;
}

static void hear_blob(ls_keeper *keeper, ls_keeper_link *link, const char *data) {
    ls_keep_blob_ask ask;
    char blob[LS_KEEP_BLOB], found[LS_KEEP_BLOB];
    size_t bytes = 0, found_bytes = 0;
    int n = 0;
    memcpy(&ask, data, sizeof ask);
    for (ls_keeper_segment *s = keeper->segments; s; s = s->next) {
        const int buffer = ls_keep_segment_find(s->mapped, ask.step);
        if (buffer < 0 || !ls_keep_segment_blob(s->mapped, buffer, found, &found_bytes)) continue;
        if (ls_keep_segment_find(s->mapped, ask.step) != buffer) continue;
        if (n++ && s->image->rank != ask.rank) continue;
        memcpy(blob, found, sizeof blob);
        bytes = found_bytes;
    }
    ls_keeper_link_say(link, n ? LS_SAY_BLOB : LS_SAY_NONE, NULL, 0, blob, n ? bytes : 0);
}

static ls_status hear_inventory(ls_keeper *keeper, ls_keeper_link *link) {
    json_t *list = NULL;
    char *text = NULL;
    size_t bytes = 0;
    LS_TRY(ls_keeper_list(keeper, &list));
    ls_status status = ls_json_dump(list, JSON_COMPACT, &text, &bytes);
    json_decref(list);
    if (status == LS_OK && bytes > LS_KEEP_FRAME_BYTES)
        status = LS_FAIL(LS_ERR_UNSUPPORTED, "an inventory of %zu bytes", bytes);
    if (status == LS_OK) ls_keeper_link_say(link, LS_SAY_JSON, NULL, 0, text, bytes);
    ls_free(text);
    return status;
}

static ls_status answer(ls_keeper *keeper, ls_keeper_link *link, const ls_keep_frame *frame,
                        const char *data) {
    if (!link->is_greeted && frame->kind != LS_SAY_HELLO)
        return LS_FAIL(LS_ERR_INVALID, "a message before HELLO");
    switch (frame->kind) {
    case LS_SAY_HELLO:
        return hear_hello(keeper, link, data);
    case LS_SAY_TAKE:
        return hear_take(keeper, link, data);
    case LS_SAY_GIVE:
        return hear_give(keeper, link);
    case LS_SAY_COMMIT:
        return hear_commit(keeper, link, data);
    case LS_SAY_READ:
        return hear_read(link, data);
    case LS_SAY_BLOB:
        hear_blob(keeper, link, data);
        return LS_OK;
    case LS_SAY_INVENTORY:
        return hear_inventory(keeper, link);
    case LS_SAY_SHADOW:
    case LS_SAY_COPY:
    case LS_SAY_PIECE:
    case LS_SAY_COPIED:
        return ls_keeper_copy_hear(keeper, link, frame, data);
    default:
        link->is_over = 1; /* an answer to nothing */
        return LS_OK;
    }
}

void ls_keeper_hear(ls_keeper *keeper, ls_keeper_link *link, const ls_keep_frame *frame,
                    const char *data) {
    const ls_status status = answer(keeper, link, frame, data);
    if (status != LS_OK) ls_keeper_link_fail(link, status);
}
