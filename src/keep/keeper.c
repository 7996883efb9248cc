/* The keeper's thread, and what its owner calls. */
#include "keep/keeper.h"
#include "base/clock.h"
#include "keep/keeper_internal.h"
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/un.h>
#include <unistd.h>

enum { TICK_MS = 200, MOST_LINKS = 4096, BACKLOG = 256, BEFORE_LINKS = 3, MOST_FRAMES = 64 };
static const double greeting_seconds = 5;

/* --- the loop --- */

static void accept_links(ls_keeper *keeper, int listener, int is_local) {
    const int one = 1;
    for (;;) {
        const int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) return;
        struct ucred who = {.uid = getuid()};
        socklen_t bytes = sizeof who;
        if (is_local) (void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &bytes);
        if (!is_local) (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (who.uid != getuid() || keeper->n_links >= MOST_LINKS ||
            ls_keeper_link_add(keeper, fd, is_local, NULL) != LS_OK)
            (void)close(fd);
    }
}

static int is_ring(const ls_keeper *keeper, const ls_keeper_link *link) {
    return keeper->ring.link == link;
}

/* 1 when there may be more that came already: no poll tells of it. */
static int hear_frames(ls_keeper *keeper, ls_keeper_link *link) {
    ls_keep_frame frame;
    const char *data;
    /* One answer under way at a time: what is asked meanwhile waits. */
    for (int i = 0; i < MOST_FRAMES && !link->is_reading; i++) {
        if (!ls_keeper_link_next(link, &frame, &data)) return 0;
        if (is_ring(keeper, link))
            ls_keeper_ring_hear(keeper, &frame, data);
        else
            ls_keeper_hear(keeper, link, &frame, data);
        ls_keeper_link_drop(link, &frame);
    }
    return !link->is_reading;
}

static void finish_connecting(ls_keeper_link *link) {
    int error = 0;
    socklen_t bytes = sizeof error;
    (void)getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &error, &bytes);
    if (error)
        link->is_over = 1;
    else
        link->is_connecting = 0;
}

/* A client that does not take its answers is not listened to. */
static short events_of(const ls_keeper_link *link) {
    if (link->is_connecting) return POLLOUT;
    const size_t queued = ls_keeper_link_queued(link);
    short events = queued > 2 * LS_KEEP_CHUNK_BYTES ? 0 : POLLIN;
    if (queued || link->is_reading) events |= POLLOUT;
    return events;
}

static void tend_link(ls_keeper *keeper, ls_keeper_link *link, short events, double now) {
    if (link->is_connecting) {
        if (events) finish_connecting(link);
        return;
    }
    if (events & (POLLIN | POLLHUP | POLLERR)) ls_keeper_link_read(link);
    const int was_over = link->is_over;
    link->is_over = 0; /* what came before the end still counts */
    int more = hear_frames(keeper, link);
    while (more && was_over) more = hear_frames(keeper, link);
    link->is_over |= was_over;
    const int was_reading = link->is_reading;
    ls_keeper_read_on(keeper, link);
    keeper->has_more |= more || (was_reading && !link->is_reading);
    if (is_ring(keeper, link)) ls_keeper_ring_go_on(keeper);
    if (ls_keeper_link_flush(link) && is_ring(keeper, link)) keeper->ring.silent = 0;
    if (!link->is_greeted && now - link->since > greeting_seconds) link->is_over = 1;
}

static void remove_link(ls_keeper *keeper, int64_t i) {
    ls_keeper_link *link = keeper->links[i];
    ls_keeper_forget_link(keeper, link);
    ls_keeper_link_destroy(link);
    keeper->links[i] = keeper->links[--keeper->n_links];
}

static void tend_all(ls_keeper *keeper, int64_t n_polled) {
    const double now = ls_clock_seconds();
    uint64_t rung;
    keeper->has_more = 0;
    if (keeper->polls[0].revents) (void)!read(keeper->bell, &rung, sizeof rung);
    for (int64_t i = 0; i < keeper->n_links; i++)
        tend_link(keeper, keeper->links[i],
                  i < n_polled ? keeper->polls[BEFORE_LINKS + i].revents : 0, now);
    ls_keeper_ring_tick(keeper, now);
    /* What a rank said may have given the ring something to send. */
    ls_keeper_ring_go_on(keeper);
    if (keeper->ring.is_on && !keeper->ring.link->is_connecting &&
        ls_keeper_link_flush(keeper->ring.link))
        keeper->ring.silent = 0;
    for (int64_t i = keeper->n_links - 1; i >= 0; i--)
        if (keeper->links[i]->is_over && !is_ring(keeper, keeper->links[i])) remove_link(keeper, i);
    if (keeper->polls[1].revents) accept_links(keeper, keeper->local, 1);
    if (keeper->polls[2].revents) accept_links(keeper, keeper->tcp, 0);
}

/* 0 when there is no memory to watch all links: those that can be are. */
static int64_t fill_polls(ls_keeper *keeper) {
    int64_t n = keeper->n_links;
    if (ls_array_reserve((void **)&keeper->polls, &keeper->polls_capacity, BEFORE_LINKS + n,
                         sizeof *keeper->polls) != LS_OK)
        n = keeper->polls_capacity - BEFORE_LINKS;
    keeper->polls[0] = (struct pollfd){.fd = keeper->bell, .events = POLLIN};
    keeper->polls[1] = (struct pollfd){.fd = keeper->local, .events = POLLIN};
    keeper->polls[2] = (struct pollfd){.fd = keeper->tcp, .events = POLLIN};
    for (int64_t i = 0; i < n; i++)
        keeper->polls[BEFORE_LINKS + i] =
            (struct pollfd){.fd = keeper->links[i]->fd, .events = events_of(keeper->links[i])};
    return n;
}

static void *run_keeper(void *user) {
    ls_keeper *keeper = user;
    (void)pthread_mutex_lock(&keeper->lock);
    while (!atomic_load(&keeper->stop)) {
        const int64_t n = fill_polls(keeper);
        const int wait_ms = keeper->has_more ? 0 : TICK_MS;
        (void)pthread_mutex_unlock(&keeper->lock);
        (void)poll(keeper->polls, (nfds_t)(BEFORE_LINKS + n), wait_ms);
        (void)pthread_mutex_lock(&keeper->lock);
        tend_all(keeper, n);
    }
    (void)pthread_mutex_unlock(&keeper->lock);
    return NULL;
}

static void ring_bell(ls_keeper *keeper) {
    const uint64_t one = 1;
    (void)!write(keeper->bell, &one, sizeof one);
}

/* --- starting and stopping --- */

static ls_status make_secret(char out[LS_KEEPER_COOKIE]) {
    unsigned char bytes[LS_KEEPER_COOKIE / 2];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return LS_FAIL(LS_ERR_IO, "no random bytes for a keeper's cookie: %s", strerror(errno));
    for (size_t i = 0; i < sizeof bytes; i++) (void)snprintf(out + 2 * i, 3, "%02x", bytes[i]);
    return LS_OK;
}

static ls_status name_keeper(ls_keeper *keeper, const ls_keeper_options *options) {
    char secret[LS_KEEPER_COOKIE];
    LS_TRY(make_secret(secret));
    if (options->name && (!*options->name || strlen(options->name) >= sizeof keeper->name ||
                          strpbrk(options->name, " \t\n")))
        return LS_FAIL(LS_ERR_INVALID, "'%s' is no name for a keeper: 1 to %zu letters, no spaces",
                       options->name, sizeof keeper->name - 1);
    if (options->name)
        (void)snprintf(keeper->name, sizeof keeper->name, "%s", options->name);
    else
        (void)snprintf(keeper->name, sizeof keeper->name, "lockstep-keeper-%d-%.8s", (int)getpid(),
                       secret);
    if (options->cookie && (strlen(options->cookie) != LS_KEEPER_COOKIE - 1 ||
                            strspn(options->cookie, "0123456789abcdef") != LS_KEEPER_COOKIE - 1))
        return LS_FAIL(LS_ERR_INVALID, "a keeper's cookie is %d hexadecimal digits",
                       LS_KEEPER_COOKIE - 1);
    if (!options->cookie) LS_TRY(make_secret(secret));
    memcpy(keeper->cookie, options->cookie ? options->cookie : secret, sizeof keeper->cookie);
    (void)snprintf(keeper->offer, sizeof keeper->offer, "%s %s", keeper->name, keeper->cookie);
    return LS_OK;
}

static ls_status listen_local(ls_keeper *keeper) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const size_t n = strlen(keeper->name);
    memcpy(address.sun_path + 1, keeper->name, n);
    const socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n);
    keeper->local = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (keeper->local < 0 || bind(keeper->local, (struct sockaddr *)&address, bytes) != 0 ||
        listen(keeper->local, BACKLOG) != 0)
        return LS_FAIL(LS_ERR_COMM, "a keeper named '%s' cannot listen on this host: %s",
                       keeper->name, strerror(errno));
    return LS_OK;
}

/* All addresses, of both kinds where the host has IPv6. */
static ls_status listen_tcp(ls_keeper *keeper) {
    const int zero = 0;
    struct sockaddr_in6 any6 = {.sin6_family = AF_INET6, .sin6_addr = in6addr_any};
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
    socklen_t bytes = sizeof any6;
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0) (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
    if (fd < 0 || bind(fd, (struct sockaddr *)&any6, sizeof any6) != 0) {
        if (fd >= 0) (void)close(fd);
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd >= 0 && bind(fd, (struct sockaddr *)&any, sizeof any) != 0) {
            (void)close(fd);
            fd = -1;
        }
    }
    keeper->tcp = fd;
    if (fd < 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&any6, &bytes) != 0)
        return LS_FAIL(LS_ERR_COMM, "the keeper cannot listen for other hosts: %s",
                       strerror(errno));
    keeper->port = ntohs(any6.sin6_port); /* where sin_port is too */
    return LS_OK;
}

/* Signals are for its owner's threads. */
static ls_status start_thread(ls_keeper *keeper) {
    sigset_t all, old;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    const int code = pthread_create(&keeper->thread, NULL, run_keeper, keeper);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (code)
        return LS_FAIL(LS_ERR_NO_MEMORY, "the keeper's thread cannot be started: %s",
                       strerror(code));
    keeper->is_running = 1;
    return LS_OK;
}

static ls_status open_keeper(ls_keeper *keeper, const ls_keeper_options *options) {
    LS_TRY(name_keeper(keeper, options));
    LS_TRY(ls_array_reserve((void **)&keeper->polls, &keeper->polls_capacity, 64,
                            sizeof *keeper->polls));
    keeper->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (keeper->bell < 0)
        return LS_FAIL(LS_ERR_IO, "a keeper needs a descriptor: %s", strerror(errno));
    LS_TRY(listen_local(keeper));
    if (options->listens) LS_TRY(listen_tcp(keeper));
    return start_thread(keeper);
}

ls_status ls_keeper_start(const ls_keeper_options *options, ls_keeper **out) {
    const ls_keeper_options defaults = {0};
    ls_keeper *keeper = ls_alloc(sizeof *keeper);
    if (!keeper) return LS_ERR_NO_MEMORY;
    keeper->bell = keeper->local = keeper->tcp = -1;
    (void)pthread_mutex_init(&keeper->lock, NULL);
    const ls_status status = open_keeper(keeper, options ? options : &defaults);
    if (status != LS_OK) {
        ls_keeper_stop(keeper);
        return status;
    }
    *out = keeper;
    return LS_OK;
}

void ls_keeper_stop(ls_keeper *keeper) {
    if (!keeper) return;
    atomic_store(&keeper->stop, 1);
    if (keeper->is_running) {
        ring_bell(keeper);
        (void)pthread_join(keeper->thread, NULL);
    }
    ls_keeper_ring_lose(keeper, NULL);
    while (keeper->segments) ls_keeper_release(keeper, keeper->segments);
    for (int64_t i = 0; i < keeper->n_links; i++) ls_keeper_link_destroy(keeper->links[i]);
    ls_free(keeper->links);
    ls_free(keeper->polls);
    if (keeper->bell >= 0) (void)close(keeper->bell);
    if (keeper->local >= 0) (void)close(keeper->local);
    if (keeper->tcp >= 0) (void)close(keeper->tcp);
    (void)pthread_mutex_destroy(&keeper->lock);
    ls_free(keeper);
}

const char *ls_keeper_offer(const ls_keeper *keeper) {
    return keeper->offer;
}

int ls_keeper_port(const ls_keeper *keeper) {
    return keeper->port;
}

const char *ls_keeper_cookie(const ls_keeper *keeper) {
    return keeper->cookie;
}

/* --- what its owner says --- */

/* The n-th of the words, or NULL. */
static const char *find_word(const char *words, int n, char *out, size_t bytes) {
    for (int i = 0;; i++) {
        words += strspn(words, " ");
        const size_t length = strcspn(words, " ");
        if (length == 0) return NULL;
        if (i == n && length < bytes) {
            memcpy(out, words, length);
            out[length] = '\0';
            return out;
        }
        words += length;
    }
}

static ls_status find_address(const char *address, struct sockaddr_storage *out, socklen_t *bytes) {
    struct addrinfo *all = NULL;
    LS_TRY(ls_keep_resolve(address, &all));
    memcpy(out, all->ai_addr, all->ai_addrlen);
    *bytes = all->ai_addrlen;
    freeaddrinfo(all);
    return LS_OK;
}

ls_status ls_keeper_set_peers(ls_keeper *keeper, const char *peers, int mine, int copies) {
    char word[320], address[320] = "";
    struct sockaddr_storage to = {0};
    socklen_t bytes = 0;
    int n = 0;
    while (find_word(peers, n, word, sizeof word)) n++;
    if (n > 0 && (mine < 0 || mine >= n))
        return LS_FAIL(LS_ERR_INVALID, "keeper %d of the %d in '%s'", mine, n, peers);
    const int goes = copies > 1 && n > 1;
    if (goes) {
        (void)find_word(peers, (mine + 1) % n, address, sizeof address);
        LS_TRY(find_address(address, &to, &bytes));
    }
    (void)pthread_mutex_lock(&keeper->lock);
    keeper->ring.to = to;
    keeper->ring.to_bytes = bytes;
    const ls_status status = ls_keeper_ring_set(keeper, goes ? address : NULL);
    (void)pthread_mutex_unlock(&keeper->lock);
    ring_bell(keeper);
    return status;
}

ls_status ls_keeper_begin_job(ls_keeper *keeper, int64_t job, int n_ranks) {
    ls_status status = LS_OK;
    (void)pthread_mutex_lock(&keeper->lock);
    if (job < keeper->job)
        status = LS_FAIL(LS_ERR_INVALID, "job %lld begins, but job %lld has begun before",
                         (long long)job, (long long)keeper->job);
    else
        ls_keeper_enter_job(keeper, job);
    if (status == LS_OK) keeper->n_ranks = n_ranks;
    (void)pthread_mutex_unlock(&keeper->lock);
    return status;
}

ls_status ls_keeper_inventory(ls_keeper *keeper, json_t **out) {
    (void)pthread_mutex_lock(&keeper->lock);
    const ls_status status = ls_keeper_list(keeper, out);
    (void)pthread_mutex_unlock(&keeper->lock);
    return status;
}
