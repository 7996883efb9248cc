/* Connections between the first ranks of hosts: frames over TCP. */
#include "base/clock.h"
#include "comm/backend/comm_mpi_peers.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ROUNDS = 3, CONNECT_MS = 2000, BACKLOG = 1024, MAX_OUT = 64 << 20 };

static void add_ip(ls_mpi_address *address, const struct ifaddrs *interface, int loopback) {
    const size_t room = sizeof address->ips / sizeof address->ips[0];
    if (!interface->ifa_addr || interface->ifa_addr->sa_family != AF_INET) return;
    if (!(interface->ifa_flags & IFF_UP)) return;
    const int is_loopback = (interface->ifa_flags & IFF_LOOPBACK) != 0;
    if (is_loopback != loopback || address->n_ips == room) return;
    const struct sockaddr_in *ip = (const void *)interface->ifa_addr;
    address->ips[address->n_ips++] = ip->sin_addr.s_addr;
}

/* Those of the network first; the loopback is for hosts that are one. */
static void list_ips(ls_mpi_address *address) {
    struct ifaddrs *all = NULL;
    if (getifaddrs(&all) != 0) return;
    for (int loopback = 0; loopback < 2; loopback++)
        for (const struct ifaddrs *i = all; i; i = i->ifa_next) add_ip(address, i, loopback);
    freeifaddrs(all);
}

ls_status ls_peer_listen(int *fd_out, ls_mpi_address *out) {
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
    socklen_t bytes = sizeof any;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof any) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&any, &bytes) != 0) {
        const int error = errno;
        if (fd >= 0) (void)close(fd);
        return LS_FAIL(LS_ERR_COMM,
                       "rank 0 cannot listen for the other hosts (for liveness, beside MPI): %s",
                       strerror(error));
    }
    *out = (ls_mpi_address){.port = any.sin_port};
    list_ips(out);
    if (getrandom(&out->cookie, sizeof out->cookie, 0) != sizeof out->cookie)
        out->cookie = (uint64_t)ls_clock_unix_ms();
    *fd_out = fd;
    return LS_OK;
}

void ls_peer_say(ls_peer_link *link, ls_peer_kind kind, int rank, const void *data, size_t bytes) {
    const ls_peer_frame frame = {LS_MPI_MAGIC, (int32_t)kind, rank, bytes};
    if (link->is_over) return;
    ls_text_append_bytes(&link->out, &frame, sizeof frame);
    ls_text_append_bytes(&link->out, data, bytes);
    if (link->out.status != LS_OK || link->out.size > MAX_OUT) link->is_over = 1;
}

void ls_peer_flush(ls_peer_link *link) {
    size_t sent = 0;
    while (!link->is_over && sent < link->out.size) {
        const ssize_t n = send(link->fd, link->out.data + sent, link->out.size - sent,
                               MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0)
            sent += (size_t)n;
        else if (errno == EAGAIN || errno == EWOULDBLOCK)
            break;
        else if (errno != EINTR)
            link->is_over = 1;
    }
    if (sent == 0) return;
    link->out.size -= sent;
    memmove(link->out.data, link->out.data + sent, link->out.size);
}

void ls_peer_read(ls_peer_link *link) {
    while (!link->is_over && link->n_in < sizeof link->in) {
        const ssize_t n =
            recv(link->fd, link->in + link->n_in, sizeof link->in - link->n_in, MSG_DONTWAIT);
        if (n > 0) {
            link->n_in += (size_t)n;
            link->silent = 0;
        } else if (n == 0) {
            link->is_over = 1;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        } else if (errno != EINTR) {
            link->is_over = 1;
        }
    }
}

int ls_peer_next(ls_peer_link *link, ls_peer_frame *out, const unsigned char **data_out) {
    if (link->n_in < sizeof *out) return 0;
    memcpy(out, link->in, sizeof *out);
    if (out->magic != LS_MPI_MAGIC || out->bytes > sizeof(ls_peer_news)) {
        link->is_over = 1;
        link->n_in = 0;
        return 0;
    }
    if (link->n_in < sizeof *out + out->bytes) return 0;
    *data_out = link->in + sizeof *out;
    return 1;
}

void ls_peer_drop(ls_peer_link *link, const ls_peer_frame *frame) {
    const size_t bytes = sizeof *frame + frame->bytes;
    link->n_in -= bytes;
    memmove(link->in, link->in + bytes, link->n_in);
}

void ls_peer_close(ls_peer_link *link) {
    if (link->fd >= 0) (void)close(link->fd);
    ls_text_deinit(&link->out);
    link->fd = -1;
    link->is_over = 1;
}

static int wait_for(int fd, short events, int ms) {
    struct pollfd wanted = {.fd = fd, .events = events};
    int n;
    do n = poll(&wanted, 1, ms);
    while (n < 0 && errno == EINTR);
    return n > 0;
}

static int dial(uint32_t ip, uint16_t port) {
    const struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = ip};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -1;
    int error = 0;
    socklen_t bytes = sizeof error;
    if (connect(fd, (const struct sockaddr *)&to, sizeof to) != 0) {
        error = errno;
        if (error == EINPROGRESS && wait_for(fd, POLLOUT, CONNECT_MS))
            (void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &bytes);
    }
    if (error == 0) return fd;
    (void)close(fd);
    return -1;
}

/* Says hello and waits for the answer: something else may listen at an address that is private to each host. */
static int greet(int fd, const ls_mpi_address *hub, int my_rank) {
    const struct {
        ls_peer_frame frame;
        uint64_t cookie;
    } hello = {{LS_MPI_MAGIC, LS_PEER_HELLO, my_rank, sizeof hub->cookie}, hub->cookie};
    ls_peer_frame answer;
    uint64_t cookie = 0;
    unsigned char in[sizeof answer + sizeof cookie];
    size_t n_in = 0;
    if (send(fd, &hello, sizeof hello, MSG_NOSIGNAL) != (ssize_t)sizeof hello) return 0;
    while (n_in < sizeof in) {
        if (!wait_for(fd, POLLIN, CONNECT_MS)) return 0;
        const ssize_t n = recv(fd, in + n_in, sizeof in - n_in, MSG_DONTWAIT);
        if (n <= 0) return 0;
        n_in += (size_t)n;
    }
    memcpy(&answer, in, sizeof answer);
    memcpy(&cookie, in + sizeof answer, sizeof cookie);
    return answer.magic == LS_MPI_MAGIC && answer.kind == LS_PEER_HELLO && cookie == hub->cookie;
}

ls_status ls_peer_connect(const ls_mpi_address *hub, int my_rank, int *fd_out) {
    const int one = 1;
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < hub->n_ips; i++) {
            const int fd = dial(hub->ips[i], hub->port);
            if (fd >= 0 && greet(fd, hub, my_rank)) {
                (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                *fd_out = fd;
                return LS_OK;
            }
            if (fd >= 0) (void)close(fd);
        }
    }
    char first[INET_ADDRSTRLEN] = "no address";
    if (hub->n_ips) (void)inet_ntop(AF_INET, &hub->ips[0], first, sizeof first);
    return LS_FAIL(
        LS_ERR_COMM,
        "rank %d cannot reach rank 0 by TCP (for liveness, beside MPI) at %s port %d nor "
        "at its other %d IPv4 addresses; let the hosts of a run connect to each other",
        my_rank, first, ntohs(hub->port), hub->n_ips > 0 ? hub->n_ips - 1 : 0);
}
