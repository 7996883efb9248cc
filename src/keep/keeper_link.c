/* The keeper's side of a connection: never waits. */
#include "base/clock.h"
#include "keep/keeper_internal.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_BYTES = 64 << 10, MOST_READS = 16 };

ls_status ls_keeper_link_add(ls_keeper *keeper, int fd, int is_local, ls_keeper_link **out) {
    ls_keeper_link *link = ls_alloc(sizeof *link);
    if (!link) return LS_ERR_NO_MEMORY;
    const ls_status status = ls_array_reserve((void **)&keeper->links, &keeper->links_capacity,
                                              keeper->n_links + 1, sizeof(void *));
    if (status != LS_OK) {
        ls_free(link);
        return status;
    }
    *link = (ls_keeper_link){
        .fd = fd, .is_local = is_local, .passed = -1, .rank = -1, .since = ls_clock_seconds()};
    keeper->links[keeper->n_links++] = link;
    if (out) *out = link;
    return LS_OK;
}

void ls_keeper_link_destroy(ls_keeper_link *link) {
    if (!link) return;
    if (link->fd >= 0) (void)close(link->fd);
    if (link->passed >= 0) (void)close(link->passed);
    ls_free(link->in);
    ls_text_deinit(&link->out);
    ls_free(link);
}

size_t ls_keeper_link_queued(const ls_keeper_link *link) {
    return link->out.size - link->n_sent;
}

void ls_keeper_link_say(ls_keeper_link *link, ls_keep_word kind, const void *head,
                        size_t head_bytes, const void *data, size_t bytes) {
    const ls_keep_frame frame = {LS_KEEP_FRAME_MAGIC, LS_KEEP_WIRE_VERSION, (uint16_t)kind,
                                 head_bytes + bytes};
    ls_text_append_bytes(&link->out, &frame, sizeof frame);
    ls_text_append_bytes(&link->out, head, head_bytes);
    ls_text_append_bytes(&link->out, data, bytes);
    if (link->out.status != LS_OK) link->is_over = 1;
}

void ls_keeper_link_fail(ls_keeper_link *link, ls_status status) {
    ls_keep_failure failure = {.status = (int32_t)status};
    (void)snprintf(failure.reason, sizeof failure.reason, "%s", ls_error_message());
    ls_keeper_link_say(link, LS_SAY_FAIL, &failure,
                       offsetof(ls_keep_failure, reason) + strlen(failure.reason) + 1, NULL, 0);
}

int ls_keeper_link_flush(ls_keeper_link *link) {
    int moved = 0;
    while (!link->is_over && ls_keeper_link_queued(link)) {
        const ssize_t n = send(link->fd, link->out.data + link->n_sent, ls_keeper_link_queued(link),
                               MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) {
            link->n_sent += (size_t)n;
            moved = 1;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            break;
        } else if (errno != EINTR) {
            link->is_over = 1;
        }
    }
    if (ls_keeper_link_queued(link) == 0) link->out.size = link->n_sent = 0;
    return moved;
}

static void note_descriptor(ls_keeper_link *link, struct msghdr *message) {
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
        int fd;
        memcpy(&fd, CMSG_DATA(c), sizeof fd);
        if (link->passed >= 0) (void)close(link->passed);
        link->passed = fd;
    }
}

/* Room for one descriptor: the kernel closes what is more. */
static ssize_t receive(ls_keeper_link *link) {
    struct iovec part = {link->in + link->n_in, READ_BYTES};
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (link->is_local) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control.room;
    }
    const ssize_t n = recvmsg(link->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n > 0 && link->is_local) note_descriptor(link, &message);
    return n;
}

void ls_keeper_link_read(ls_keeper_link *link) {
    for (int i = 0; i < MOST_READS && !link->is_over; i++) {
        if (ls_array_reserve((void **)&link->in, &link->in_capacity, link->n_in + READ_BYTES, 1) !=
            LS_OK) {
            link->is_over = 1;
            return;
        }
        const ssize_t n = receive(link);
        if (n > 0) {
            link->n_in += n;
            if (n < READ_BYTES) return;
        } else if (n == 0) {
            link->is_over = 1;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        } else if (errno != EINTR) {
            link->is_over = 1;
        }
    }
}

int ls_keeper_frame_is_sound(const ls_keep_frame *frame, int is_greeted) {
    static const struct {
        uint64_t least, most;
    } bytes_of[LS_SAY_COUNT] = {
        [LS_SAY_HELLO] = {sizeof(ls_keep_hello), sizeof(ls_keep_hello)},
        [LS_SAY_FAIL] = {0, sizeof(ls_keep_failure)},
        [LS_SAY_TAKE] = {sizeof(ls_keep_take), sizeof(ls_keep_take)},
        [LS_SAY_COMMIT] = {sizeof(ls_keep_commit_note), sizeof(ls_keep_commit_note)},
        [LS_SAY_READ] = {sizeof(ls_keep_read), sizeof(ls_keep_read)},
        [LS_SAY_BLOB] = {sizeof(ls_keep_blob_ask), sizeof(ls_keep_blob_ask)},
        [LS_SAY_SHADOW] = {sizeof(int64_t) + sizeof(ls_keep_header), LS_KEEP_FRAME_BYTES},
        [LS_SAY_COPY] = {sizeof(ls_keep_copy), sizeof(ls_keep_copy)},
        [LS_SAY_PIECE] = {sizeof(ls_keep_chunk), sizeof(ls_keep_chunk) + LS_KEEP_CHUNK_BYTES},
        [LS_SAY_COPIED] = {sizeof(ls_keep_copy), sizeof(ls_keep_copy) + LS_KEEP_BLOB},
    };
    return frame->magic == LS_KEEP_FRAME_MAGIC && frame->version == LS_KEEP_WIRE_VERSION &&
           frame->kind < LS_SAY_COUNT && (is_greeted || frame->kind == LS_SAY_HELLO) &&
           frame->bytes >= bytes_of[frame->kind].least &&
           frame->bytes <= bytes_of[frame->kind].most;
}

int ls_keeper_link_next(ls_keeper_link *link, ls_keep_frame *out, const char **data_out) {
    if (link->is_over || link->n_in < (int64_t)sizeof *out) return 0;
    memcpy(out, link->in, sizeof *out);
    if (!ls_keeper_frame_is_sound(out, link->is_greeted)) {
        link->is_over = 1;
        return 0;
    }
    if (link->n_in - (int64_t)sizeof *out < (int64_t)out->bytes) return 0;
    *data_out = link->in + sizeof *out;
    return 1;
}

void ls_keeper_link_drop(ls_keeper_link *link, const ls_keep_frame *frame) {
    const int64_t bytes = (int64_t)(sizeof *frame + frame->bytes);
    link->n_in -= bytes;
    memmove(link->in, link->in + bytes, (size_t)link->n_in);
}
