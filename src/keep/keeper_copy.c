/* Copies on the neighbour: this keeper's segments go to the next one in the ring, and the one before it sends its own here.
 *
 * A rank waits for the copy of its last step before it gives up the buffer of the step before it, so the buffer that is being sent
 * stays as it is, and the one that the neighbour receives into is never its only good one. */
#include "base/hash.h"
#include "base/log.h"
#include "keep/keeper_internal.h"
#include <errno.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A neighbour from which nothing comes for so long while a rank waits is lost. Counted in ticks, none longer than max_tick: a job that
 * was stopped as a whole and goes on does not find its neighbours silent. */
static const double silent_seconds = 5, max_tick_seconds = 0.5;
enum { QUEUE_BYTES = 2 * LS_KEEP_CHUNK_BYTES };

static int is_my_own(const ls_keeper *keeper, const ls_keeper_segment *segment) {
    return !segment->is_copy && segment->job == keeper->job && segment->owner;
}

static void show_copied(ls_keeper_segment *segment, int64_t step) {
    atomic_store(&segment->mapped->copied, step);
    (void)atomic_fetch_add(&segment->mapped->bell, 1);
    (void)syscall(SYS_futex, &segment->mapped->bell, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

static void forget_shadow(ls_keeper_segment *segment) {
    ls_free(segment->shadow);
    ls_free(segment->spans);
    segment->shadow = NULL;
    segment->spans = NULL;
    segment->n_spans = segment->is_announced = 0;
}

void ls_keeper_ring_show(ls_keeper *keeper, ls_keeper_segment *segment) {
    forget_shadow(segment);
    show_copied(segment, keeper->ring.is_on ? LS_KEEP_TORN : LS_KEEP_NO_COPIES);
}

/* --- what goes --- */

/* Values that all ranks hold are on every host that has a rank; when all ranks are here, the first one's go along. */
static int must_go(const ls_keeper *keeper, const ls_keeper_segment *segment,
                   const ls_keep_part *part) {
    if (part->count == 0) return 1; /* a name only: the list of all tensors */
    if (!part->is_shared) return 1;
    int n_here = 0, first = segment->image->rank;
    for (const ls_keeper_segment *s = keeper->segments; s; s = s->next) {
        if (!is_my_own(keeper, s)) continue;
        n_here++;
        if (s->image->rank < first) first = s->image->rank;
    }
    return n_here >= segment->image->size && first == segment->image->rank;
}

static ls_status choose_parts(const ls_keeper *keeper, ls_keeper_segment *segment,
                              ls_plan_part *parts, size_t *bytes_out) {
    const ls_keep_header *image = segment->image;
    size_t bytes = 0;
    segment->n_spans = 0;
    for (uint32_t i = 0; i < image->n_parts; i++) {
        const ls_keep_part *from = &ls_keep_parts(image)[i];
        ls_plan_part *to = &parts[i];
        *to = (ls_plan_part){.name = ls_keep_part_name(image, from),
                             .role = (ls_role)from->role,
                             .whole = {(ls_dtype)from->dtype, {.n_dims = from->n_dims}},
                             .first = from->first,
                             .is_shared = from->is_shared,
                             .offset = bytes};
        for (int d = 0; d < from->n_dims; d++) to->whole.shape.dims[d] = from->dims[d];
        if (!must_go(keeper, segment, from)) continue;
        to->count = from->count;
        const uint64_t part_bytes = (uint64_t)from->count * ls_dtype_bytes((ls_dtype)from->dtype);
        if (part_bytes)
            segment->spans[segment->n_spans++] = (ls_keeper_span){from->offset, part_bytes};
        bytes += part_bytes;
    }
    *bytes_out = bytes;
    return LS_OK;
}

/* The layout of the neighbour's copy: the same parts, those that need not go with no elements. */
static ls_status make_shadow(const ls_keeper *keeper, ls_keeper_segment *segment) {
    const ls_keep_header *image = segment->image;
    size_t bytes = 0;
    ls_plan_part *parts = ls_alloc(image->n_parts * sizeof *parts);
    segment->spans = ls_alloc(image->n_parts * sizeof *segment->spans);
    ls_status status = parts && segment->spans ? LS_OK : LS_ERR_NO_MEMORY;
    if (status == LS_OK) status = choose_parts(keeper, segment, parts, &bytes);
    const ls_keep_layout layout = {.rank = image->rank,
                                   .size = image->size,
                                   .n_tensors = image->n_tensors,
                                   .job = segment->job,
                                   .parts = parts,
                                   .n_parts = (int)image->n_parts,
                                   .buffer_bytes = bytes};
    if (status == LS_OK) status = ls_keep_segment_make(&layout, &segment->shadow);
    ls_free(parts);
    return status;
}

void ls_keeper_ring_want(ls_keeper *keeper, ls_keeper_segment *segment, int64_t step,
                         int was_restored) {
    if (!keeper->ring.is_on) return;
    if (!segment->shadow && make_shadow(keeper, segment) != LS_OK) {
        ls_keeper_ring_lose(keeper, ls_error_message());
        return;
    }
    if (segment->n_spans == 0) { /* other hosts have it all */
        show_copied(segment, step);
        return;
    }
    if (keeper->ring.copying == NULL && segment->wanted < 0) keeper->ring.silent = 0;
    segment->wanted = step;
    segment->was_restored = was_restored;
}

void ls_keeper_ring_release(ls_keeper *keeper, ls_keeper_segment *segment) {
    if (keeper->ring.copying == segment)
        ls_keeper_ring_lose(keeper, "a segment went away while it was sent");
}

/* --- sending --- */

static void begin_copy(ls_keeper *keeper, ls_keeper_segment *segment) {
    ls_keeper_ring *ring = &keeper->ring;
    const int buffer = ls_keep_segment_find(segment->mapped, segment->wanted);
    const int64_t step = segment->wanted;
    segment->wanted = -1;
    if (buffer < 0) return; /* the rank is further, and will say so */
    if (!segment->is_announced) {
        ls_keeper_link_say(ring->link, LS_SAY_SHADOW, &segment->job, sizeof segment->job,
                           segment->shadow, segment->shadow->buffers);
        segment->is_announced = 1;
    }
    const ls_keep_copy copy = {segment->job, step, segment->image->rank, segment->was_restored};
    ls_keeper_link_say(ring->link, LS_SAY_COPY, &copy, sizeof copy, NULL, 0);
    ring->copying = segment;
    ring->buffer = buffer;
    ring->step = step;
    ring->span = 0;
    ring->span_at = ring->sent = 0;
}

static void end_copy(ls_keeper *keeper) {
    ls_keeper_ring *ring = &keeper->ring;
    const ls_keeper_segment *segment = ring->copying;
    const ls_keep_copy copy = {segment->job, ring->step, segment->image->rank,
                               segment->was_restored};
    char blob[LS_KEEP_BLOB];
    size_t bytes = 0;
    const int is_sound = ls_keep_segment_blob(segment->mapped, ring->buffer, blob, &bytes) &&
                         ls_keep_segment_find(segment->mapped, ring->step) == ring->buffer;
    ring->copying = NULL;
    if (is_sound) ls_keeper_link_say(ring->link, LS_SAY_COPIED, &copy, sizeof copy, blob, bytes);
}

/* Spans go as one stream: `at` counts bytes of the neighbour's buffer. */
static void send_piece(ls_keeper *keeper) {
    ls_keeper_ring *ring = &keeper->ring;
    ls_keeper_segment *segment = ring->copying;
    const ls_keeper_span *span = &segment->spans[ring->span];
    uint64_t n = span->bytes - ring->span_at;
    if (n > LS_KEEP_CHUNK_BYTES) n = LS_KEEP_CHUNK_BYTES;
    const char *data = ls_keep_buffer(segment->mapped, segment->image, ring->buffer) +
                       span->offset + ring->span_at;
    const ls_keep_chunk head = {.at = (int64_t)ring->sent, .hash = ls_xxh3(data, n, 0)};
    ls_keeper_link_say(ring->link, LS_SAY_PIECE, &head, sizeof head, data, n);
    ring->sent += n;
    ring->span_at += n;
    if (ring->span_at == span->bytes) {
        ring->span++;
        ring->span_at = 0;
    }
}

void ls_keeper_ring_go_on(ls_keeper *keeper) {
    ls_keeper_ring *ring = &keeper->ring;
    while (ring->is_on && !ring->link->is_over && !ring->link->is_connecting &&
           ls_keeper_link_queued(ring->link) < QUEUE_BYTES) {
        if (ring->copying && ring->span < ring->copying->n_spans) {
            send_piece(keeper);
            continue;
        }
        if (ring->copying) {
            end_copy(keeper);
            continue;
        }
        ls_keeper_segment *next = keeper->segments;
        while (next && next->wanted < 0) next = next->next;
        if (!next) return;
        begin_copy(keeper, next);
    }
}

/* --- the neighbour --- */

static void leave_ring(ls_keeper *keeper) {
    ls_keeper_ring *ring = &keeper->ring;
    ring->is_on = 0;
    ring->copying = NULL;
    if (ring->link) ring->link->is_over = 1;
    ring->link = NULL;
    for (ls_keeper_segment *s = keeper->segments; s; s = s->next) {
        if (s->is_copy) continue;
        forget_shadow(s);
        s->wanted = -1;
    }
}

static void release_ranks(ls_keeper *keeper) {
    for (ls_keeper_segment *s = keeper->segments; s; s = s->next)
        if (!s->is_copy) show_copied(s, LS_KEEP_NO_COPIES);
}

void ls_keeper_ring_lose(ls_keeper *keeper, const char *why) {
    ls_keeper_ring *ring = &keeper->ring;
    if (!ring->is_on) return;
    leave_ring(keeper);
    release_ranks(keeper);
    if (!why) return;
    ring->was_lost = 1;
    ls_log(LS_LOG_WARN,
           "the copies of this host's state on %s are lost (%s): the run goes on without copies",
           ring->address, why);
}

static ls_status connect_ring(ls_keeper *keeper) {
    ls_keeper_ring *ring = &keeper->ring;
    const int one = 1;
    const int fd = socket(ring->to.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return LS_FAIL(LS_ERR_COMM, "no socket for copies: %s", strerror(errno));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, (const struct sockaddr *)&ring->to, ring->to_bytes) != 0 &&
        errno != EINPROGRESS) {
        const int error = errno;
        (void)close(fd);
        return LS_FAIL(LS_ERR_COMM, "keeper %s cannot be reached: %s", ring->address,
                       strerror(error));
    }
    const ls_status status = ls_keeper_link_add(keeper, fd, 0, &ring->link);
    if (status != LS_OK) {
        (void)close(fd);
        return status;
    }
    ls_keep_hello hello = {
        .who = LS_KEEP_IS_KEEPER, .rank = -1, .turn = ring->n_turns++, .job = keeper->job};
    memcpy(hello.cookie, keeper->cookie, sizeof hello.cookie);
    ring->link->is_connecting = ring->link->is_greeted = 1;
    ring->link->who = LS_KEEP_IS_KEEPER;
    ls_keeper_link_say(ring->link, LS_SAY_HELLO, &hello, sizeof hello, NULL, 0);
    return LS_OK;
}

ls_status ls_keeper_ring_set(ls_keeper *keeper, const char *address) {
    ls_keeper_ring *ring = &keeper->ring;
    /* Ranks that wait for a copy go on waiting, for the new neighbour's. */
    leave_ring(keeper);
    (void)snprintf(ring->address, sizeof ring->address, "%s", address ? address : "");
    const ls_status status = address ? connect_ring(keeper) : LS_OK;
    if (!address || status != LS_OK) {
        release_ranks(keeper);
        return status;
    }
    ring->is_on = 1;
    ring->was_lost = 0;
    ring->silent = 0;
    for (ls_keeper_segment *s = keeper->segments; s; s = s->next) {
        if (!is_my_own(keeper, s)) continue;
        ls_keeper_ring_show(keeper, s);
        const int newest = ls_keep_segment_newest(s->mapped);
        if (newest >= 0)
            ls_keeper_ring_want(keeper, s, atomic_load(&s->mapped->steps[newest]),
                                !s->has_committed);
    }
    return LS_OK;
}

static int is_awaited(const ls_keeper *keeper) {
    if (keeper->ring.copying || keeper->ring.link->is_connecting) return 1;
    for (const ls_keeper_segment *s = keeper->segments; s; s = s->next) {
        if (!is_my_own(keeper, s) || s->n_spans == 0) continue;
        const int newest = ls_keep_segment_newest(s->mapped);
        if (s->wanted >= 0 || (newest >= 0 && atomic_load(&s->mapped->copied) <
                                                  atomic_load(&s->mapped->steps[newest])))
            return 1;
    }
    return 0;
}

void ls_keeper_ring_tick(ls_keeper *keeper, double now) {
    ls_keeper_ring *ring = &keeper->ring;
    const double tick =
        now - ring->ticked < max_tick_seconds ? now - ring->ticked : max_tick_seconds;
    ring->ticked = now;
    if (!ring->is_on) return;
    if (ring->link->is_over)
        ls_keeper_ring_lose(keeper, ring->link->is_connecting ? "it cannot be reached"
                                                              : "it closed the connection");
    else if (!is_awaited(keeper))
        ring->silent = 0;
    else if ((ring->silent += tick) > silent_seconds)
        ls_keeper_ring_lose(keeper, "nothing was heard of it for 5 s");
}

void ls_keeper_ring_hear(ls_keeper *keeper, const ls_keep_frame *frame, const char *data) {
    ls_keep_copy copy;
    keeper->ring.silent = 0;
    if (frame->kind == LS_SAY_FAIL) {
        ls_keep_failure failure = {0};
        memcpy(&failure, data, frame->bytes);
        failure.reason[sizeof failure.reason - 1] = '\0';
        ls_keeper_ring_lose(keeper, failure.reason);
        return;
    }
    if (frame->kind != LS_SAY_COPIED) return; /* WELCOME */
    memcpy(&copy, data, sizeof copy);
    for (ls_keeper_segment *s = keeper->segments; s; s = s->next)
        if (is_my_own(keeper, s) && s->image->rank == copy.rank && s->job == copy.job)
            show_copied(s, copy.step);
}

/* --- what comes --- */

/* A keeper that turned away and came back does so by a new connection, while what it had sent by the one before may not have been read
 * yet: that is over once the new one has spoken of the segment. */
static int is_outdated(ls_keeper_link *link, const ls_keeper_segment *segment) {
    if (link->turn >= segment->turn) return 0;
    link->is_over = 1;
    return 1;
}

/* One that is here stays, with what it holds. */
static ls_status hear_shadow(ls_keeper *keeper, ls_keeper_link *link, const char *data,
                             size_t bytes) {
    int64_t job;
    memcpy(&job, data, sizeof job);
    bytes -= sizeof job;
    ls_keep_header *image = ls_alloc(bytes);
    if (!image) return LS_ERR_NO_MEMORY;
    memcpy(image, data + sizeof job, bytes);
    ls_status status = ls_keep_segment_verify(image, bytes, image->bytes);
    if (status == LS_OK) {
        ls_keeper_enter_job(keeper, job);
        ls_keeper_segment *old = ls_keeper_find_copy(keeper, job, image->rank);
        const int outdated = old && is_outdated(link, old);
        if (old && (outdated || old->image->fingerprint == image->fingerprint)) {
            if (!outdated) old->turn = link->turn;
            ls_free(image);
            return LS_OK;
        }
        if (old) ls_keeper_release(keeper, old);
        const int rank = image->rank;
        status = ls_keeper_hold_copy(keeper, job, image);
        if (status == LS_OK) ls_keeper_find_copy(keeper, job, rank)->turn = link->turn;
    }
    if (status != LS_OK) ls_free(image);
    return status;
}

static ls_status hear_copy(ls_keeper *keeper, ls_keeper_link *link, const ls_keep_copy *copy) {
    ls_keeper_segment *segment = ls_keeper_find_copy(keeper, copy->job, copy->rank);
    if (!segment || link->coming || copy->step < 0)
        return LS_FAIL(LS_ERR_INVALID, "a copy of rank %d, job %lld, comes unannounced", copy->rank,
                       (long long)copy->job);
    if (is_outdated(link, segment)) return LS_OK;
    for (int64_t i = 0; i < keeper->n_links; i++)
        if (keeper->links[i]->coming == segment) keeper->links[i]->coming = NULL;
    segment->coming_buffer = ls_keep_segment_newest(segment->mapped) == 0;
    segment->coming_at = 0;
    ls_keep_segment_tear(segment->mapped, segment->coming_buffer);
    link->coming = segment;
    return LS_OK;
}

static ls_status hear_piece(ls_keeper_link *link, const char *data, size_t bytes) {
    ls_keeper_segment *segment = link->coming;
    ls_keep_chunk head;
    memcpy(&head, data, sizeof head);
    data += sizeof head;
    bytes -= sizeof head;
    if (!segment || head.at < 0 || (uint64_t)head.at != segment->coming_at ||
        bytes > segment->image->buffer_bytes - segment->coming_at)
        return LS_FAIL(LS_ERR_INVALID, "a piece of %zu bytes that does not belong to a copy",
                       bytes);
    if (ls_xxh3(data, bytes, 0) != head.hash)
        return LS_FAIL(LS_ERR_DATA, "a copy of rank %d was damaged on the way",
                       segment->image->rank);
    memcpy(ls_keep_buffer(segment->mapped, segment->image, segment->coming_buffer) +
               segment->coming_at,
           data, bytes);
    segment->coming_at += bytes;
    return LS_OK;
}

static ls_status hear_copied(ls_keeper *keeper, ls_keeper_link *link, const char *data,
                             size_t bytes) {
    ls_keeper_segment *segment = link->coming;
    ls_keep_copy copy;
    memcpy(&copy, data, sizeof copy);
    link->coming = NULL;
    if (!segment || segment->coming_at != segment->image->buffer_bytes ||
        segment->image->rank != copy.rank || segment->job != copy.job || copy.step < 0)
        return LS_FAIL(LS_ERR_INVALID, "the copy of rank %d is not complete", copy.rank);
    ls_keep_segment_commit(segment->mapped, segment->coming_buffer, copy.step, data + sizeof copy,
                           bytes - sizeof copy);
    if (!copy.was_restored) segment->has_committed = 1;
    ls_keeper_link_say(link, LS_SAY_COPIED, &copy, sizeof copy, NULL, 0);
    ls_keeper_drop_old(keeper);
    return LS_OK;
}

ls_status ls_keeper_copy_hear(ls_keeper *keeper, ls_keeper_link *link, const ls_keep_frame *frame,
                              const char *data) {
    ls_keep_copy copy;
    if (link->who != LS_KEEP_IS_KEEPER)
        return LS_FAIL(LS_ERR_INVALID, "only a keeper may send copies");
    switch (frame->kind) {
    case LS_SAY_SHADOW:
        return hear_shadow(keeper, link, data, frame->bytes);
    case LS_SAY_COPY:
        memcpy(&copy, data, sizeof copy);
        return hear_copy(keeper, link, &copy);
    case LS_SAY_PIECE:
        return hear_piece(link, data, frame->bytes);
    default:
        return hear_copied(keeper, link, data, frame->bytes);
    }
}
