/* What a keeper holds: segments of its host's ranks, and copies of other hosts'. */
#include "keep/keeper_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static ls_keeper_segment *add(ls_keeper *keeper, int64_t job) {
    ls_keeper_segment *segment = ls_alloc(sizeof *segment);
    if (!segment) return NULL;
    *segment = (ls_keeper_segment){
        .next = keeper->segments, .job = job, .fd = -1, .wanted = -1, .coming_buffer = -1};
    keeper->segments = segment;
    return segment;
}

void ls_keeper_release(ls_keeper *keeper, ls_keeper_segment *segment) {
    ls_keeper_ring_release(keeper, segment);
    for (int64_t i = 0; i < keeper->n_links; i++)
        if (keeper->links[i]->coming == segment) keeper->links[i]->coming = NULL;
    for (ls_keeper_segment **at = &keeper->segments; *at; at = &(*at)->next)
        if (*at == segment) {
            *at = segment->next;
            break;
        }
    if (segment->mapped && segment->image) (void)munmap(segment->mapped, segment->image->bytes);
    if (segment->fd >= 0) (void)close(segment->fd);
    ls_free(segment->image);
    ls_free(segment->shadow);
    ls_free(segment->spans);
    ls_free(segment);
}

/* The beginning of what `fd` holds, verified. */
static ls_status read_image(int fd, uint64_t bytes, ls_keep_header **out) {
    ls_keep_header first;
    if (pread(fd, &first, sizeof first, 0) != (ssize_t)sizeof first)
        return LS_FAIL(LS_ERR_FORMAT, "a segment of %llu bytes cannot be read",
                       (unsigned long long)bytes);
    if (first.magic != LS_KEEP_MAGIC || first.buffers < sizeof first || first.buffers > bytes ||
        first.buffers > LS_KEEP_FRAME_BYTES)
        return LS_FAIL(LS_ERR_FORMAT, "%llu bytes that do not begin like a kept segment",
                       (unsigned long long)bytes);
    ls_keep_header *image = ls_alloc(first.buffers);
    if (!image) return LS_ERR_NO_MEMORY;
    ls_status status = LS_OK;
    if (pread(fd, image, first.buffers, 0) != (ssize_t)first.buffers)
        status = LS_FAIL(LS_ERR_FORMAT, "the table of a kept segment cannot be read");
    if (status == LS_OK) status = ls_keep_segment_verify(image, first.buffers, bytes);
    if (status == LS_OK) {
        *out = image;
        return LS_OK;
    }
    ls_free(image);
    return status;
}

static ls_status map_segment(int fd, uint64_t bytes, ls_keep_header **out) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return LS_FAIL(LS_ERR_NO_MEMORY, "the keeper cannot map a segment of %llu bytes: %s",
                       (unsigned long long)bytes, strerror(errno));
    *out = memory;
    return LS_OK;
}

ls_status ls_keeper_hold(ls_keeper *keeper, ls_keeper_link *owner, int fd) {
    struct stat info;
    if (ls_keeper_of_link(keeper, owner))
        return LS_FAIL(LS_ERR_INVALID, "rank %d has given its segment already", owner->rank);
    if (fstat(fd, &info) != 0 || info.st_size <= 0)
        return LS_FAIL(LS_ERR_FORMAT, "what rank %d gave is no segment", owner->rank);
    ls_keep_header *image = NULL, *mapped = NULL;
    const uint64_t bytes = (uint64_t)info.st_size;
    LS_TRY(read_image(fd, bytes, &image));
    ls_status status = LS_OK;
    if (image->rank != owner->rank)
        status =
            LS_FAIL(LS_ERR_FORMAT, "rank %d gave the segment of rank %d", owner->rank, image->rank);
    if (status == LS_OK) status = map_segment(fd, bytes, &mapped);
    ls_keeper_segment *segment = status == LS_OK ? add(keeper, owner->job) : NULL;
    const int own = segment ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
    if (!segment || own < 0) {
        if (segment) ls_keeper_release(keeper, segment);
        if (mapped) (void)munmap(mapped, bytes);
        ls_free(image);
        return status == LS_OK ? LS_FAIL(LS_ERR_NO_MEMORY, "the keeper has no room for a segment")
                               : status;
    }
    segment->image = image;
    segment->mapped = mapped;
    segment->fd = own;
    segment->owner = owner;
    ls_keeper_ring_show(keeper, segment);
    return LS_OK;
}

ls_status ls_keeper_hold_copy(ls_keeper *keeper, int64_t job, ls_keep_header *image) {
    void *memory =
        mmap(NULL, image->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return LS_FAIL(
            LS_ERR_NO_MEMORY,
            "no memory for the copies of rank %d, %llu bytes: %s; recover.copies=1 needs "
            "none",
            image->rank, (unsigned long long)image->bytes, strerror(errno));
    ls_keeper_segment *segment = add(keeper, job);
    if (!segment) {
        (void)munmap(memory, image->bytes);
        return LS_ERR_NO_MEMORY;
    }
    segment->is_copy = 1;
    segment->image = image;
    segment->mapped = memory;
    memcpy(memory, image, image->buffers);
    for (int b = 0; b < 2; b++) atomic_store(&segment->mapped->steps[b], LS_KEEP_TORN);
    return LS_OK;
}

ls_keeper_segment *ls_keeper_of_link(ls_keeper *keeper, const ls_keeper_link *link) {
    for (ls_keeper_segment *s = keeper->segments; s; s = s->next)
        if (s->owner == link) return s;
    return NULL;
}

ls_keeper_segment *ls_keeper_find_copy(ls_keeper *keeper, int64_t job, int rank) {
    for (ls_keeper_segment *s = keeper->segments; s; s = s->next)
        if (s->is_copy && s->job == job && s->image->rank == rank) return s;
    return NULL;
}

/* Every rank passed begin before anyone made a step, and so every copy of the state before it was made. */
void ls_keeper_drop_old(ls_keeper *keeper) {
    int n_new = 0;
    for (const ls_keeper_segment *s = keeper->segments; s; s = s->next) {
        if (s->job != keeper->job) continue;
        if (!s->is_copy && !s->has_committed) return;
        n_new += s->has_committed;
    }
    if (n_new == 0) return;
    for (ls_keeper_segment *s = keeper->segments, *next; s; s = next) {
        next = s->next;
        if (s->job < keeper->job) ls_keeper_release(keeper, s);
    }
}

void ls_keeper_forget_link(ls_keeper *keeper, const ls_keeper_link *link) {
    for (ls_keeper_segment *s = keeper->segments; s; s = s->next)
        if (s->owner == link) s->owner = NULL;
}
