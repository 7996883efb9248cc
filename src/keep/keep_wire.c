/* The blocking side of a connection to a keeper. */
#include "keep/keep_wire.h"
#include "base/clock.h"
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static ls_status split_address(const char *address, char *host_out, size_t host_bytes,
                               char *port_out, size_t port_bytes) {
    const char *colon = strrchr(address, ':');
    const char *first = address, *end = colon;
    if (colon && *address == '[' && colon > address && colon[-1] == ']') {
        first++;
        end--;
    }
    if (!colon || end <= first || (size_t)(end - first) >= host_bytes || !colon[1] ||
        strlen(colon + 1) >= port_bytes || strspn(colon + 1, "0123456789") != strlen(colon + 1))
        return LS_FAIL(LS_ERR_INVALID, "'%s' is no address of a keeper: HOST:PORT is", address);
    memcpy(host_out, first, (size_t)(end - first));
    host_out[end - first] = '\0';
    memcpy(port_out, colon + 1, strlen(colon + 1) + 1);
    return LS_OK;
}

ls_status ls_keep_resolve(const char *address, struct addrinfo **out) {
    char host[256], port[16];
    LS_TRY(split_address(address, host, sizeof host, port, sizeof port));
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    const int code = getaddrinfo(host, port, &hints, out);
    if (code == 0) return LS_OK;
    return LS_FAIL(LS_ERR_COMM, "keeper %s: the host is not known: %s", address,
                   gai_strerror(code));
}

/* Waits end: whatever is sent or received later fails when nothing moves for so long. */
static void limit_waits(int fd) {
    const struct timeval limit = {.tv_sec = (time_t)LS_KEEP_WAIT_SECONDS};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

ls_status ls_keep_dial_unix(const char *name, int *fd_out) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const size_t n = strlen(name);
    if (n == 0 || n > sizeof address.sun_path - 1)
        return LS_FAIL(LS_ERR_INVALID, "'%s' is no name of a keeper", name);
    memcpy(address.sun_path + 1, name, n);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n);
    if (fd >= 0) limit_waits(fd);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, bytes) != 0) {
        const int error = errno;
        if (fd >= 0) (void)close(fd);
        return LS_FAIL(LS_ERR_COMM,
                       "the keeper '%s' of this host cannot be reached: %s; has its `lockstep run` "
                       "ended?",
                       name, strerror(error));
    }
    *fd_out = fd;
    return LS_OK;
}

/* 0 or an errno. */
static int connect_within(int fd, const struct addrinfo *to, double seconds) {
    int error = 0;
    socklen_t bytes = sizeof error;
    if (connect(fd, to->ai_addr, to->ai_addrlen) == 0) return 0;
    if (errno != EINPROGRESS) return errno;
    struct pollfd wanted = {.fd = fd, .events = POLLOUT};
    const double until = ls_clock_seconds() + seconds;
    int n;
    do {
        const double left = until - ls_clock_seconds();
        n = poll(&wanted, 1, left > 0 ? (int)(left * 1000) + 1 : 0);
    } while (n < 0 && errno == EINTR);
    if (n <= 0) return ETIMEDOUT;
    (void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &bytes);
    return error;
}

ls_status ls_keep_dial_tcp(const char *address, double seconds, int *fd_out) {
    const int one = 1;
    struct addrinfo *all = NULL;
    LS_TRY(ls_keep_resolve(address, &all));
    int error = EHOSTUNREACH, fd = -1;
    for (const struct addrinfo *to = all; to && fd < 0; to = to->ai_next) {
        fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0) continue;
        error = connect_within(fd, to, seconds);
        if (error == 0) break;
        (void)close(fd);
        fd = -1;
    }
    freeaddrinfo(all);
    if (fd < 0)
        return LS_FAIL(LS_ERR_COMM, "keeper %s cannot be reached: %s", address, strerror(error));
    (void)fcntl(fd, F_SETFL, 0); /* waits from here on */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    limit_waits(fd);
    *fd_out = fd;
    return LS_OK;
}

static ls_status fail_io(const char *what, int error) {
    if (error == EAGAIN || error == EWOULDBLOCK)
        return LS_FAIL(LS_ERR_COMM, "%s: nothing moved for %.0f s", what, LS_KEEP_WAIT_SECONDS);
    return LS_FAIL(LS_ERR_COMM, "%s: %s", what,
                   error ? strerror(error) : "it closed the connection");
}

/* The frame with the descriptor, if any; then what is left. */
ls_status ls_keep_say(int fd, ls_keep_word kind, const void *data, size_t bytes, int pass) {
    ls_keep_frame frame = {LS_KEEP_FRAME_MAGIC, LS_KEEP_WIRE_VERSION, (uint16_t)kind, bytes};
    struct iovec parts[2] = {{&frame, sizeof frame}, {(void *)(uintptr_t)data, bytes}};
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    if (pass >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control.room;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        *header = (struct cmsghdr){CMSG_LEN(sizeof pass), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(header), &pass, sizeof pass);
    }
    size_t left = sizeof frame + bytes;
    while (left) {
        const ssize_t n = sendmsg(fd, &message, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return fail_io("talking to the keeper", n < 0 ? errno : 0);
        message.msg_control = NULL;
        message.msg_controllen = 0;
        left -= (size_t)n;
        size_t skip = (size_t)n;
        for (int i = 0; i < 2; i++) {
            const size_t part = skip < parts[i].iov_len ? skip : parts[i].iov_len;
            parts[i].iov_base = (char *)parts[i].iov_base + part;
            parts[i].iov_len -= part;
            skip -= part;
        }
    }
    return LS_OK;
}

/* The descriptor that came with a message, or -1. */
static int find_descriptor(struct msghdr *message) {
    int fd = -1;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
            c->cmsg_len == CMSG_LEN(sizeof fd))
            memcpy(&fd, CMSG_DATA(c), sizeof fd);
    return fd;
}

static ls_status receive(int fd, void *out, size_t bytes, int *passed_out) {
    size_t n_in = 0;
    while (n_in < bytes) {
        struct iovec part = {(char *)out + n_in, bytes - n_in};
        union {
            struct cmsghdr header;
            char room[CMSG_SPACE(sizeof(int))];
        } control = {0};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
        if (passed_out && *passed_out < 0) {
            message.msg_control = &control;
            message.msg_controllen = sizeof control.room;
        }
        const ssize_t n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return fail_io("waiting for the keeper", n < 0 ? errno : 0);
        if (message.msg_control) *passed_out = find_descriptor(&message);
        n_in += (size_t)n;
    }
    return LS_OK;
}

ls_status ls_keep_hear_bytes(int fd, void *out, size_t bytes) {
    return receive(fd, out, bytes, NULL);
}

static ls_status hear_failure(int fd, uint64_t bytes) {
    ls_keep_failure failure = {0};
    if (bytes > sizeof failure)
        return LS_FAIL(LS_ERR_COMM, "the keeper failed and gave a reason of %llu bytes",
                       (unsigned long long)bytes);
    LS_TRY(ls_keep_hear_bytes(fd, &failure, bytes));
    failure.reason[sizeof failure.reason - 1] = '\0';
    const int known = failure.status > LS_OK && failure.status < LS_STATUS_COUNT;
    const ls_status status = known ? (ls_status)failure.status : LS_ERR_COMM;
    return LS_FAIL(status, "keeper: %s", failure.reason);
}

ls_status ls_keep_hear(int fd, ls_keep_frame *out, int *passed_out) {
    if (passed_out) *passed_out = -1;
    LS_TRY(receive(fd, out, sizeof *out, passed_out));
    if (out->magic != LS_KEEP_FRAME_MAGIC || out->version != LS_KEEP_WIRE_VERSION ||
        out->kind >= LS_SAY_COUNT || out->bytes > LS_KEEP_FRAME_BYTES)
        return LS_FAIL(LS_ERR_COMM, "what answered is no keeper of this version of lockstep");
    return out->kind == LS_SAY_FAIL ? hear_failure(fd, out->bytes) : LS_OK;
}

ls_status ls_keep_greet(int fd, const ls_keep_hello *hello) {
    ls_keep_frame frame;
    LS_TRY(ls_keep_say(fd, LS_SAY_HELLO, hello, sizeof *hello, -1));
    LS_TRY(ls_keep_hear(fd, &frame, NULL));
    if (frame.kind != LS_SAY_WELCOME || frame.bytes != 0)
        return LS_FAIL(LS_ERR_COMM, "a keeper answered a greeting with message %d", frame.kind);
    return LS_OK;
}
